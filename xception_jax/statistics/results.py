"""A sweep and its runs as plain data: what the statistics and the report work on."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import polars as pl

from xception_jax.json_values import as_mapping, as_text
from xception_jax.records import METRICS
from xception_jax.statistics.factorial import arm_name, combinations
from xception_jax.statistics.predictions import Predictions

UNREADABLE = "unreadable"
"""Status of a run whose `run.json` cannot be understood, or whose files were changed afterwards."""
SETTLED = ("done", "diverged", "failed", UNREADABLE)
"""Statuses that do not change without someone's doing."""
SHOWN_STATUSES = ("done", "running", "planned", "diverged", "failed", UNREADABLE)
"""Every status a run can have in a report, in the order in which they are counted out."""


@dataclass(frozen=True)
class Spent:
    """The device-seconds of a run, see `statistics.compute`.

    Attributes:
        kept: device-seconds that its result, or its state so far, needed.
        lost: device-seconds of steps that it had to train again.
        is_whole: whether all that it spent is recorded.
        is_estimate: whether it is the time from start to end, and not measured by the run.
    """

    kept: float
    lost: float
    is_whole: bool = True
    is_estimate: bool = False


@dataclass(frozen=True)
class Run:
    """One run, as read from its directory; a field is None where nothing there says it.

    Attributes:
        metric: the headline metric of its task, one of `records.METRICS`.
        pack: number of runs that were trained in one program with it, itself among them.
        pack_runs: the names of these runs.
        settings: `config.json` with dotted names.
        determining: the settings, apart from the seed, that can change the result.
        pairing: `pairing.json`: hashes of its initial values, batches and augmentation draws.
        data: digests of its data, see `data.fingerprint`.
        code: digests of the code it came from, see `runtime.source_code`.
        options: the options of JAX and of compilers that it ran with, see `runtime.numerics`.
        initial_weights_sha256: digest of the weights that it started from; None: random values, or
            not recorded.
        claims_sha256: digest of the claims that its sweep had declared when it began.
        result_split: the split of the `test_*` values: "valid" where a data set has no test split,
            and of a tuning run.
        spent: the compute that it took; None where it is not recorded.
        skipped_images: number of images that could not be decoded and were left out.
    """

    arm: str
    seed: int | None
    id: str
    directory: str
    status: str
    reason: str | None = None
    dataset: str | None = None
    model: str | None = None
    steps: int | None = None
    epochs: float | None = None
    batch_size: int | None = None
    train_examples: int | None = None
    valid_examples: int | None = None
    test_examples: int | None = None
    classes: int | None = None
    parameters: int | None = None
    images_per_second: float | None = None
    compile_seconds: float | None = None
    test_loss: float | None = None
    test_top1: float | None = None
    test_top5: float | None = None
    test_map100: float | None = None
    result_split: str | None = None
    metric: str = METRICS[0]
    macs: int | None = None
    pack: int | None = None
    pack_runs: tuple[str, ...] = ()
    started: str | None = None
    ended: str | None = None
    commit: str | None = None
    devices: tuple[str, ...] = ()
    depthwise_implementation: str | None = None
    batch_norm_implementation: str | None = None
    deterministic: bool | None = None
    versions: tuple[tuple[str, str], ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)
    determining: Mapping[str, Any] = field(default_factory=dict, repr=False)
    pairing: Mapping[str, Any] | None = field(default=None, repr=False)
    data: Mapping[str, Any] = field(default_factory=dict, repr=False)
    code: Mapping[str, Any] = field(default_factory=dict, repr=False)
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    initial_weights_sha256: str | None = None
    claims_sha256: str | None = None
    spent: Spent | None = None
    skipped_images: int | None = None

    @property
    def final_metric(self) -> float | None:
        """The run's headline metric in its final evaluation, on `result_split`."""
        return self.test_map100 if self.metric == "map100" else self.test_top1


@dataclass(frozen=True)
class OtherRun:
    """A run in the directory of a sweep on which no verdict rests.

    Attributes:
        kind: "tuning", or "superseded" where `sweep.json` no longer lists it.
        record: its `run.json`; empty where it cannot be understood.
    """

    kind: str
    record: Mapping[str, Any]


