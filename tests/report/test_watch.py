"""`report --watch`: rebuilds at a change, refreshes the page, ends with the sweep."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.known_effects import build
from tests.synthetic_sweep import STEPS, NewSweep, SweepWriter, edit_sweep, saturating
from xception_jax.errors import InputError
from xception_jax.report.watch import watch_report
from xception_jax.sweep import Claim

pytestmark = pytest.mark.usefixtures("undrawn_figures")
REFRESH = 'http-equiv="refresh" content="5"'


def test_follows_a_sweep_to_its_end(new_sweep: Callable[..., SweepWriter]) -> None:
    sweep = new_sweep(arms={"none": {}}, seeds=(0, 1))
    running = {"status": "running", "steps": STEPS[:3], "top1": saturating(0.9)[:3]}
    sweep.add_run("none", 0, **running)
    looks: list[float] = []

    def sleep(seconds: float) -> None:
        """Nothing new at the first look, then a run at each."""
        looks.append(seconds)
        if len(looks) > 1:
            seed = len(looks) - 2
            sweep.add_run("none", seed, steps=STEPS, top1=saturating(0.9), test_top1=0.8)

    headlines = []
    for written in watch_report(sweep.directory, seconds=5, sleep=sleep):
        headlines.append(written.headline)
        text = written.page.read_text()
        assert (REFRESH in text) == ("The sweep has not ended" in text) == (not written.has_ended)
    assert headlines == [
        "nonlinearity: 0 of 2 runs done, 1 running, 1 not started",
        "nonlinearity: 1 of 2 runs done, 1 not started",
        "nonlinearity: 2 of 2 runs done",
    ]
    assert looks == [5, 5, 5]


def test_the_page_follows_an_ended_sweep_whose_claim_waits_for_a_look(
    new_sweep: NewSweep, rng: np.random.Generator
) -> None:
    """A sweep lists the runs of its next look once they are due."""
    skip = tuple((arm, seed) for arm in "ab" for seed in range(6, 12))
    looks: dict[str, Any] = {"seeds": 12, "skip": skip, "looks": (6, 12)}
    sweep = build(new_sweep, [Claim("a", "b")], {"a": 0.0, "b": 0.0}, rng, **looks)
    edit_sweep(
        sweep.directory,
        lambda record: record.update(runs=[run for run in record["runs"] if run["seed"] < 6]),
    )
    written = next(watch_report(sweep.directory, seconds=5))
    assert written.headline == "nonlinearity: 12 of 12 runs done"
    assert not written.has_ended
    assert REFRESH in written.page.read_text()


def test_a_tuning_run_is_something_new(new_sweep: Callable[..., SweepWriter]) -> None:
    sweep = new_sweep(arms={"none": {}}, seeds=(0,))
    looks: list[float] = []

    def sleep(seconds: float) -> None:
        assert not looks, "the change was not seen"
        looks.append(seconds)
        tuning_run = sweep.directory / "tuning" / "none-s9"
        tuning_run.mkdir(parents=True)
        (tuning_run / "run.json").write_text("{}")

    watching = watch_report(sweep.directory, sleep=sleep)
    next(watching)
    next(watching)


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), 1e9])
def test_seconds_that_are_none(finished_sweep: SweepWriter, seconds: float) -> None:
    with pytest.raises(InputError, match="SECONDS"):
        next(watch_report(finished_sweep.directory, seconds=seconds))
    assert not (finished_sweep.directory / "report").exists()


def test_command_ends_with_an_ended_sweep_and_without_refresh(
    finished_sweep: SweepWriter, call: Callable
) -> None:
    code, out, err = call("report", finished_sweep.directory, "--watch", "5")
    assert (code, err) == (0, "")
    assert "9 of 9 runs done" in out
    assert REFRESH not in (finished_sweep.directory / "report" / "index.html").read_text()
    code, out, err = call("report", finished_sweep.directory, "5")
    assert (code, out, err.count("\n")) == (2, "", 1)


def test_interrupt_leaves_a_page_that_stays(
    new_sweep: Callable[..., SweepWriter], call: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = new_sweep(arms={"none": {}}, seeds=(0, 1))

    def interrupt(seconds: float) -> None:
        assert REFRESH in (sweep.directory / "report" / "index.html").read_text()
        raise KeyboardInterrupt

    monkeypatch.setattr("xception_jax.report.watch.time.sleep", interrupt)
    code, *_ = call("report", sweep.directory, "--watch", "5")
    assert code == 0
    assert REFRESH not in (sweep.directory / "report" / "index.html").read_text()
