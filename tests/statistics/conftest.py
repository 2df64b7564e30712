"""Sweep directories for the tests of verdicts and audits, whose reports need no figures."""

from pathlib import Path

import pytest

from tests.programs import Call
from tests.synthetic_sweep import finished_sweep, new_sweep  # noqa: F401 - fixtures of these tests
from tests.untrained_study import Study


@pytest.fixture(autouse=True)
def _undrawn(undrawn_figures: None) -> None:
    """Figures are drawn in tests/report."""


@pytest.fixture
def study(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    return Study(call, tmp_path, monkeypatch)
