"""The endpoints of claims: one number a run, over the seeds whose runs have them.

A run that diverged is an outcome, see `runs`. A run that is missing or failed is none, and its seed
is missing with it. Where no two runs can differ, since all diverged or none reached the target,
there is no equivalence to test.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from xception_jax.records import ENDED, ENDPOINTS, METRIC_NAMES, NEED_MARGIN, STEPS_TO_TARGET
from xception_jax.statistics.claims import RecordedClaim
from xception_jax.statistics.contrasts import Contrast
from xception_jax.statistics.runs import (
    RunKey,
    Runs,
    crossing,
    curve_area,
    final_value,
)

UNITS = {"top1": "accuracy", "map100": "MAP@100"}
_FINALS = {"final_top1": "top1", "final_map100": "map100"}


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
        ended: number of seeds whose runs have all ended, pilot seeds included.
        seeds: the seeds that count: completed or diverged, with every endpoint.
        endpoints: the endpoints over these seeds, in the order of the claim.
        problem: the reason why there is nothing to test, though there may be values; empty: there
            is something.
        notes: sentences that a reader of the numbers must know.
    """

    planned: int = 0
    completed: int = 0
    diverged: int = 0
    ended: int = 0
    seeds: tuple[int, ...] = ()
    endpoints: tuple[Measured, ...] = ()
    problem: str = ""
    notes: tuple[str, ...] = ()


def measure(runs: Runs, claim: RecordedClaim, *, with_examples: bool = True) -> Outcome:
    """The endpoints of a claim over its runs, whatever is missing.

    Args:
        runs: the runs of the sweep.
        claim: the claim.
        with_examples: whether to read the predictions of each test example.
    """
    if claim.problem or claim.contrast is None:
        return Outcome(problem=claim.problem)
    with_pilot = runs.seeds(claim.arms)
    statuses = {seed: {runs[arm, seed].status for arm in claim.arms} for seed in with_pilot}
    for seed in with_pilot[: claim.pilot_seeds]:  # the target is of the pilot runs of all arms
        statuses[seed] = {run.status for run in runs.sweep.runs if run.seed == seed}
    planned = with_pilot[claim.pilot_seeds :]
    ended = [seed for seed in planned if statuses[seed] <= set(ENDED)]
    completed = sum(statuses[seed] == {"done"} for seed in planned)
    counted = Outcome(
        planned=len(planned),
        completed=completed,
        diverged=len(ended) - completed,
        ended=sum(of_seed <= set(ENDED) for of_seed in statuses.values()),
    )
    if unknown := set(claim.endpoints) - set(ENDPOINTS):
        return replace(counted, problem=f"there is no endpoint {min(unknown)!r}")
    run_keys = [(arm, seed) for seed in ended for arm in claim.arms]
    definitions = [_define(runs, claim, name, run_keys) for name in claim.endpoints]
    rows = [
        [[definition.value((arm, seed)) for arm in claim.arms] for seed in ended]
        for definition in definitions
    ]
    known = [at for at in range(len(ended)) if all(v is not None for row in rows for v in row[at])]
    seeds = [ended[at] for at in known]
    endpoints = []
    for definition, row in zip(definitions, rows, strict=True):
        table = np.array([row[at] for at in known], dtype=np.float64)
        values = table.reshape(len(seeds), len(claim.arms)).T
        is_final = with_examples and definition.name == "final_top1"
        examples = _example_differences(runs, claim.contrast, seeds) if is_final else None
        endpoints.append(definition.measured(claim.contrast, values, examples))
    problems = [definition.problem for definition in definitions if definition.problem]
    if claim.direction in NEED_MARGIN:  # they would follow from values that cannot differ
        problems += [definition.alike for definition in definitions if definition.alike]
    if ended and not known:
        problems.append("the runs have not recorded the endpoint")
    notes = dict.fromkeys(note for definition in definitions for note in definition.notes)
    return replace(
        counted,
        seeds=tuple(seeds),
        endpoints=tuple(endpoints),
        problem=problems[0] if problems else "",
        notes=tuple(notes),
    )


# -- one endpoint ------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Definition:
    """An endpoint of a claim over runs that have ended.

    Attributes:
        name: name of the endpoint.
        unit: unit of the values.
        label: the endpoint as a sentence names it.
        value: gives a run's value; None where it has none.
        problem: the reason why there is no value; empty: there are some.
        alike: the reason why no two values can differ; empty: some can.
        notes: sentences that a reader of the values must know.
    """

    name: str
    unit: str
    label: str
    value: Callable[[RunKey], float | None]
    problem: str = ""
    alike: str = ""
    notes: tuple[str, ...] = ()

    def measured(
        self,
        contrast: Contrast,
        values: Float[np.ndarray, "arms seeds"],
        examples: Float[np.ndarray, "seeds examples"] | None,
    ) -> Measured:
        """The endpoint with its values."""
        higher = self.name != STEPS_TO_TARGET
        return Measured(self.name, self.unit, self.label, higher, contrast, values, examples)


