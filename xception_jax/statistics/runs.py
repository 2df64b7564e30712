"""The runs of a sweep by arm and seed, and what one run came to: one number for each endpoint.

A run that diverged ends at chance accuracy, is there from where it diverged on, and never reaches a
target. Nothing is taken from a best epoch.
"""

from collections.abc import Collection, Iterable
from functools import cached_property

import numpy as np
import polars as pl
from jaxtyping import Float

from xception_jax.json_values import as_mapping
from xception_jax.records import ENDED, METRICS, STEPS_TO_TARGET
from xception_jax.statistics.claims import read_target, recorded_claims
from xception_jax.statistics.descriptive import Crossing, first_crossing
from xception_jax.statistics.predictions import Predictions
from xception_jax.statistics.results import Run, Sweep

TARGET_SHARE = 0.95
"""The target of "steps to target" is this share of the mean final value, unless it is declared."""
RunKey = tuple[str, int]
"""An arm and a seed."""
Evaluations = Float[np.ndarray, " evaluations"]


class Runs:
    """The runs of a sweep by arm and seed, with the files that endpoints are computed from."""

    def __init__(self, sweep: Sweep, seeds: Collection[int] | None = None) -> None:
        """Takes the runs of the given seeds; None: of all."""
        self.sweep = sweep
        self._index = {
            (run.arm, run.seed): at
            for at, run in enumerate(sweep.runs)
            if run.seed is not None and (seeds is None or run.seed in seeds)
        }
        self._predictions: dict[int, Predictions | None] = {}

    def __getitem__(self, run_key: RunKey) -> Run:
        return self.sweep.runs[self._index[run_key]]

    def seeds(self, arms: Iterable[str]) -> list[int]:
        """The seeds that all the arms have a run of, ended or not."""
        return sorted(set.intersection(*({s for a, s in self._index if a == arm} for arm in arms)))

    def curve(self, run_key: RunKey, metric: str) -> tuple[Evaluations, Evaluations]:
        """Steps and values of every validation whose value is finite."""
        empty = np.zeros(0), np.zeros(0)
        return self._curves[metric].get(self._index[run_key], empty)

    @cached_property
    def _curves(self) -> dict[str, dict[int, tuple[Evaluations, Evaluations]]]:
        valid = self.sweep.curves.filter(pl.col("split") == "valid").sort("run", "step")
        return {
            metric: {
                int(key[0]): (rows["step"].to_numpy().astype(np.float64), rows[metric].to_numpy())
                for key, rows in valid.drop_nulls(metric).partition_by("run", as_dict=True).items()
            }
            for metric in METRICS
        }

    def predictions(self, run_key: RunKey) -> Predictions | None:
        """Per-example results of a run, read once."""
        at = self._index[run_key]
        if at not in self._predictions:
            self._predictions[at] = self.sweep.read_predictions(self.sweep.runs[at])
        return self._predictions[at]

    @cached_property
    def top1_chance(self) -> float | None:
        """Accuracy of guessing a class; of sets of classes, from the labels of any finished run."""
        classes = next((run.classes for run in self.sweep.runs if run.classes), None)
        if self.sweep.metric == "top1":
            return 1 / classes if classes else None
        done = (run_key for run_key in self._index if self[run_key].status == "done")
        predictions = (self.predictions(run_key) for run_key in done)
        shares = (known.label_share for known in predictions if known and known.label_share)
        return next(shares, None)

    @cached_property
    def target(self) -> float | None:
        """The validation value of "steps to target", one for the whole sweep; None: not yet.

        It is what a claim declares, or the experiment. Otherwise it is 95% of the mean final value
        over the done runs of all arms, or over their pilot seeds once all of those have ended, to
        three digits. Which arm a run is of makes no difference to that: so a test that swaps the
        arms of a seed, as the sign-flip test does, stays exact although the target comes from the
        runs that it tests.
        """
        claims = [c for c in recorded_claims(self.sweep) if STEPS_TO_TARGET in c.endpoints]
        claims = [claim for claim in claims if not claim.post_hoc] or claims
        declared = [claim.target for claim in claims]
        if not claims:
            experiment = as_mapping(self.sweep.record.get("experiment"))
            declared = [read_target(experiment.get("target"), self.sweep.base)]
        if known := [target for target in declared if target is not None]:
            return known[0]
        pilot = max((claim.pilot_seeds for claim in claims), default=0)
        seeds = sorted({seed for _, seed in self._index})[: pilot or None]
        keys = [run_key for run_key in self._index if run_key[1] in seeds]
        if pilot and not all(self[run_key].status in ENDED for run_key in keys):
            return None  # it would move when the others end
        done = [run_key for run_key in keys if self[run_key].status == "done"]
        finals = (final_value(self, run_key, self.sweep.metric, "valid") for run_key in done)
        values = [value for value in finals if value is not None]
        return float(f"{TARGET_SHARE * np.mean(values):.3g}") or None if values else None

    def chance(self, metric: str) -> float:
        """Value that a diverged run counts as; 0 where it is not known, as of a ranking."""
        return (self.top1_chance or 0.0) if metric == "top1" else 0.0

    def budget(self, run_key: RunKey) -> float:
        """Number of steps that a run has to train for."""
        steps, _ = self.curve(run_key, self.sweep.metric)
        return float(self[run_key].steps or (steps[-1] if steps.size else 0))


def final_value(runs: Runs, run_key: RunKey, metric: str, split: str) -> float | None:
    """The metric of a run at its end: on test by its record, on validation by its last evaluation.

    A run that diverged counts as chance; None: the run has no such value.
    """
    run = runs[run_key]
    if run.status == "diverged":
        return runs.chance(metric)
    if split == "test":
        if run.result_split == "valid":
            return None
        return run.test_top1 if metric == "top1" else run.test_map100
    _, values = runs.curve(run_key, metric)
    return float(values[-1]) if values.size else None


def curve_area(runs: Runs, run_key: RunKey, metric: str, start: float, end: float) -> float | None:
    """The mean of the validation curve from step `start` to `end`, linear between evaluations."""
    steps, values = runs.curve(run_key, metric)
    has_diverged = runs[run_key].status == "diverged"
    if end <= start or not (steps.size or has_diverged):
        return None
    alive, area = end, 0.0
    if has_diverged:
        alive = float(np.clip(steps[-1], start, end)) if steps.size else start
    if steps.size:
        inside = steps[(steps > start) & (steps < alive)]
        grid = np.concatenate([[start], inside, [alive]])
        area = float(np.trapezoid(np.interp(grid, steps, values), grid))
    return (area + runs.chance(metric) * (end - alive)) / (end - start)


def crossing(
    runs: Runs, run_key: RunKey, metric: str, target: float, budget: float
) -> Crossing | None:
    """Where the validation curve of a run that has ended reaches `target`; None without a curve.

    The mean of its steps over seeds is the restricted mean of the time to the target.
    """
    steps, values = runs.curve(run_key, metric)
    has_diverged = runs[run_key].status == "diverged"
    if not (steps.size or has_diverged):
        return None
    reached = first_crossing(
        steps.tolist(), values.tolist(), target, budget=int(budget), has_diverged=has_diverged
    )
    if reached.steps is None or reached.steps >= budget:
        return Crossing(budget, "not_reached")
    return reached
