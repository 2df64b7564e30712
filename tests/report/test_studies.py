"""Every study in docs/studies/ makes its verdicts again, from the files that lie there."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.known_effects import build
from tests.report.figure_checks import texts
from tests.shrunk import ROOT
from tests.synthetic_sweep import SweepWriter
from xception_jax.records import SWEEP
from xception_jax.report import write_report
from xception_jax.report.archiving import write_archive
from xception_jax.report.canvas import NARROW, WIDE
from xception_jax.report.effects import draw_effects, effect_frame
from xception_jax.sweep import Claim
from xception_jax.sweep.recorded import plan_from_file

STUDIES = ROOT / "docs" / "studies"
COMMITTED = sorted(path.parent for path in STUDIES.glob(f"*/{SWEEP}"))
assert COMMITTED, f"no study in {STUDIES}"
# Sums of the same numbers on another processor, or by another version of NumPy, round otherwise:
# a few units in the last of 16 digits, and what is computed from them by root finding less well.
TOLERANCE = 1e-6


def require_close(found: Any, committed: Any, place: str = "verdicts") -> None:
    """The same data but for the last digits of its numbers."""
    if isinstance(committed, dict):
        assert found.keys() == committed.keys(), place
        for name, value in committed.items():
            require_close(found[name], value, f"{place}.{name}")
    elif isinstance(committed, list):
        assert len(found) == len(committed), place
        for at, pair in enumerate(zip(found, committed, strict=True)):
            require_close(*pair, f"{place}[{at}]")
    elif isinstance(committed, float):
        assert math.isclose(found, committed, rel_tol=TOLERANCE, abs_tol=1e-9), place
    else:
        assert found == committed, place


@pytest.fixture
def made_here(
    new_sweep: Callable[..., SweepWriter], rng: np.random.Generator, tmp_path: Path
) -> Path:
    sweep = build(new_sweep, [Claim("a", "b"), Claim("b", "c")], {"a": 0.02, "b": 0, "c": 0}, rng)
    write_archive(sweep.directory, tmp_path / "study")
    return tmp_path / "study"


def make_again(study: Path, directory: Path) -> None:
    """Makes the report from a copy, and compares it with what is committed."""
    shutil.copytree(study, directory, ignore=shutil.ignore_patterns("report"))
    written = write_report(directory)
    require_close(written.verdicts, json.loads((study / "verdicts.json").read_text()))
    made, committed = ((at / "checklist.md").read_text() for at in (written.page.parent, study))
    assert made == committed
    assert written.page.stat().st_size > 10_000
    assert {path.name for path in written.paths} >= {"validation_loss.svg", "checklist.md"}


@pytest.mark.usefixtures("undrawn_figures")
@pytest.mark.parametrize("study", COMMITTED, ids=lambda study: study.name)
def test_a_study_makes_its_page_again(study: Path, tmp_path: Path) -> None:
    make_again(study, tmp_path / "copy")


@pytest.mark.slow
@pytest.mark.parametrize("study", COMMITTED, ids=lambda study: study.name)
def test_the_figures_of_a_study_are_drawn_again(study: Path, tmp_path: Path) -> None:
    make_again(study, tmp_path / "copy")


@pytest.mark.usefixtures("undrawn_figures")
def test_a_verdict_that_was_edited_is_found(made_here: Path, tmp_path: Path) -> None:
    path = made_here / "verdicts.json"
    content = json.loads(path.read_text())
    content["claims"][0]["endpoints"][0]["effect"] += 0.001
    path.write_text(json.dumps(content))
    with pytest.raises(AssertionError, match="effect"):
        make_again(made_here, tmp_path / "copy")


def test_the_record_of_a_committed_study_is_enough_to_train_it_again() -> None:
    """Every run that it lists is planned from it, with the id that it records."""
    for study in COMMITTED:
        experiment, _, runs = plan_from_file(study / SWEEP, seeds=None, overrides=())
        listed = json.loads((study / SWEEP).read_text())["runs"]
        assert experiment.claims
        assert listed
        assert {row["id"] for row in listed} <= {run.id for run in runs}


@pytest.mark.parametrize("width", [WIDE, NARROW])
@pytest.mark.parametrize("study", COMMITTED, ids=lambda study: study.name)
def test_no_name_in_a_studys_figure_of_effects_is_cut(study: Path, width: float) -> None:
    """Names of factors and arms are long there; only a trend over many arms is abridged."""
    effects = effect_frame(json.loads((study / "verdicts.json").read_text()))
    effects = effects.filter(pl.col("arms").list.len() <= 6)
    arms = sorted(set(effects["arms"].explode()))
    assert not [
        text for text in texts(draw_effects(effects, arms=arms, width=width)) if "…" in text
    ]
