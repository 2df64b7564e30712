"""What a run counts as, and when there is nothing to test."""

import csv
import io
import itertools
from typing import Any

import numpy as np
import pytest

from tests.known_effects import build, change_records, reported
from tests.programs import Call
from tests.synthetic_sweep import NewSweep, edit_run
from xception_jax.report.reading import read_directory
from xception_jax.statistics.verdicts import judge
from xception_jax.sweep import Claim


def test_steps_of_a_diverged_run_are_its_budget_whatever_it_had_reached(
    call: Call, new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    claims = [Claim("a", "b", "better", ("steps_to_target",), target=0.1)]
    arms = {"a": 0.02, "b": 0.0}
    sweep = build(new_sweep, claims, arms, rng, seeds=9, diverged=(("b", 2),))
    curve = read_directory(sweep.directory).curves.filter(arm="b", seed=2, split="valid")
    assert (curve["top1"] > 0.1).any()
    (claim,) = reported(call, sweep)
    assert claim["endpoints"][0]["per_seed"][2]["baseline"] == 1000
    assert "chance" not in claim["sentence"]
    results = (sweep.directory / "report" / "results.csv").read_text()
    rows = {(row["arm"], row["seed"]): row for row in csv.DictReader(io.StringIO(results))}
    assert float(rows["b", "2"]["steps_to_target"]) == 1000


@pytest.mark.parametrize("status", ["diverged", "failed", "running"])
def test_without_all_pilot_seeds_there_is_no_target_and_no_verdict(
    status: str, new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    """A target of some of the pilot's runs is another one than that of all of them."""
    names = ("steps_to_target",)
    claims = [
        Claim("a", "b", "not_worse", names, margin=20, pilot_seeds=1),
        Claim("a", "b", "equivalent", names, margin=20, pilot_seeds=1),
    ]
    sweep = build(new_sweep, claims, {"a": -0.1, "b": 0.0}, rng, seeds=9)
    of_pilot = [run for run in sweep.runs if run["seed"] == 0]
    stopped = of_pilot if status == "diverged" else of_pilot[:1]
    for run in stopped:
        edit_run(sweep.directory / run["directory"], lambda record: record.update(status=status))
    for claim in judge(read_directory(sweep.directory))["claims"]:
        assert claim["verdict"] == "not tested"
        assert "pilot seeds have not all ended with a result" in claim["sentence"]


STEPS_TO = {"endpoints": ("steps_to_target",)}


@pytest.mark.parametrize(
    ("fields", "has_diverged", "reason"),
    [
        ({**STEPS_TO, "target": 0.99}, False, "no run reached 0.99"),
        ({**STEPS_TO, "target": 0.01}, False, "every run had reached 0.01 at its first evaluation"),
        ({**STEPS_TO, "target": 0.01}, True, "no run reached 0.01"),
        ({"endpoints": ("final_top1",)}, True, "every run diverged"),
        ({"endpoints": ("curve_area",)}, True, "every run diverged"),
    ],
)
@pytest.mark.parametrize("direction", ["equivalent", "not_worse"])
def test_runs_that_cannot_differ_show_nothing(
    fields: dict[str, Any],
    has_diverged: bool,
    reason: str,
    direction: str,
    *,
    new_sweep: NewSweep,
    rng: np.random.Generator,
) -> None:
    """That no run gets anywhere, or that all start where they should end, is no equivalence."""
    claims = [Claim("a", "b", direction, margin=0.05, **fields)]
    runs = tuple(itertools.product("ab", range(9))) if has_diverged else ()
    sweep = build(new_sweep, claims, {"a": 0.0, "b": 0.0}, rng, seeds=9, diverged=runs)
    (claim,) = judge(read_directory(sweep.directory))["claims"]
    assert claim["verdict"] == "not tested"
    assert reason in claim["sentence"]


def test_a_result_of_the_validation_split_is_called_that(
    new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    sweep = build(new_sweep, [Claim("a", "b")], {"a": 0.02, "b": 0.0}, rng)
    change_records(sweep, lambda record: record["result"].update(split="valid"))
    (claim,) = judge(read_directory(sweep.directory))["claims"]
    assert "final validation top-1 +" in claim["sentence"]


def test_a_run_without_a_result_is_missing_and_the_others_keep_their_endpoint(
    new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    sweep = build(new_sweep, [Claim("a", "b")], {"a": 0.02, "b": 0.0}, rng, seeds=9)
    edit_run(
        sweep.directory / sweep.runs[4]["directory"], lambda record: record.update(result=None)
    )
    (claim,) = judge(read_directory(sweep.directory))["claims"]
    assert "final top-1 +" in claim["sentence"]
    assert claim["n"]["pairs"] == 8


@pytest.mark.parametrize(
    ("endpoint", "has_labels", "counts_as"),
    [
        ("final_top1", True, "0.3, chance"),
        ("final_top1", False, "0, since what chance gives is not recorded"),
        ("final_map100", True, "0, chance"),
    ],
)
def test_the_sentence_says_what_a_diverged_run_of_several_labels_counts_as(
    endpoint: str,
    has_labels: bool,
    counts_as: str,
    new_sweep: NewSweep,
    rng: np.random.Generator,
) -> None:
    """The metric of the claim counts, which need not be the one of the sweep."""
    claims = [Claim("a", "b", endpoints=(endpoint,))]
    sweep = build(new_sweep, claims, {"a": 0.02, "b": 0.0}, rng, diverged=(("b", 2),))

    def rank(record: dict[str, Any]) -> None:
        record["metric"] = "map100"
        if record["result"] is not None:
            record["result"]["map100"] = 0.5

    change_records(sweep, rank)
    for path in sweep.directory.glob("runs/*/predictions.npz"):
        with np.load(path) as arrays:
            correct = arrays["correct"]
        labels = np.arange(10) < 3  # three of ten classes are in every image
        known: dict[str, Any] = {"label": np.tile(labels, (correct.size, 1))} if has_labels else {}
        np.savez(path, correct=correct, **known)
    (claim,) = judge(read_directory(sweep.directory))["claims"]
    assert claim["endpoints"][0]["per_seed"][2]["baseline"] == pytest.approx(
        float(counts_as.split(",", maxsplit=1)[0])
    )
    assert f"1 run that diverged counts as {counts_as}" in claim["sentence"]
