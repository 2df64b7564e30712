"""Sweep directories for the tests of verdicts and audits, whose reports need no figures."""

import pytest

from tests.synthetic_sweep import finished_sweep, new_sweep  # noqa: F401 - fixtures of these tests


@pytest.fixture(autouse=True)
def _undrawn(undrawn_figures: None) -> None:
    """Figures are drawn in tests/report."""
