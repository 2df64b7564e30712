"""Optimizer state and averages in parts, one on each device: the same run, with less to keep."""

import json

import pytest
from same_run import assert_nearly_same_run
from small_program import PROGRAM

from xception_jax.training.sharding import shard_axis

# RMSprop with momentum, weight decay, and a bound on the norm that is always at work.
COMPARE = """
found = []
for devices, slots in ((2, None), (4, None), (8, 2)):
    whole, all_of_it = train(devices, None, 1, slots, RMSPROP)
    parts, share = train(devices, None, 1, slots, RMSPROP, shard=True)
    found.append((devices, slots, distance(whole, parts), all_of_it, share))
    assert distance(whole, train(devices, None, 1, slots, replace(RMSPROP, clip_norm=None))[0]) > 0
print(json.dumps(found))
"""


def test_it_is_the_same_run_with_less_on_each_device(on_eight_devices):
    """Element by element the same float32 operations; what is fused may be rounded otherwise."""
    found = json.loads(on_eight_devices(PROGRAM + COMPARE).splitlines()[-1])
    for devices, slots, distance, all_of_it, share in found:
        data_devices = devices // (slots or 1)
        assert distance < 1e-6, found
        assert all_of_it == 1 / (slots or 1)
        assert share == 1 / (slots or 1) / data_devices


@pytest.mark.parametrize(
    ("shape", "devices", "axis"),
    [((3, 3, 64, 128), 4, 3), ((8, 6), 4, 0), ((6, 10), 4, None), ((), 2, None), ((0, 4), 4, 1)],
)
def test_the_longest_axis_that_divides_is_dealt_out(shape, devices, axis):
    assert shard_axis(shape, devices) == axis


RUN = """
import sys
from pathlib import Path
from xception_jax.config import load_config, resolve
from xception_jax.training import Interrupted, Labels, train

home, config, *words = sys.argv[1:]

def run(name, shard, steps=10**9):
    asked = iter(range(steps))
    overrides = [*words, f"train.shard_optimizer={shard}"]
    try:
        train(
            resolve(load_config(config), overrides=overrides),
            Path(home, name),
            labels=Labels("moved"),
            stop=lambda: next(asked, None) is None,
        )
    except Interrupted:
        pass

run("whole", "false")
run("moved", "true", steps=4)
run("moved", "false", steps=3)
run("moved", "true")
"""


@pytest.mark.slow
def test_a_run_goes_on_with_and_without_parts(on_eight_devices, shrunk_words, tmp_path):
    """Its checkpoints are of whole arrays; rounding as above, over nine steps."""
    on_eight_devices(RUN, str(tmp_path), *shrunk_words)
    record = json.loads((tmp_path / "moved" / "run.json").read_text())
    assert len(record["resumed_from"]) == 2
    assert_nearly_same_run(tmp_path / "whole", tmp_path / "moved", 1e-6)
