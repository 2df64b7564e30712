"""Sweeps of known truth that were tuned: their verdicts, sentences and grades, and every fault."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.synthetic_sweep import SweepWriter, edit_run, edit_sweep
from tests.synthetic_tuning import PEAKS, RATE, add_tuning, fill, hill, write_record
from xception_jax.checksums import with_checksum
from xception_jax.report.reading import read_directory
from xception_jax.statistics.audit import audit
from xception_jax.statistics.json_types import ClaimVerdict
from xception_jax.statistics.recorded_tuning import describe_tuning, read_tuning
from xception_jax.statistics.verdicts import judge
from xception_jax.sweep import Claim

SENTENCE = (
    "none was better than relu, each at its own learning rate, chosen among five by validation "
    "over two seeds (none 0.1, relu 0.2): final top-1 "
)


def two_arms(new_sweep: Callable[..., SweepWriter], seeds: int = 8) -> SweepWriter:
    arms = {arm: {"model.intermediate_activation": arm} for arm in PEAKS}
    return new_sweep(arms=arms, seeds=range(seeds), claims=[Claim("none", "relu").describe()])


@pytest.fixture
def tuned(new_sweep) -> Path:
    """A tuned sweep in which `none` is better, and everything is as it should be."""
    sweep = two_arms(new_sweep)
    add_tuning(sweep, {arm: hill(peak) for arm, peak in PEAKS.items()})
    fill(sweep)
    return sweep.directory


def verdict(directory: Path) -> tuple[ClaimVerdict, list[tuple[str, str]]]:
    """The judged claim, and kind and text of every mismatch."""
    sweep = read_directory(directory)
    found = audit(sweep)
    (claim,) = judge(sweep, found)["claims"]
    return claim, [(row["kind"], row["text"]) for row in found["mismatches"]]


def test_a_tuned_sweep_says_so_and_keeps_its_grade(tuned, call):
    claim, mismatches = verdict(tuned)
    assert mismatches == []
    assert (claim["verdict"], claim["grade"], claim["declared"]) == (
        "supported", "A", "before the runs",
    )  # fmt: skip
    assert SENTENCE in claim["sentence"]
    code, out, _ = call("report", tuned)
    assert (code, SENTENCE in " ".join(out.split())) == (0, True)
    page = (tuned / "report" / "index.html").read_text()
    assert "How the arms were tuned" in page
    assert "All arms tried the same 5 values on the same two seeds" in page
    assert (tuned / "report" / "tuning.png").exists()
    assert len((tuned / "report" / "tuning.csv").read_text().splitlines()) == 1 + 2 * 5 * 2
    code, out, _ = call("audit", tuned)
    assert (code, "everything pairs" in out) == (0, True)


def test_the_null_is_not_helped_by_tuning(new_sweep):
    sweep = two_arms(new_sweep)
    add_tuning(sweep, {arm: hill(peak) for arm, peak in PEAKS.items()})
    fill(sweep, gain=-0.007)  # the differences are 0, 2, … 14 thousandths less 7
    claim, _ = verdict(sweep.directory)
    assert (claim["verdict"], claim["grade"]) == ("inconclusive", "A")
    assert "each at its own learning rate" in claim["sentence"]


def test_a_sweep_that_is_not_tuned_says_nothing_of_it(new_sweep):
    sweep = two_arms(new_sweep)
    fill(sweep)
    claim, mismatches = verdict(sweep.directory)
    assert (mismatches, claim["grade"]) == ([], "A")
    assert "each at its own" not in claim["sentence"]
    assert read_tuning(read_directory(sweep.directory)) is None


def test_two_settings_edges_and_divergence_are_said(new_sweep):
    sweep = two_arms(new_sweep)
    decay = "optimizer.weight_decay"
    points = [(rate, d) for rate in (0.1, 0.2, 0.4) for d in (0.0, 1e-4)]
    scores: dict[str, dict[tuple[float, ...], list[float | None]]] = {
        "none": {point: [0.9 - point[0], 0.9 - point[0]] for point in points},
        "relu": {point: [None if point[0] > 0.2 else 0.5 + point[0], 0.6] for point in points},
    }
    edges = {"none": {RATE: "lower"}}
    add_tuning(sweep, scores, settings=(RATE, decay), at_edge=edges)
    fill(sweep)
    found = read_directory(sweep.directory)
    assert describe_tuning(found, ("none", "relu")) == (
        ", each at its own learning rate and weight decay, chosen among six pairs by validation "
        "over two seeds (none 0.1 and 0 at the lower edge of the learning rates that were tried, "
        "relu 0.2 and 0)"
    )
    tuning = read_tuning(found)
    assert tuning is not None
    assert tuning.scores["relu"][0.4, 0.0] == [0.1, 0.6]


# -- everything that can be wrong with it ------------------------------------------------------


def change_record(directory: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Edits `tuning.json` and the copy in `sweep.json` alike, with valid checksums."""
    record = json.loads((directory / "tuning.json").read_text())
    change(record)
    record = with_checksum(record)
    write_record(directory, record)
    edit_sweep(directory, lambda content: content["experiment"].update(tuned=record))


