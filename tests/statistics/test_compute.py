"""Compute spent: what each run took, and where every device-second of a sweep is counted."""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from tests.synthetic_sweep import STEPS, NewSweep, SweepWriter, edit_run, saturating
from tests.synthetic_verdicts import NOTHING_SPENT
from xception_jax.report import write_report
from xception_jax.report.compute_tables import describe_compute
from xception_jax.statistics.compute import PARTS, spent_by
from xception_jax.statistics.results import Spent

CLAIM = {"arm": "a", "baseline": "b", "direction": "better", "endpoints": ["final_top1"]}
DONE = {"status": "done", "devices": ["cpu", "cpu"]}


def segment(start: int, to: int, seconds: float, **fields: Any) -> dict[str, Any]:
    return {"from": start, "to": to, "device_seconds": seconds, "end": "interrupted"} | fields


@pytest.mark.parametrize(
    ("segments", "expected"),
    [
        ([segment(0, 100, 50, end="done")], Spent(50, 0)),
        ([segment(0, 40, 20), segment(40, 100, 30, end="done")], Spent(50, 0)),
        # Resumed from step 30: a quarter of the first process's steps was for nothing.
        ([segment(0, 40, 20), segment(30, 100, 35, end="done")], Spent(50, 5)),
        # Killed at step 60, last measured at 40: 20 more steps at that pace, all of them lost.
        ([segment(0, 40, 20, reached=60, end="killed"), segment(40, 100, 30)], Spent(50, 10)),
        # ... or resumed from a checkpoint after the last measurement.
        ([segment(0, 40, 20, reached=60, end="killed"), segment(50, 100, 25)], Spent(50, 5)),
        # The newest checkpoint was damaged, later: the second process began before the first's end.
        ([segment(0, 80, 40), segment(80, 90, 5), segment(50, 100, 25)], Spent(50, 20)),
        # Began again from nothing.
        ([segment(0, 80, 40), segment(0, 100, 50)], Spent(50, 40)),
        # It was stopped before a step; and one that only evaluated.
        ([segment(0, 0, 3), segment(0, 100, 50), segment(100, 100, 2, end="done")], Spent(52, 3)),
        # Killed before anything was measured, or going on: more than is known.
        ([{"from": 0, "reached": 7, "end": "killed"}, segment(0, 100, 50)], Spent(50, 0, False)),
        ([segment(0, 40, 20), {"from": 40}], Spent(20, 0, False)),
    ],
)
def test_what_a_run_spent(segments: list[dict[str, Any]], expected: Spent) -> None:
    spent = spent_by({**DONE, "segments": segments})
    assert spent is not None
    assert (spent.kept, spent.lost) == pytest.approx((expected.kept, expected.lost))
    assert spent.is_whole == expected.is_whole
    assert not spent.is_estimate


def test_runs_of_earlier_versions_have_the_time_from_start_to_end() -> None:
    times = {"started": "2026-01-02T03:00:00+00:00", "ended": "2026-01-02T03:01:00+00:00"}
    assert spent_by(DONE | times) == Spent(120, 0, is_estimate=True)
    pack = {"pack": {"size": 4, "runs": ["a", "b", "c"]}}
    assert spent_by(DONE | times | pack) == Spent(40, 0, is_estimate=True)
    assert spent_by(DONE | times | {"resumed_from": [3]}) is None
    assert spent_by(DONE | times | {"ended": "soon"}) is None
    assert spent_by(DONE | times | {"started": None}) is None
    assert spent_by(DONE | times | {"status": "running"}) is None
    assert spent_by({}) is None


def test_what_nobody_can_have_spent_is_not_counted() -> None:
    assert spent_by(DONE | {"segments": [segment(0, 10, -5)]}) is None
    assert spent_by(DONE | {"segments": [segment(0, 1, 1e30, reached=10**17)]}) is None
    unread = spent_by(DONE | {"segments": [segment(0, 1, 1e300, reached=10**17)]})
    assert unread == Spent(0, 0, is_whole=False)
    swapped = {"started": "2026-01-02T04:00:00+00:00", "ended": "2026-01-02T03:00:00+00:00"}
    assert spent_by(DONE | swapped) is None
    times = {"started": "2026-01-02T03:00:00+00:00", "ended": "2026-01-02T04:00:00+00:00"}
    assert spent_by(DONE | times | {"pack": {"size": -3}}) is None


