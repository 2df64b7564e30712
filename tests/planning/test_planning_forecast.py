"""The search for the largest batch, and steps that do not fit."""

from dataclasses import replace
from typing import Any

import jax
import pytest

from tests.shrunk import CONFIG, SHRUNK
from xception_jax.commands.forecast import faults_of
from xception_jax.config import load_config, resolve
from xception_jax.planning import forecast as forecasts
from xception_jax.planning.ahead import Figures, LoweredStep
from xception_jax.planning.forecast import Forecast, search_largest, with_roofline
from xception_jax.planning.topology import Topology
from xception_jax.training.setup import require_trainable


def test_a_step_that_does_not_fit_takes_no_time_and_is_a_fault():
    chips = Topology("v5e:4x4", (None,) * 16, 15.75 * 2**30)
    large = with_roofline(Figures(17.6e9, 100.0, fits=False), chips)
    small = with_roofline(Figures(1e9, 100.0, flops=197e9, hbm_bytes=8.19e9), chips)
    assert large.best is None
    assert small.seconds == pytest.approx(0.01)
    forecast = Forecast("none", 2048, large, small, 10, 1, None, 2048)
    assert (forecast.run_seconds, forecast.chip_hours(chips)) == (None, None)
    assert faults_of(forecast) == ["does not fit"]
    gathered = replace(small, figures=replace(small.figures, gathered=("all-gather of …",)))
    assert faults_of(replace(forecast, train=gathered)) == ["all-gather of …"]


@pytest.mark.parametrize(
    ("fixed", "per_image", "start", "unit", "available"),
    [
        *((0.5, 6 / 1024, 2048, 16, 15.75), (1, 1, 64, 8, 1000), (1, 1, 2048, 16, 100)),
        (1, 1, 68, 8, 1000),  # the size that is known is no multiple of the unit
    ],
)
def test_the_largest_batch_is_found_in_a_few_tries(fixed, per_image, start, unit, available):
    tried = []

    def needed(size):
        tried.append(size)
        return fixed + per_image * size

    known = {start: fixed + per_image * start}
    largest, too_large = search_largest(needed, known, unit=unit, available=available)
    assert largest is not None
    assert too_large is not None
    assert fixed + per_image * largest <= available < fixed + per_image * too_large
    assert too_large <= largest * 1.25
    assert len(tried) <= 3
    assert all(size % unit == 0 for size in tried)


def test_where_the_smallest_batch_is_too_large_none_fits():
    assert search_largest(lambda size: size + 1, {16: 17}, unit=16, available=10) == (None, 16)
    assert search_largest(lambda size: size + 1, {8: 17}, unit=16, available=10) == (None, 8)


@pytest.mark.parametrize(
    ("start", "unit", "tried"),
    [
        (2048, 16, [2**20]),
        (2048, 48, [2**20 // 48 * 48]),
        (2**20, 16, []),
        (2**20 - 8, 48, []),  # the next multiple is larger, and the one before smaller
        (2**14, 2**22, []),
    ],
)
def test_no_batch_is_tried_that_train_refuses(start: int, unit: int, tried: list[int]) -> None:
    asked = []

    def needed(size: int) -> float:
        resolve({"train.batch_size": size})
        asked.append(size)
        return 1.0

    largest, too_large = search_largest(needed, {start: 1.0}, unit=unit, available=1e12)
    assert (asked, largest, too_large) == (tried, max(tried, default=start), None)


def test_every_batch_that_is_tried_has_whole_groups_of_rows(monkeypatch):
    """Groups of batch normalization divide the rows of a device: the run is refused otherwise."""
    program: Any = None  # nothing is lowered
    tried = []

    def lowered(config, info, layout):
        require_trainable(config, info, layout.mesh)
        tried.append(config.train.batch_size)
        return LoweredStep(program, config.train.batch_size, frozenset())

    def figures(step, topology, cache):
        return Figures(1e6 * step.rows, 1.0, fits=step.rows <= 1000)

    for name, fake in (("lower_training", lowered), ("figures_of", figures)):
        monkeypatch.setattr(forecasts, name, fake)
    evaluation = LoweredStep(program, 32, frozenset())
    monkeypatch.setattr(forecasts, "lower_evaluation", lambda *_: evaluation)
    words = ["data.train_examples=null", "train.batch_size=96", "train.accumulation_steps=2"]
    config = resolve(load_config(CONFIG), overrides=[*SHRUNK, *words, "model.norm_group_size=24"])
    chips = Topology("v5e:1x1", tuple(jax.devices()[:1]), 1e9)
    made = forecasts.forecast("a", config, chips, search=True, cache=None, say=lambda _: None)
    assert made.largest_batch is not None
    assert made.largest_batch >= 800
    assert len(tried) > 1
    assert all(size % 48 == 0 for size in tried)
