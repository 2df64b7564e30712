"""What an arm takes on other chips, as their compiler says.

Eight virtual CPU devices stand for the chips, and XLA:CPU for the compiler of a TPU: what is
checked is how its words are put together.
"""

import json
from dataclasses import replace

import pytest

from tests.shrunk import CONFIG, SHRUNK
from xception_jax.commands.forecast import faults_of
from xception_jax.planning.ahead import Figures
from xception_jax.planning.forecast import Forecast, best_step, search_largest
from xception_jax.planning.topology import Topology

FORECAST = """
import json, sys
from pathlib import Path
from types import SimpleNamespace
import jax
from xception_jax.commands import forecast as shown
from xception_jax.commands.process import prepare_jax
from xception_jax.config import load_config, resolve
from xception_jax.sweep import forecast
from xception_jax.training import ahead, topology
from xception_jax.planning.topology import Topology

config, cache, *words = sys.argv[1:]
prepare_jax()
forecast.version = lambda name: "1"  # libtpu need not be installed
chips = Topology("v5e:2x4", tuple(jax.devices()), 2e9)
resolved = resolve(load_config(config), overrides=words)
compiled, real = [], ahead.compile_figures

def count(step, chips):
    compiled.append(step.rows)
    return real(step, chips)

def found():
    return forecast.forecast("none", resolved, chips, search=False, cache=Path(cache), say=str)

forecast.compile_figures = count
once = found()
assert found() == once and len(compiled) == 2, compiled
topology.open_topology = lambda name: chips
shown.cache_directory = lambda: Path(cache).parent
code = shown.show_forecast([("none", resolved)], 3, "v5e:2x4", search=False, as_json=True)
shown.show_forecast([("none", resolved)], 3, "v5e:2x4", search=False, as_json=False)
assert len(compiled) == 2, compiled
print(code)
"""


def test_an_arm_is_compiled_once_and_its_figures_add_up(on_eight_devices, tmp_path):
    words = [*SHRUNK, "train.batch_size=64"]
    said = on_eight_devices(FORECAST, str(CONFIG), str(tmp_path / "topologies"), *words)
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
    assert last == "0"


def test_a_step_that_does_not_fit_takes_no_time_and_is_a_fault():
    chips = Topology("v5e:4x4", (None,) * 16, 15.75 * 2**30)
    large = best_step(Figures(17.6e9, 100.0, fits=False), chips)
    small = best_step(Figures(1e9, 100.0, flops=197e9, accessed_bytes=8.19e9), chips)
    assert large.best is None
    assert small.seconds == pytest.approx(0.01)
    found = Forecast("none", 2048, large, small, 10, 1, None, 2048)
    assert (found.run_seconds, found.chip_hours(chips)) == (None, None)
    assert faults_of(found) == ["does not fit"]
    gathered = replace(small, figures=replace(small.figures, gathered=("all-gather of …",)))
    assert faults_of(replace(found, train=gathered)) == ["all-gather of …"]


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