@dataclass(frozen=True)
class Base:
    """One of the several bases of an experiment.

    Attributes:
        name: name of the base.
        arms: by the name that claims use for an arm, the arm that is trained on this base.
    """

    name: str
    arms: Mapping[str, str]


@dataclass(frozen=True)
class Sweep:
    """A sweep, or a single run seen as a sweep of one.

    Attributes:
        arms: every arm's overrides, in the order of the experiment file.
        record: the whole `sweep.json`, as it was read; empty for a single run.
        curves: all log rows, with the columns of `report.logs.CURVE_SCHEMA`; `run` is the index
            into `runs`; what was not finite is null.
        notes: what was found broken and left out, for people.
        read_predictions: reads the predictions of a run; None where it has none to read.
        tuning: the whole `tuning.json`, as it was read; empty where it cannot be, None without it.
        tuning_runs: the runs that it lists.
        others: the runs beside `runs`, those of the tuning among them.
        base: the base whose runs alone are here, see `bases.on_base`; None: all of them are.
        whole: the sweep with all bases, of which this is a part; None: this is it.
    """

    directory: Path
    name: str
    hypothesis: str
    reference: str
    arms: Mapping[str, Mapping[str, Any]]
    runs: tuple[Run, ...]
    curves: pl.DataFrame
    command: str | None
    created: str | None
    commit: str | None
    versions: tuple[tuple[str, str], ...]
    is_single_run: bool
    notes: tuple[str, ...]
    read_predictions: Callable[[Run], Predictions | None] = field(repr=False)
    record: Mapping[str, Any] = field(default_factory=dict, repr=False)
    tuning: Mapping[str, Any] | None = field(default=None, repr=False)
    tuning_runs: tuple[Run, ...] = ()
    others: tuple[OtherRun, ...] = ()
    base: Base | None = None
    whole: "Sweep | None" = field(default=None, repr=False)

    @cached_property
    def bases(self) -> tuple[Base, ...]:
        """The bases, where there are several; empty where there is one, and its base in a part."""
        if self.base is not None:
            return (self.base,)
        recorded = as_mapping(as_mapping(self.record.get("experiment")).get("arms_on"))
        bases = tuple(
            Base(as_text(name), {as_text(c): as_text(arm) for c, arm in as_mapping(arms).items()})
            for name, arms in recorded.items()
        )
        return bases if len(bases) > 1 else ()

    @cached_property
    def levels_of_arms(self) -> Mapping[str, Mapping[str, str]]:
        """The level of every factor, by arm; empty where there are no factors, or not all arms."""
        recorded = as_mapping(as_mapping(self.record.get("experiment")).get("factors"))
        factors = {as_text(name): tuple(as_mapping(levels)) for name, levels in recorded.items()}
        if not factors or prod(map(len, factors.values())) not in range(2, len(self.arms) + 1):
            return {}
        on_base = {} if self.base is None else self.base.arms
        arms = {arm_name(levels): levels for levels in combinations(factors)}
        of_arms = {on_base.get(name, name): levels for name, levels in arms.items()}
        return of_arms if of_arms.keys() <= self.arms.keys() else {}

    @property
    def drawn_arms(self) -> tuple[str, ...]:
        """The arms of the whole sweep, whose order gives each of them its looks."""
        return tuple((self.whole or self).arms)

    @cached_property
    def metric(self) -> str:
        """The headline metric of most runs that have begun."""
        counts = Counter(run.metric for run in self.runs if run.status != "planned")
        return max(METRICS, key=lambda metric: counts[metric])

    @cached_property
    def seeds(self) -> Mapping[str, Mapping[int, int]]:
        """The index of the run of every seed, for each arm that has runs."""
        indices: dict[str, dict[int, int]] = {}
        for index, run in enumerate(self.runs):
            if run.seed is not None:
                indices.setdefault(run.arm, {})[run.seed] = index
        return indices

    @property
    def has_ended(self) -> bool:
        """Whether every run has a status that does not change by itself; not while it is tuned."""
        is_tuning = self.tuning is not None and self.tuning.get("complete") is False
        return not is_tuning and all(run.status in SETTLED for run in self.runs)
