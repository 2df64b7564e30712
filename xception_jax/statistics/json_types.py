"""The form of `verdicts.json` and `audit.json`: a type for each object in them.

`verdicts.judge` and `audit.audit` make these objects. Whatever reads one names its type, so that
mypy finds a key that it does not have.
"""

from typing import Any, Literal, NotRequired, TypedDict

Part = Literal["judged", "thrown_away", "tuning", "not_judged", "unfinished"]
"""A part of the compute of a sweep, see `compute`."""
Stream = Literal["batches", "augmentation"]
"""A stream of random draws that the runs of a seed share."""


# -- verdicts.json -----------------------------------------------------------------------------


class SeedDifference(TypedDict):
    """What one seed gives: the value on both sides of a contrast, and their difference."""

    seed: int
    arm: float
    baseline: float
    difference: float


class Interval(TypedDict):
    """An interval that inverts a test.

    Attributes:
        interval: both ends; null: they are not finite, or the interval is empty.
        interval_is_empty: present and true where every value is rejected at one of the looks.
    """

    interval: list[float] | None
    interval_is_empty: NotRequired[bool]


class EndpointVerdict(Interval):
    """One endpoint of a claim: effect, interval and p-value; null: too few pairs to tell.

    Attributes:
        endpoint: its name, one of `records.ENDPOINTS`.
        unit: unit of the effect.
        effect: the estimated difference, arm minus baseline; over bases, its mean.
        interval: see `Interval`.
        confidence: confidence of the interval, from 0 to 1.
        null: the difference from which the effect is counted; null: of an equivalence there is
            none, nor is there over bases.
        method: name of the interval.
        p: p-value of the endpoint alone.
        p_adjusted: the same, Holm-adjusted over the claims.
        per_seed: the seeds, in increasing order.
    """

    endpoint: str
    unit: str
    effect: float | None
    confidence: float
    null: float | None
    method: str | None
    p: float | None
    p_adjusted: float | None
    per_seed: list[SeedDifference]
    # Not of the mean over several bases:
    other_intervals: NotRequired[dict[str, list[float]]]
    skewness: NotRequired[float | None]
    is_skewed: NotRequired[bool]
    needed_n: NotRequired[int | None]
    minimum_detectable_effect: NotRequired[float | None]
    correlation: NotRequired[float | None]
    probability_of_improvement: NotRequired[float | None]
    improvement_interval: NotRequired[list[float] | None]
    draws: NotRequired[int]
    example_interval: NotRequired[list[float] | None]


class SeedCounts(TypedDict):
    """Numbers of seeds of a claim, as in `endpoints.Outcome`; `pairs` are those that count."""

    planned: int
    completed: int
    diverged: int
    pairs: int


class Look(TypedDict):
    """The place of a claim among the declared looks, see `looks.Stage`."""

    number: int
    seeds: int
    next_seeds: int | None
    looks: list[int]
    spending: str


class SpentCompute(TypedDict):
    """Device-seconds by part; see `compute.Compute.describe`."""

    unit: str
    judged: float
    thrown_away: float
    tuning: float
    not_judged: float
    unfinished: float
    runs: dict[Part, int]
    devices: list[str]
    at_least: int
    estimated: int


class CombinedEstimate(TypedDict):
    """One endpoint over the seeds of two sweeps; null: not known."""

    endpoint: str
    unit: str
    pairs: int
    effect: float | None
    interval: list[float] | None
    confidence: float


class Replication(TypedDict):
    """What a confirming sweep says of a verdict of the first; see `confirmation`.

    `original` holds what the first sweep's record has, which anyone may have written.
    """

    outcome: str
    sentence: str
    original: dict[str, Any] | None
    combined: list[CombinedEstimate]


class ClaimVerdict(TypedDict):
    """The verdict on one claim: of a sweep, or over all of its bases.

    Attributes:
        claim: the claim as `sweep.json` has it.
        title: the claim in a few words.
        declared: "before the runs" or "post hoc".
        verdict: "supported", "opposite", "equivalent", "inconclusive", "open" or "not tested".
        sentence: the verdict in one sentence.
        grade: "A", "B" or "C"; null: the sweep was not audited.
        grade_reasons: why the grade is not A, one sentence each.
        n: its seeds, over bases those of the base that has least.
        added_seeds: seeds that were added after there were results.
        look: its place among the declared looks; null: there are none.
        endpoints: its endpoints, in the order of the claim.
        compute: the compute of its arms.
        at_least: number of bases on which it must hold.
        bases: the verdict on each base.
        replication: where the sweep confirms another.
    """

    claim: dict[str, Any]
    title: str
    declared: str
    verdict: str
    sentence: str
    grade: str | None
    grade_reasons: list[str]
    n: SeedCounts
    added_seeds: list[int]
    look: Look | None
    endpoints: list[EndpointVerdict]
    compute: SpentCompute
    at_least: NotRequired[int]
    bases: NotRequired[list["BaseVerdict"]]
    replication: NotRequired[Replication]


class BaseVerdict(ClaimVerdict):
    """The verdict on a claim on one of several bases, and the claim's arms there."""

    base: str
    arms: list[str]


class Noise(TypedDict):
    """The variance of final accuracies over seeds and its two parts; see `noise`.

    Attributes:
        seeds: number of seeds.
        examples: number of test examples.
        mean: mean of the accuracies.
        variance: variance of the accuracies over seeds; the sum of the next two.
        of_examples: the part that the finite test set explains.
        of_seeds: the part that seeds explain.
        error_of_seeds: standard error of the mean, for other seeds on the same test set.
        error_of_examples: standard error of the mean, for the same seeds on another test set.
    """

    seeds: int
    examples: int
    mean: float
    variance: float
    of_examples: float
    of_seeds: float
    error_of_seeds: float
    error_of_examples: float


class NoiseRow(Noise):
    """The noise of an arm or a contrast, by name, and its arms."""

    of: str
    arms: list[str]


class Verdicts(TypedDict):
    """The whole of `verdicts.json`; `confidence` is that of all intervals that name none."""

    schema: int
    confidence: float
    claims: list[ClaimVerdict]
    compute: SpentCompute
    noise: list[NoiseRow]


# -- audit.json --------------------------------------------------------------------------------


class ArrayCounts(TypedDict):
    """Numbers of arrays of two runs: that start identical, that should, and all."""

    identical: int
    same_path_and_shape: int
    arrays: int


class EpochCounts(TypedDict):
    """Numbers of epochs of two runs: with the same draws, and that both recorded."""

    identical: int
    epochs: int


class AuditedPair(TypedDict):
    """What two runs of a seed have in common; `differ_from_the_start` holds paths of arrays."""

    arms: list[str]
    initial: ArrayCounts
    batches: EpochCounts
    augmentation: EpochCounts
    differ_from_the_start: list[str]


class AuditedSeed(TypedDict):
    """One seed: the status of its run in each arm, and its compared pairs."""

    seed: int
    runs: dict[str, str]
    pairs: list[AuditedPair]


class MismatchRow(TypedDict):
    """One thing that differs and should not, see `audit.Mismatch`."""

    kind: str
    arms: list[str]
    seed: int | None
    text: str


class Audit(TypedDict):
    """The whole of `audit.json`, see `audit.audit`."""

    schema: int
    complete: bool
    seeds: list[AuditedSeed]
    mismatches: list[MismatchRow]
    settings: dict[str, dict[str, Any]]
    shared_initial: dict[str, ArrayCounts | None]
    notes: list[str]