@pytest.fixture
def spent_sweep(new_sweep: NewSweep) -> SweepWriter:
    """Arms a and b with a claim, c without; runs that failed and go on; tuning; a leftover."""
    sweep = new_sweep(arms={"a": {}, "b": {}, "c": {}}, seeds=range(6), claims=[CLAIM])
    for at, arm in enumerate(sweep.arms):
        for seed in sweep.seeds:
            fields: dict[str, Any] = {"segments": [segment(0, 1000, 10, end="done")]}
            status = {("c", 4): "failed", ("c", 5): "running"}.get((arm, seed), "done")
            test = 0.8 - 0.05 * at + 0.001 * seed if status == "done" else None
            path = sweep.add_run(
                arm,
                seed,
                steps=STEPS,
                top1=saturating(0.9),
                test_top1=test,
                status=status,
                **fields,
            )
            if (arm, seed) == ("a", 0):  # killed once: 100 steps twice
                twice = [segment(0, 500, 5, reached=600, end="killed"), segment(500, 1000, 5)]
                edit_run(path, partial(dict.update, segments=twice))
    for folder, name, arm in (("tuning", "a-lr0.1", "a"), ("runs", "b-s0-old", "b")):
        path = sweep.directory / folder / name
        path.mkdir(parents=True)
        record = {"arm": arm, "seed": 9, "status": "done", "devices": ["tpu"]}
        record["segments"] = [segment(0, 10, 7, end="done")]
        (path / "run.json").write_text(json.dumps(record))
    return sweep


def test_every_device_second_is_in_one_part(spent_sweep: SweepWriter) -> None:
    verdicts = write_report(spent_sweep.directory).verdicts
    everything = verdicts["compute"]
    assert {part: everything[part] for part in PARTS} == {
        "judged": 120.0,  # a and b, six runs of ten each
        "thrown_away": 1.0 + 7.0 + 10.0,  # steps again, a leftover, a failed run
        "tuning": 7.0,
        "not_judged": 40.0,  # c
        "unfinished": 10.0,
    }
    assert everything["runs"] == {
        "judged": 12, "thrown_away": 2, "tuning": 1, "not_judged": 4, "unfinished": 1,
    }  # fmt: skip
    assert everything["devices"] == ["cpu", "tpu"]
    assert (everything["at_least"], everything["estimated"]) == (0, 0)


def test_a_verdict_has_the_compute_of_its_own_arms(spent_sweep: SweepWriter) -> None:
    result = write_report(spent_sweep.directory)
    (claim,) = result.verdicts["claims"]
    spent = claim["compute"]
    assert [spent[part] for part in PARTS] == [120.0, 8.0, 7.0, 0.0, 0.0]
    told = "compute: 120 device-seconds judged, 8.0 thrown away, 7.0 tuning (cpu, tpu)"
    assert describe_compute(spent) == told
    page = result.page.read_text()
    assert f"<span>{told}</span>" in page
    assert "thrown away: failed, superseded or trained again" in page
    assert "a second of one is not one of another" in page


def test_the_terminal_says_what_was_spent(
    spent_sweep: SweepWriter, call: Callable[..., Any]
) -> None:
    code, out, _ = call("report", spent_sweep.directory)
    said = " ".join(out.split())
    assert code == 0
    assert (
        "compute: 120 device-seconds judged, 18.0 thrown away, 7.0 tuning, 40.0 not judged" in said
    )


def test_records_that_say_nothing_make_the_sum_a_lower_bound(spent_sweep: SweepWriter) -> None:
    for directory in sorted((spent_sweep.directory / "runs").glob("a-*")):
        edit_run(directory, lambda record: record.update(segments=None, started=None))
    (spent_sweep.directory / "tuning" / "a-lr0.1" / "run.json").write_text("{")
    result = write_report(spent_sweep.directory)
    spent = result.verdicts["compute"]
    assert spent["at_least"] == 7
    assert spent["judged"] == 60.0
    assert "compute: at least 60.0 device-seconds judged" in result.page.read_text()
    assert "Of 7 runs not all is recorded" in result.page.read_text()


def test_many_seconds_are_shown_as_minutes_or_hours() -> None:
    def told(seconds: float) -> str:
        return describe_compute(NOTHING_SPENT | {"judged": seconds, "devices": ["cpu"]})

    assert told(599) == "compute: 599 device-seconds judged, 0 thrown away, 0 tuning (cpu)"
    assert told(660).startswith("compute: 11.0 device-minutes judged")
    assert told(9000).startswith("compute: 2.5 device-hours judged")
    assert told(0) == ""


def test_a_sweep_without_records_of_compute_says_nothing_of_it(new_sweep: NewSweep) -> None:
    sweep = new_sweep(arms={"a": {}, "b": {}}, claims=[CLAIM])
    result = write_report(sweep.directory)
    assert describe_compute(result.verdicts["compute"]) == ""
    assert "<h2>Compute</h2>" not in result.page.read_text()