def edited_file(directory: Path) -> None:
    record = json.loads((directory / "tuning.json").read_text())
    record["arms"]["none"]["mean"] = 0.99
    write_record(directory, record)


def resealed_file(directory: Path) -> None:
    record = json.loads((directory / "tuning.json").read_text())
    record["arms"]["none"]["mean"] = 0.99
    write_record(directory, with_checksum(record))


def other_choice(directory: Path) -> None:
    change_record(directory, lambda record: record["arms"]["none"]["chosen"].update({RATE: 0.4}))


def better_score(directory: Path) -> None:
    def change(record: dict[str, Any]) -> None:
        next(row for row in record["runs"] if row["values"] == [0.1])["score"] = 0.97

    change_record(directory, change)


def smaller_budget(directory: Path) -> None:
    def change(record: dict[str, Any]) -> None:
        dropped = next(r for r in record["runs"] if r["arm"] == "relu" and r["values"] == [0.025])
        record["runs"].remove(dropped)

    change_record(directory, change)


def late(directory: Path) -> None:
    known = {"begun": 3, "results": 1, "reported": False}
    change_record(directory, lambda record: record["arms"]["relu"].update(known=known))


def late_by_its_time(directory: Path) -> None:
    at = "2025-01-03T00:00:00+00:00"
    change_record(directory, lambda record: record["arms"]["relu"].update(at=at))


def shared_seed(directory: Path) -> None:
    change_record(directory, lambda record: record["seeds"].append(3))


def declared_otherwise(directory: Path) -> None:
    edit_sweep(directory, lambda content: content["experiment"]["arms"]["none"].update({RATE: 0.4}))


def run_on_test(directory: Path) -> None:
    run = next(directory.glob("tuning/relu-0.2-*"))
    edit_run(run, lambda record: record["result"].update(split="test"))


def edited_run(directory: Path) -> None:
    path = next(directory.glob("tuning/relu-0.2-*")) / "run.json"
    path.write_text(path.read_text().replace('"top1": 0.9', '"top1": 0.99', 1))


def run_at_another_value(directory: Path) -> None:
    path = next(directory.glob("tuning/relu-0.2-*")) / "config.json"
    path.write_text(path.read_text().replace("0.2", "0.3"))


def run_on_other_data(directory: Path) -> None:
    other = {"examples": 10, "images": "0" * 64, "labels": "1" * 64}
    for run in directory.glob("tuning/relu-*"):
        edit_run(run, lambda record: record["data"]["splits"].update(valid=other))


