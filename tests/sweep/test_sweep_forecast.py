"""What an arm takes on other chips, as their compiler says.

Eight virtual CPU devices stand for the chips, and XLA:CPU for the compiler of a TPU: what is
checked is how its words are put together.
"""

import json

import pytest
from shrunk import CONFIG, SHRUNK

from xception_jax.sweep.forecast import search_largest

FORECAST = """
import json, sys
from pathlib import Path
from types import SimpleNamespace
import jax
from xception_jax.commands import forecast as shown
from xception_jax.config import load_config, resolve
from xception_jax.sweep import forecast
from xception_jax.training import ahead, topology
from xception_jax.training.topology import Topology

config, cache, *words = sys.argv[1:]
forecast.version = lambda name: "1"  # libtpu need not be installed
chips = Topology("v5e:2x4", tuple(jax.devices()), 2e9)
resolved = resolve(load_config(config), overrides=words)
compiled, real = [], ahead.compile_figures

def count(step, chips):
    compiled.append(step.rows)
    return real(step, chips)

def found(arm, config, chips=chips, search=False):
    return forecast.forecast(arm, config, chips, search=search, cache=Path(cache), say=str)

forecast.compile_figures = count
once = found("none", resolved)
assert found("none", resolved) == once and len(compiled) == 2, compiled
narrow = Topology("v5e:2x4", tuple(jax.devices()), once.train.figures.memory_bytes - 1)
for path in Path(cache).glob("*.json"):  # they say that it fits
    path.unlink()
small = found("none", resolved, narrow, search=True)
topology.open_topology = lambda name: chips
code = shown.show_forecast([("none", resolved)], 3, "v5e:2x4", search=False, as_json=True)
shown.show_forecast([("none", resolved)], 3, "v5e:2x4", search=False, as_json=False)
print(json.dumps([code, small.train.best is None, small.run_seconds, small.largest_batch,
                  small.too_large_batch]))
"""


def test_an_arm_is_compiled_once_and_its_figures_add_up(on_eight_devices, tmp_path):
    words = [*SHRUNK, "train.batch_size=64"]
    said = on_eight_devices(FORECAST, str(CONFIG), str(tmp_path), *words)
    shown, end = json.JSONDecoder().raw_decode(said)
    (arm,) = shown["arms"]
    train = arm["train"]
    assert (shown["chips"], shown["seeds"], arm["steps"], arm["faults"]) == (8, 3, 4, [])
    (traffic,) = train["figures"]["traffic"]
    assert traffic["kind"] == "all-reduce"
    assert traffic["sent_bytes"] == pytest.approx(traffic["bytes"] * 2 * 7 / 8)
    assert train["best"]["memory"] == train["figures"]["accessed_bytes"] / 819e9
    step, evaluation = (max(arm[kind]["best"].values()) for kind in ("train", "evaluation"))
    # digits has 1,797 images, and one batch of an evaluation holds all of a split.
    assert arm["run_seconds"] == pytest.approx(4 * step + 4 * evaluation)
    assert arm["chip_hours"] == pytest.approx(arm["run_seconds"] * 8 / 3600)
    table, last = said[end:].strip().rsplit("\n", 1)
    assert "all-reduce of" in table
    assert "3 runs, one after another on 8 chips: at least" in table
    code, no_time, seconds, largest, too_large = json.loads(last)
    assert (code, no_time, seconds) == (0, True, None)
    assert largest < too_large <= 64


@pytest.mark.parametrize(
    ("fixed", "each", "start", "unit", "available"),
    [(0.5, 6 / 1024, 2048, 16, 15.75), (1, 1, 64, 8, 1000), (1, 1, 2048, 16, 100)],
)
def test_the_largest_batch_is_found_in_a_few_tries(fixed, each, start, unit, available):
    tried = []

    def needed(size):
        tried.append(size)
        return fixed + each * size

    known = {start: fixed + each * start}
    largest, too_large = search_largest(needed, known, unit=unit, available=available)
    assert fixed + each * largest <= available < fixed + each * too_large
    assert too_large <= largest * 1.25
    assert len(tried) <= 3
    assert all(size % unit == 0 for size in tried)


def test_where_the_smallest_batch_is_too_large_none_fits():
    assert search_largest(lambda size: size + 1, {16: 17}, unit=16, available=10) == (None, 16)
