"""The cost of tuning beside the runs of the verdict, before anything is trained."""

import itertools
import math
from dataclasses import dataclass, replace

from xception_jax.config import Config, ModelConfig, resolve
from xception_jax.config.schema import DataConfig, TrainConfig
from xception_jax.planning.budget import Cost, arm_cost
from xception_jax.sweep.experiment import Experiment
from xception_jax.sweep.tune import MOST_EXTENSIONS

_PASSES = 3
"""Forward passes that a training step costs: the backward pass does about twice the work."""


@dataclass(frozen=True)
class Load:
    """Runs, and what they take.

    Attributes:
        runs: number of runs.
        steps: optimizer steps of all of them.
        macs: multiply-adds of all these steps, forward and backward; evaluation is not counted.
    """

    runs: int
    steps: int
    macs: float

    def times(self, factor: float) -> "Load":
        """The load of `factor` times as many runs."""
        return Load(round(self.runs * factor), round(self.steps * factor), self.macs * factor)


@dataclass(frozen=True)
class TuningCost:
    """What tuning takes.

    Attributes:
        declared: its runs with the declared values.
        most: the same if the grid is extended at every edge, as often as it may be; the further
            values count as the declared ones do on average.
        verdict: the runs that follow.
    """

    declared: Load
    most: Load
    verdict: Load


def tuning_cost(experiment: Experiment, base: Config) -> TuningCost | None:
    """Counts what tuning and the verdict's runs take; None of an experiment that does not tune.

    Raises:
        InputError: an arm cannot be built, or not with one of the values.
    """
    tune = experiment.tune
    if tune is None:
        return None
    # Counting one takes a second.
    costs: dict[tuple[ModelConfig, DataConfig, TrainConfig], Cost] = {}

    def load(config: Config, runs: int) -> Load:
        key = replace(config.model, dropout=0.0), config.data, config.train
        cost = costs[key] = costs.get(key) or arm_cost(config)
        images = cost.steps * config.train.batch_size
        return Load(runs, runs * cost.steps, float(runs * images * cost.macs * _PASSES))

    points = [dict(zip(tune.settings, p, strict=True)) for p in itertools.product(*tune.values)]
    tried, judged = [], []
    for settings in experiment.arms.values():
        for point in points:
            tried.append(load(resolve(base, settings, point, tune.epoch_settings), tune.seeds))
        judged.append(load(resolve(base, settings, points[0]), experiment.seeds))
    declared = _sum(tried)
    return TuningCost(declared, declared.times(most_values(tune.values)), _sum(judged))


def most_values(values: tuple[tuple[float, ...], ...]) -> float:
    """The most points that tuning can try, both edges extended every time, per declared point."""
    most = math.prod(len(of_setting) + 2 * MOST_EXTENSIONS for of_setting in values)
    return most / math.prod(map(len, values))


def _sum(loads: list[Load]) -> Load:
    return Load(
        sum(load.runs for load in loads),
        sum(load.steps for load in loads),
        math.fsum(load.macs for load in loads),
    )
