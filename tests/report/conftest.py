"""Sweep directories and closed folders for the tests of reports."""

from tests.closed_folders import open_folder  # noqa: F401 - a fixture
from tests.synthetic_sweep import finished_sweep, new_sweep, troubled_sweep  # noqa: F401 - fixtures
