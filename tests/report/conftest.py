"""Sweep directories for the tests of reports."""

from tests.synthetic_sweep import finished_sweep, new_sweep, troubled_sweep  # noqa: F401 - fixtures
