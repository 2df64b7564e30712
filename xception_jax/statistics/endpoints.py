"""The endpoints of claims: one number a run, and the seeds whose runs have them.

A run that diverged is an outcome: it ends at chance accuracy, is there from where it diverged on,
and never reaches a target. A run that is missing or failed is none, and its seed is missing with
it. Nothing is taken from a best epoch.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from jaxtyping import Float

from xception_jax.json_values import as_mapping
from xception_jax.records import ENDED, ENDPOINTS, METRIC_NAMES, METRICS, STEPS_TO_TARGET
from xception_jax.statistics.claims import RecordedClaim, read_target, recorded_claims
from xception_jax.statistics.contrasts import Contrast
from xception_jax.statistics.descriptive import first_crossing
from xception_jax.statistics.predictions import Predictions
from xception_jax.statistics.results import Run, Sweep

TARGET_SHARE = 0.95
"""The target of "steps to target" is this share of the mean final value, unless it is declared."""
UNITS = {"top1": "accuracy", "map100": "MAP@100"}
_FINALS = {"final_top1": "top1", "final_map100": "map100"}
Evaluations = Float[np.ndarray, " evaluations"]


@dataclass(frozen=True)
class Measured:
    """One endpoint of the runs that a claim compares.

    Attributes:
        name: name of the endpoint, one of `records.ENDPOINTS`.
        unit: unit of the values.
        label: the endpoint as a sentence names it.
        higher_is_better: whether a higher value is better; False for steps.
        contrast: the contrast of the claim.
        values: the values, a row for each arm of the contrast and a column for each seed.
        example_differences: the contrast on each test example; None where it is not known.
    """

    name: str
    unit: str
    label: str
    higher_is_better: bool
    contrast: Contrast
    values: Float[np.ndarray, "arms seeds"]
    example_differences: Float[np.ndarray, "seeds examples"] | None = None

    @property
    def sides(self) -> Float[np.ndarray, "2 seeds"]:
        """The two rows that are subtracted: weighted sums of arms, or two arms."""
        return self.contrast.split(self.values)

    @property
    def differences(self) -> Float[np.ndarray, " seeds"]:
        """The claim's contrast, seed by seed."""
        return self.contrast.of(self.values)

    @property
    def deviation(self) -> float | None:
        """Sample standard deviation of the differences; None below two seeds."""
        return float(self.differences.std(ddof=1)) if self.differences.size > 1 else None


@dataclass(frozen=True)
class Outcome:
    """The seeds of a claim, and its endpoints over those that have ended in all arms.

    Attributes:
        planned: number of seeds.
        completed: number of seeds whose runs are all done.
        diverged: number of seeds with a run that diverged, the others being done.
        seeds: the seeds that count: completed or diverged, with every endpoint.
        endpoints: the endpoints over these seeds, in the order of the claim.
        problem: the reason why there is nothing to test; empty: there is something.
        notes: sentences that a reader of the numbers must know.
    """

    planned: int = 0
    completed: int = 0
    diverged: int = 0
    seeds: tuple[int, ...] = ()
    endpoints: tuple[Measured, ...] = ()
    problem: str = ""
    notes: tuple[str, ...] = ()


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

    def __getitem__(self, run_key: tuple[str, int]) -> Run:
        return self.sweep.runs[self._index[run_key]]

    def seeds(self, arms: Iterable[str]) -> list[int]:
        """The seeds that all the arms have a run of, ended or not."""
        return sorted(set.intersection(*({s for a, s in self._index if a == arm} for arm in arms)))

    def curve(self, run_key: tuple[str, int], metric: str) -> tuple[Evaluations, Evaluations]:
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

    def predictions(self, run_key: tuple[str, int]) -> Predictions | None:
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
        over the done runs of all arms, or over their pilot seeds, to three digits. Which arm a run
        is of makes no difference to that: so a test that swaps the arms of a seed, as the sign-flip
        test does, stays exact although the target comes from the runs that it tests.
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
        done = [key for key in self._index if key[1] in seeds and self[key].status == "done"]
        finals = (final_value(self, run_key, self.sweep.metric, "valid") for run_key in done)
        values = [value for value in finals if value is not None]
        return float(f"{TARGET_SHARE * np.mean(values):.3g}") or None if values else None

    def chance(self, metric: str) -> float:
        """Value that a diverged run counts as; 0 where it is not known, as of a ranking."""
        return (self.top1_chance or 0.0) if metric == "top1" else 0.0

    def budget(self, run_key: tuple[str, int]) -> float:
        """Number of steps that a run has to train for."""
        steps, _ = self.curve(run_key, self.sweep.metric)
        return float(self[run_key].steps or (steps[-1] if steps.size else 0))


# -- one number a run --------------------------------------------------------------------------

Measure = Callable[[tuple[str, int]], float | None]


def final_value(runs: Runs, run_key: tuple[str, int], metric: str, split: str) -> float | None:
    """The metric after the last step, of the averaged weights."""
    run = runs[run_key]
    if run.status == "diverged":
        return runs.chance(metric)
    if split == "test":
        return run.test_top1 if metric == "top1" else run.test_map100
    _, values = runs.curve(run_key, metric)
    return float(values[-1]) if values.size else None


def curve_area(
    runs: Runs, run_key: tuple[str, int], metric: str, start: float, end: float
) -> float | None:
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


def steps_to(
    runs: Runs, run_key: tuple[str, int], metric: str, target: float, budget: float
) -> float | None:
    """Steps until the validation curve reaches `target`, or `budget` if it has not by then.

    The mean over seeds is the restricted mean of the time to the target.
    """
    steps, values = runs.curve(run_key, metric)
    if runs[run_key].status == "diverged":
        return budget
    if not steps.size:
        return None
    crossing = first_crossing(steps.tolist(), values.tolist(), target, budget=int(budget))
    return min(budget, crossing.steps if crossing.steps is not None else budget)