FAULTS = {
    edited_file: "tuning.json was changed after it was written",
    resealed_file: "is not the one of which sweep.json holds a copy",
    other_choice: "none: 0.4 is recorded as chosen, and 0.1 is the best",
    better_score: "1 tuning run of none came out otherwise than tuning.json says",
    smaller_budget: "were not tuned over the same values and seeds",
    late: "relu was tuned when runs of the verdict had begun: post hoc",
    late_by_its_time: "had begun before relu was tuned: post hoc",
    shared_seed: "seed 3 served for tuning, and for the verdict too",
    declared_otherwise: "none is declared with 0.4, and tuning chose 0.1",
    run_on_test: "1 tuning run of relu was evaluated on the test split",
    edited_run: "1 tuning run of relu cannot be read, or was changed afterwards",
    run_at_another_value: "did not run with the settings that tuning.json says",
    run_on_other_data: "relu was tuned on other data: other examples",
}


@pytest.mark.parametrize("change", FAULTS, ids=lambda change: change.__name__)
def test_every_fault_is_named_and_lowers_the_grade(tuned, change, call):
    change(tuned)
    text = FAULTS[change]
    claim, mismatches = verdict(tuned)
    assert any(kind == "tuning" and text in said for kind, said in mismatches), mismatches
    assert any(text in reason for reason in claim["grade_reasons"])
    assert claim["grade"] == "C"
    assert call("audit", tuned)[0] == 1


def test_an_arm_that_is_being_tuned_beside_is_no_fault(tuned):
    """`sweep.json` holds what was chosen for the other arms."""
    before, _ = verdict(tuned)
    record = json.loads((tuned / "tuning.json").read_text())
    write_record(tuned, with_checksum({**record, "complete": False, "arms": {}}))
    claim, mismatches = verdict(tuned)
    assert (claim["grade"], mismatches) == (before["grade"], [])


def test_a_tuning_whose_record_is_gone_lowers_the_grade(tuned):
    (tuned / "tuning.json").unlink()
    claim, mismatches = verdict(tuned)
    assert claim["grade"] == "C"
    assert mismatches == [
        ("tuning", "tuning.json, which records how the settings were chosen, is gone")
    ]


def test_runs_that_are_gone_can_no_longer_be_checked(tuned):
    shutil.rmtree(tuned / "tuning")
    claim, mismatches = verdict(tuned)
    assert claim["grade"] == "B"
    assert {kind for kind, _ in mismatches} == {"unrecorded"}
    edit_sweep(tuned, lambda content: content.update(tuned_elsewhere=True))
    claim, mismatches = verdict(tuned)
    assert (claim["grade"], mismatches) == ("A", [])
    assert "relu 0.2; in another sweep)" in claim["sentence"]


def test_an_arm_tuned_late_lowers_only_the_claims_about_it(new_sweep):
    arms = {arm: {"model.intermediate_activation": arm} for arm in ("none", "relu", "elu")}
    claims = [Claim("none", "relu").describe(), Claim("none", "elu").describe()]
    sweep = new_sweep(arms=arms, seeds=range(8), claims=claims)
    known = {"elu": {"begun": 4, "results": 4, "reported": False}}
    add_tuning(sweep, {arm: hill(0.1) for arm in arms}, known=known)
    fill(sweep)
    found = read_directory(sweep.directory)
    grades = [claim["grade"] for claim in judge(found, audit(found))["claims"]]
    assert grades == ["A", "C"]


@pytest.mark.parametrize(
    "garbage", ["[]", "{", '{"tune": 3, "runs": [1, {"values": "x"}], "arms": [2]}', "{}"]
)
def test_a_record_that_is_garbage_stops_no_report(tuned, garbage, call):
    (tuned / "tuning.json").write_text(garbage)
    assert call("report", tuned)[0] == 0
    assert verdict(tuned)[0]["grade"] == "C"
    edit_sweep(tuned, lambda c: c["experiment"].update(tuned=json.loads('{"tune": [], "arms": 1}')))
    assert call("report", tuned)[0] == 0
    assert verdict(tuned)[0]["grade"] == "C"
