"""Sweeps of which something was chosen after seeing results, through the command line."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.known_effects import build, change_records
from tests.synthetic_sweep import NewSweep
from tests.untrained_study import CLAIM, OPPOSITE, Study
from xception_jax import lock
from xception_jax.errors import InputError
from xception_jax.report.reading import read_directory
from xception_jax.runtime import run_directory as files
from xception_jax.statistics.verdicts import judge
from xception_jax.sweep import Claim, ledger, local


def test_seeds_added_after_results_are_said_and_graded_c(study: Study) -> None:
    study.sweep("--seeds", 6)
    first = study.verdict()
    assert (first["verdict"], first["grade"], first["declared"]) == (
        "supported", "A", "before the runs",
    )  # fmt: skip
    assert "1 seed is added to the 6 declared before" in study.sweep("--seeds", 7)
    claim = study.verdict()
    assert claim["n"] == {"planned": 6, "completed": 7, "diverged": 0, "pairs": 7}
    assert (claim["grade"], claim["added_seeds"]) == ("C", [6])
    said = "1 of these seeds was added after there were results, 6 were planned"
    assert said in claim["sentence"]
    assert claim["grade_reasons"] == [said]
    study.sweep("--seeds", 7)
    history = study.record()["declarations"]
    assert [entry["seeds"] for entry in history] == [list(range(6)), list(range(7))]
    assert [entry["known"]["results"] for entry in history] == [0, 12]
    assert "--seeds 6" in history[0]["command"]
    assert study.verdict()["grade"] == "C"  # for ever
    page = (study.home / "report" / "index.html").read_text()
    times = [entry["at"] for entry in history]
    later = "seeds 7, claims 1, runs begun 12, with results 12"
    assert f"{times[0]}: seeds 6, claims 1; {times[1]}: {later}" in page


def test_seeds_that_are_still_to_come_leave_the_planned_ones_as_they_are(study: Study) -> None:
    study.trainable = 6
    study.sweep("--seeds", 6)
    study.sweep("--seeds", 8)
    claim = study.verdict()
    assert (claim["n"]["planned"], claim["n"]["pairs"], claim["grade"]) == (6, 6, "A")


def test_seeds_may_change_until_there_is_a_result(study: Study) -> None:
    study.interrupted = True
    study.sweep("--seeds", 4)
    study.interrupted = False
    assert study.sweep("--seeds", 6) == ""
    claim = study.verdict()
    assert (claim["n"]["planned"], claim["grade"]) == (6, "A")


@pytest.mark.parametrize("words", [("--seeds", 6), ("--seeds", 6, "--first-seed", 5)])
def test_seeds_can_be_lowered_until_there_is_a_result(
    study: Study, tmp_path: Path, words: tuple[object, ...]
) -> None:
    study.interrupted = True
    study.sweep("--seeds", 8)
    study.interrupted = False
    assert study.sweep(*words) == ""
    seeds = list(range(5, 11)) if "--first-seed" in words else list(range(6))
    record = study.record()
    assert record["experiment"]["seeds"] == record["declarations"][-1]["seeds"] == seeds
    assert {row["seed"] for row in record["runs"]} == set(seeds)
    claim = study.verdict()
    assert (claim["n"]["planned"], claim["grade"], claim["grade_reasons"]) == (6, "A", [])
    page = (study.home / "report" / "index.html").read_text()
    assert "left out" not in page  # of runs that have not begun
    again = ("confirm", study.home, "--workdir", tmp_path / "again", "--packing", "off")
    code, out, err = study.call(*again)
    assert (code, err) == (0, "")
    assert f"repeated with 6 seeds from {seeds[-1] + 1} on" in out


def test_a_seed_whose_run_has_begun_stays_planned_and_is_named(study: Study) -> None:
    study.interrupted = True
    study.sweep("--seeds", 8)
    (run_dir,) = study.home.glob("runs/relu-s4-*")
    files.update_run(run_dir, status="running")
    (locked,) = study.home.glob("runs/none-s5-*")
    with lock.locked(locked):  # a worker is about to begin it
        said = study.sweep("--seeds", 4)
    assert "2 seeds stay planned, since runs of them have begun: 4, 5" in said
    record = study.record()
    assert record["experiment"]["seeds"] == [0, 1, 2, 3, 4, 5]
    arms = [row["arm"] for row in record["runs"]]
    assert arms.count("none") == arms.count("relu") == 6  # so that the sweep can be completed
    study.interrupted = False
    assert "1 seed stays planned, since runs of it have begun: 4" in study.sweep("--seeds", 4)
    assert study.verdict()["n"]["planned"] == 5
    assert study.sweep("--seeds", 4) == ""  # there are results: nothing can be taken back


def test_no_seed_is_taken_back_once_a_row_is_logged(study: Study) -> None:
    study.interrupted = True
    study.sweep("--seeds", 8)
    (run_dir,) = study.home.glob("runs/none-s0-*")
    (run_dir / "metrics.jsonl").write_text("{}\n")
    study.sweep("--seeds", 4)
    assert study.record()["experiment"]["seeds"] == list(range(8))


def test_a_queued_unit_of_a_seed_that_was_taken_back_trains_nothing(study: Study) -> None:
    study.interrupted = True
    study.sweep("--seeds", 8)
    runs = [[row["directory"]] for row in study.record()["runs"]]
    rows = [{"size": None, "runs": names, "chosen": "given"} for names in runs]
    ledger.record_packs(study.home, rows)
    study.sweep("--seeds", 6)
    study.interrupted = False
    silent: dict[str, Any] = {
        "listener": lambda _: None,
        "stop": lambda: False,
        "warn": lambda _: None,
    }
    local.run_unit(study.home, 11, **silent)
    with pytest.raises(InputError, match="holds runs that are not recorded"):
        local.run_unit(study.home, 12, **silent)
    assert {seed for _, seed in study.trained} == {5}


def test_a_report_of_runs_that_are_gone_is_a_result(study: Study) -> None:
    study.sweep("--seeds", 6)
    study.verdict()
    shutil.rmtree(study.home / "runs")
    study.claims = OPPOSITE
    study.sweep("--seeds", 7)
    claim = study.verdict()
    assert (claim["n"]["planned"], claim["added_seeds"]) == (6, [6])
    assert (claim["declared"], claim["verdict"], claim["grade"]) == ("post hoc", "opposite", "C")


def test_a_sweep_that_is_not_complete_is_graded_c_until_it_is(study: Study) -> None:
    study.trainable = 6
    study.sweep()
    claim = study.verdict()
    assert (claim["verdict"], claim["grade"], claim["n"]["pairs"]) == ("supported", "C", 6)
    assert (
        "2 of 8 planned seeds missing, so the sweep was judged before it was complete"
        in (claim["sentence"])
    )
    study.trainable = 8
    study.sweep()
    assert study.verdict()["grade"] == "A"


def test_an_open_claim_of_an_incomplete_sweep_waits_for_its_planned_seeds(study: Study) -> None:
    study.trainable = 5  # their smallest p is 0.0625
    study.sweep()
    claim = study.verdict()
    assert claim["verdict"] == "inconclusive"
    assert "the planned seeds that are missing come first" in claim["sentence"]
    assert "new directory" not in claim["sentence"]


@pytest.mark.parametrize("claims", [CLAIM, OPPOSITE])
def test_a_record_made_again_from_runs_is_post_hoc(study: Study, claims: str) -> None:
    study.sweep("--seeds", 6)
    (study.home / "sweep.json").unlink()
    study.claims = claims
    assert "made again from runs that had begun" in study.sweep("--seeds", 6)
    claim = study.verdict()
    assert (claim["declared"], claim["grade"]) == ("post hoc", "C")
    assert claim["grade_reasons"][0] == "declared or changed after the runs had begun"
    assert "nothing shows how many seeds were planned" in claim["sentence"]


def test_runs_older_than_their_record_are_found_by_their_times(study: Study) -> None:
    study.sweep("--seeds", 6)
    aside = study.home.with_name("aside")
    (study.home / "runs").rename(aside)
    (study.home / "sweep.json").unlink()
    study.interrupted = True
    study.sweep("--seeds", 6)
    shutil.rmtree(study.home / "runs")
    aside.rename(study.home / "runs")
    for path in study.home.glob("runs/*"):
        earlier = "2020-01-01T00:00:00+00:00"
        files.update_run(path, started=earlier, ended=earlier)
    claim = study.verdict()
    assert (claim["declared"], claim["grade"]) == ("post hoc", "C")
    assert claim["grade_reasons"][0].endswith("runs had begun before they were declared")


@pytest.mark.parametrize(
    ("time", "declared"),
    [
        ("9999-12-31T23:59:59+00:00", "before the runs"),
        ("9999-12-31T23:59:59-23:59", "before the runs"),
        ("0001-01-01T00:00:00+23:59", "post hoc"),
    ],
)
def test_times_at_the_ends_of_the_calendar_are_compared(
    new_sweep: NewSweep, rng: np.random.Generator, time: str, declared: str
) -> None:
    sweep = build(new_sweep, [Claim("a", "b")], {"a": 0.0, "b": 0.0}, rng)
    change_records(sweep, lambda record: record.update(started=time, ended=time))
    (claim,) = judge(read_directory(sweep.directory))["claims"]
    assert claim["declared"] == declared


def test_runs_that_began_under_other_claims_are_found(study: Study) -> None:
    study.sweep("--seeds", 6)
    aside = study.home.with_name("aside")
    (study.home / "runs").rename(aside)
    (study.home / "sweep.json").unlink()
    study.interrupted, study.claims = True, OPPOSITE
    study.sweep("--seeds", 6)
    shutil.rmtree(study.home / "runs")
    aside.rename(study.home / "runs")
    claim = study.verdict()
    assert (claim["declared"], claim["verdict"]) == ("post hoc", "opposite")
    assert "began under other claims" in claim["grade_reasons"][0]


def test_a_claim_changed_after_the_runs_is_post_hoc_and_no_more(study: Study) -> None:
    study.sweep("--seeds", 6)
    study.claims = OPPOSITE
    assert "1 claim was made or changed after the runs had begun" in study.sweep("--seeds", 6)
    claim = study.verdict()
    assert (claim["declared"], claim["grade"]) == ("post hoc", "B")
    history = study.record()["declarations"]
    assert [entry["claims"][0]["direction"] for entry in history] == ["better", "worse"]


@pytest.mark.parametrize(
    "edit",
    [
        "seeds",
        *(pytest.param(e, marks=pytest.mark.slow) for e in ("removed", "claims_sha256")),
        "all",
    ],
)
def test_an_edited_history_shows_nothing(study: Study, edit: str) -> None:
    study.sweep("--seeds", 6)
    study.sweep("--seeds", 7)
    record = study.record()
    if edit == "seeds":
        record["declarations"][0]["seeds"] = list(range(7))
    elif edit == "removed":
        del record["declarations"][0]
    elif edit == "all":
        del record["declarations"]
    else:
        del record["claims_sha256"]
    (study.home / "sweep.json").write_text(json.dumps(record))
    claim = study.verdict()
    assert (claim["declared"], claim["grade"]) == ("post hoc", "C")