# -- one claim ---------------------------------------------------------------------------------


def measure(runs: Runs, claim: RecordedClaim, *, with_examples: bool = True) -> Outcome:
    """The endpoints of a claim over its runs, whatever is missing.

    Args:
        runs: the runs of the sweep.
        claim: the claim.
        with_examples: whether to read the predictions of each test example.
    """
    if claim.problem or claim.contrast is None:
        return Outcome(problem=claim.problem)
    planned = runs.seeds(claim.arms)[claim.pilot_seeds :]
    statuses = {seed: {runs[arm, seed].status for arm in claim.arms} for seed in planned}
    ended = [seed for seed in planned if statuses[seed] <= set(ENDED)]
    completed = sum(statuses[seed] == {"done"} for seed in planned)
    run_keys = [(arm, seed) for seed in ended for arm in claim.arms]
    notes = _diverged_notes(runs, run_keys)
    rows, definitions = [], []
    for name in claim.endpoints:
        if name not in ENDPOINTS:
            return Outcome(len(planned), problem=f"there is no endpoint {name!r}")
        definition, value = _define(runs, claim, name, run_keys)
        definitions.append(definition)
        rows.append([[value((arm, seed)) for arm in claim.arms] for seed in ended])
    known = [at for at in range(len(ended)) if all(v is not None for row in rows for v in row[at])]
    seeds = [ended[at] for at in known]
    endpoints = []
    for (name, unit, label, higher), row in zip(definitions, rows, strict=True):
        table = np.array([row[at] for at in known], dtype=np.float64)
        values = table.reshape(len(seeds), len(claim.arms)).T
        is_final = with_examples and name == "final_top1"
        examples = _example_differences(runs, claim.contrast, seeds) if is_final else None
        endpoints.append(Measured(name, unit, label, higher, claim.contrast, values, examples))
        if name == STEPS_TO_TARGET and seeds:
            notes += _censored_notes(values, runs, run_keys)
    return Outcome(
        planned=len(planned),
        completed=completed,
        diverged=len(ended) - completed,
        seeds=tuple(seeds),
        endpoints=tuple(endpoints),
        problem="the runs have not recorded the endpoint" if ended and not seeds else "",
        notes=tuple(notes),
    )


RunKeys = list[tuple[str, int]]
Definition = tuple[str, str, str, bool]


def _define(
    runs: Runs, claim: RecordedClaim, name: str, run_keys: RunKeys
) -> tuple[Definition, Measure]:
    """The first four fields of an endpoint's `Measured`, and what gives a run's value."""
    if name in _FINALS:
        final = _FINALS[name]
        done = [runs[run_key] for run_key in run_keys if runs[run_key].status == "done"]
        results = [run.test_top1 if final == "top1" else run.test_map100 for run in done]
        split = "valid" if None in results else "test"
        label = f"final {'validation ' * (split == 'valid')}{METRIC_NAMES[final]}"
        return (name, UNITS[final], label, True), lambda at: final_value(runs, at, final, split)
    metric, budget = runs.sweep.metric, _horizon(runs, run_keys)
    validation = f"validation {METRIC_NAMES[metric]}"
    if name == "curve_area":
        firsts = [
            steps[0] for run_key in run_keys if (steps := runs.curve(run_key, metric)[0]).size
        ]
        start, label = min(firsts, default=0.0), f"mean {validation} over training"
        return (name, UNITS[metric], label, True), lambda at: curve_area(
            runs, at, metric, start, budget
        )
    target = claim.target or runs.target or 1.0
    label = f"steps to {target} {validation}"
    return (name, "steps", label, False), lambda at: steps_to(runs, at, metric, target, budget)


def _horizon(runs: Runs, run_keys: RunKeys) -> float:
    """The number of steps that all of these runs have to train for: their smallest budget."""
    return min((runs.budget(run_key) for run_key in run_keys), default=0.0)


def _diverged_notes(runs: Runs, run_keys: RunKeys) -> list[str]:
    count = sum(runs[run_key].status == "diverged" for run_key in run_keys)
    if not count:
        return []
    subject = f"{count} runs that diverged count" if count > 1 else "1 run that diverged counts"
    if runs.sweep.metric == "top1" and runs.top1_chance is None:
        return [f"{subject} as 0, since the number of classes is not recorded"]
    return [f"{subject} as {runs.chance(runs.sweep.metric):.3g}, chance"]


def _censored_notes(
    values: Float[np.ndarray, "arms seeds"], runs: Runs, run_keys: RunKeys
) -> list[str]:
    budget = _horizon(runs, run_keys)
    count = int(np.count_nonzero(values >= budget))
    if not count:
        return []
    return [f"{count} of {values.size} runs count with the whole budget of {budget:,.0f} steps"]


def _example_differences(
    runs: Runs, contrast: Contrast, seeds: list[int]
) -> Float[np.ndarray, "seeds examples"] | None:
    """The contrast of the arms' correctness; None unless all runs tell it of the same examples."""
    predictions = [[runs.predictions((arm, seed)) for arm in contrast.arms] for seed in seeds]
    known = [of_run for row in predictions for of_run in row if of_run is not None]
    if not known or not all(of_run.has_same_examples(known[0]) for of_run in known):
        return None
    rows = []
    for seed, row in zip(seeds, predictions, strict=True):
        total = np.zeros(known[0].correct.size)
        for arm, weight, of_run in zip(contrast.arms, contrast.weights, row, strict=True):
            if of_run is None and runs[arm, seed].status != "diverged":
                return None
            total += weight * (runs.chance("top1") if of_run is None else of_run.correct)
        rows.append(total)
    return np.array(rows)
