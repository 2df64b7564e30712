"""Optimizer state and averages in parts, one on each device: the same run, with less to keep."""

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from tests.interrupting import stop_after
from tests.multi_device.small_model import RMSPROP, distance, train
from tests.same_run import assert_nearly_same_run
from tests.shrunk import CONFIG, SHRUNK
from xception_jax import training
from xception_jax.config import load_config, resolve
from xception_jax.training import Interrupted, RunNames


@pytest.mark.parametrize(
    ("devices", "slots"),
    [*(pytest.param(n, None, marks=pytest.mark.slow) for n in (2, 4)), (8, 2)],
)
def test_it_is_the_same_run_with_less_on_each_device(devices: int, slots: int | None) -> None:
    """Element by element the same float32 operations; what is fused may be rounded otherwise."""
    whole = train(devices, slots=slots, optimizer=RMSPROP)
    parts = train(devices, slots=slots, optimizer=RMSPROP, shard=True)
    assert distance(whole.state, parts.state) < 1e-6
    of_run, per_run = 1 / (slots or 1), devices // (slots or 1)
    assert {share for _, share in whole.shares} == {of_run}
    for shape, share in parts.shares:
        splits = any(size and size % per_run == 0 for size in shape)
        assert share == (of_run / per_run if splits else of_run), shape
    assert min(share for _, share in parts.shares) == of_run / per_run
    unclipped = replace(RMSPROP, config=replace(RMSPROP.config, clip_norm=None))
    other = train(devices, slots=slots, optimizer=unclipped)
    assert distance(whole.state, other.state) > 1e-3  # a thousand times what rounding may do


def run(directory: Path, shard: str, steps: int = 10**9) -> None:
    """Trains the shrunk config from where it stands, for so many steps."""
    with suppress(Interrupted):
        training.train(
            resolve(load_config(CONFIG), overrides=[*SHRUNK, f"train.shard_optimizer={shard}"]),
            directory,
            names=RunNames("moved"),
            stop=stop_after(steps),
        )


@pytest.mark.slow
def test_a_run_goes_on_with_and_without_parts(tmp_path: Path) -> None:
    """Its checkpoints are of whole arrays; rounding as above, over nine steps."""
    whole, moved = tmp_path / "whole", tmp_path / "moved"
    run(whole, "false")
    run(moved, "true", steps=4)
    run(moved, "false", steps=3)
    run(moved, "true")
    record = json.loads((moved / "run.json").read_text())
    assert len(record["resumed_from"]) == 2
    assert_nearly_same_run(whole, moved, 1e-6)