def _define(runs: Runs, claim: RecordedClaim, name: str, run_keys: list[RunKey]) -> _Definition:
    if name in _FINALS:
        return _define_final(runs, name, run_keys)
    if name == STEPS_TO_TARGET:
        return _define_steps(runs, claim, run_keys)
    return _define_area(runs, name, run_keys)


def _define_final(runs: Runs, name: str, run_keys: list[RunKey]) -> _Definition:
    """On the test split, or where no run has a result on it, on the validation split."""
    metric = _FINALS[name]
    done = [run_key for run_key in run_keys if runs[run_key].status == "done"]
    has_test = any(final_value(runs, run_key, metric, "test") is not None for run_key in done)
    split = "test" if has_test or not done else "valid"
    label = f"final {'validation ' * (split == 'valid')}{METRIC_NAMES[metric]}"
    return _Definition(
        name,
        UNITS[metric],
        label,
        lambda run_key: final_value(runs, run_key, metric, split),
        **_divergence(runs, run_keys, metric),
    )


def _define_area(runs: Runs, name: str, run_keys: list[RunKey]) -> _Definition:
    metric, end = runs.sweep.metric, _horizon(runs, run_keys)
    firsts = [steps[0] for run_key in run_keys if (steps := runs.curve(run_key, metric)[0]).size]
    start = min(firsts, default=0.0)
    return _Definition(
        name,
        UNITS[metric],
        f"mean validation {METRIC_NAMES[metric]} over training",
        lambda run_key: curve_area(runs, run_key, metric, start, end),
        **_divergence(runs, run_keys, metric),
    )


def _divergence(runs: Runs, run_keys: list[RunKey], metric: str) -> dict[str, Any]:
    """What runs that diverged mean for an endpoint that ends at chance: `alike` and `notes`."""
    count = sum(runs[run_key].status == "diverged" for run_key in run_keys)
    if not count:
        return {}
    subject = f"{count} runs that diverged count" if count > 1 else "1 run that diverged counts"
    note = f"{subject} as {runs.chance(metric):.3g}, chance"
    if metric == "top1" and runs.top1_chance is None:
        note = f"{subject} as 0, since what chance gives is not recorded"
    return {"alike": "every run diverged" if count == len(run_keys) else "", "notes": (note,)}


def _define_steps(runs: Runs, claim: RecordedClaim, run_keys: list[RunKey]) -> _Definition:
    metric, budget = runs.sweep.metric, _horizon(runs, run_keys)
    validation = f"validation {METRIC_NAMES[metric]}"
    target = claim.target or runs.target
    if target is None:
        why = (
            "its pilot seeds have not all ended with a result"
            if claim.pilot_seeds
            else "no run has ended with a result"
        )
        return _Definition(
            STEPS_TO_TARGET, "steps", f"steps to a {validation}", lambda _: None,
            f"there is no target: {why}" if run_keys else "",
        )  # fmt: skip
    crossings = {run_key: crossing(runs, run_key, metric, target, budget) for run_key in run_keys}
    kinds = Counter(found.kind for found in crossings.values() if found)
    everything, misses, first = kinds.total(), kinds["not_reached"], kinds["first"]
    alike, notes = "", []
    if everything and misses == everything:
        alike = f"no run reached {target}"
    elif everything and first == everything:
        alike = f"every run had reached {target} at its first evaluation"
    if misses:
        notes.append(
            f"{misses} of {everything} runs count with the whole budget of {budget:,.0f} steps"
        )
    if first:
        notes.append(
            f"{first} of {everything} runs had reached the target at their first evaluation, and "
            "count with its step"
        )
    return _Definition(
        STEPS_TO_TARGET,
        "steps",
        f"steps to {target} {validation}",
        lambda run_key: found.steps if (found := crossings[run_key]) else None,
        alike=alike,
        notes=tuple(notes),
    )


def _horizon(runs: Runs, run_keys: list[RunKey]) -> float:
    """The number of steps that all of these runs have to train for: their smallest budget."""
    return min((runs.budget(run_key) for run_key in run_keys), default=0.0)


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
