"""Sweep directories for the tests of verdicts and audits."""

from tests.synthetic_sweep import finished_sweep, new_sweep  # noqa: F401 - fixtures of these tests
