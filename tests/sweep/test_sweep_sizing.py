"""The size of packs: measured, remembered, and not measured where it would not pay."""

import json
from collections import Counter
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest

from xception_jax.runtime.disk_cache import store
from xception_jax.sweep import local, sizing
from xception_jax.sweep.measurement import Trial
from xception_jax.training import Interrupted
from xception_jax.training.setup import make_schedule


@dataclass
class _Machine:
    """Measures sizes by a table of images per second, on a clock of its own.

    To compile takes `share` of what the six runs train in at 100 images/s. In the first two of
    every ten seconds from `burst` on, another process leaves a tenth of the speed.
    """

    rates: dict[int, float]
    share: float = 0.0
    largest: int = 99
    burst: float | None = None

    def __post_init__(self):
        self.asked: list[int] = []
        self.timings: Counter[int] = Counter()
        self.seconds = 0.0

    def __call__(self, config, pipeline, slots, activations):
        size = slots or 1
        self.asked.append(size)
        schedule = make_schedule(config, pipeline.info.examples["train"])
        seconds = 6 * schedule.total * schedule.examples_per_step / 100

        def timed():
            self.timings[size] += 1
            busy = self.burst is not None and (self.seconds - self.burst) % 10 < 2
            self.seconds += 0.3
            return self.rates[size] * (0.1 if busy else 1.0)

        return Trial(self.share * seconds, 1e6, size <= self.largest, timed)


@pytest.fixture
def steps_of_a_run(planned) -> int:
    return next(iter(local.check_runs(planned[:1]).values()))


@pytest.fixture
def choose(planned, tmp_path, monkeypatch):
    """`choose(machine)`: the size of packs of six runs, how it was found, and the line said."""

    def choose(machine, few_steps=0, least=0.0, stop=lambda: False):
        said: list[str] = []
        monkeypatch.setattr(sizing, "prepare_trial", machine)
        monkeypatch.setattr(sizing, "_FEW_STEPS", few_steps)
        monkeypatch.setattr(sizing, "_LEAST_SECONDS_TO_COMPILE", least)
        clock = SimpleNamespace(perf_counter=lambda: machine.seconds)
        monkeypatch.setattr(sizing, "time", clock)
        runs = [planned[n] for n in (0, 1, 2, 4, 5, 6)]
        return *sizing.choose_size(runs, tmp_path, said.append, stop), *said

    return choose


@pytest.mark.parametrize(
    ("machine", "best", "asked"),
    [
        (_Machine({6: 90.0, 1: 50.0, 3: 100.0}), 3, [6, 3, 1]),
        (_Machine({6: 1.0, 1: 3.0, 3: 2.0}), 1, [6, 3, 1]),
        (_Machine({6: 100.0, 3: 200.0}, share=0.04), 3, [6, 3]),  # what is left is too little
        (_Machine({6: 100.0, 3: 101.0}, share=0.1), 6, [6]),  # no other pays for itself
        (_Machine({3: 2.0, 1: 1.0}, largest=5), 3, [6, 3, 1]),
    ],
)
def test_the_fastest_size_is_found_and_remembered(machine, best, asked, choose):
    size, how, _ = choose(machine)
    assert (size, machine.asked) == (best, asked)
    assert how.startswith("measured, ")
    assert "medians of 3 rounds in turns" in how
    size, how, said = choose(machine)
    assert size == best
    assert machine.asked == asked
    assert how.startswith("remembered from 20")
    assert "medians of 3 rounds in turns" in said


def test_a_compiled_program_in_the_cache_does_not_tell_how_long_another_takes(choose):
    machine = _Machine({6: 90.0, 3: 100.0, 1: 50.0}, share=0.0)
    assert choose(machine, least=10.0)[0] == 6  # the runs are of seconds, and their share is less
    assert machine.asked == [6]


@pytest.mark.parametrize("largest", [6, 3])
def test_few_steps_of_all_packs_together_are_not_timed(largest, choose, steps_of_a_run):
    few = steps_of_a_run * 6 // largest
    machine = _Machine({6: 90.0, 3: 80.0, 1: 100.0}, largest=largest)
    assert choose(machine, few_steps=few)[:2] == (largest, "not timed")
    assert 1 not in machine.asked
    assert not machine.timings
    assert choose(machine, few_steps=few - 1)[0] == 1


@pytest.mark.parametrize("burst", np.arange(0, 10, 0.5))
def test_the_choice_is_right_though_another_process_computes_now_and_then(
    burst, choose, monkeypatch
):
    monkeypatch.setattr(sizing, "_SHARE_TO_TIME", 1.0)  # the runs are of seconds here
    machine = _Machine({6: 100.0, 3: 85.0, 1: 40.0}, burst=burst)
    assert choose(machine)[0] == 6
    assert min(machine.timings.values()) >= 1 + 3  # the first one only says what is worth it


def test_a_measurement_under_load_is_not_remembered(choose):
    busy = _Machine({6: 100.0, 3: 85.0, 1: 40.0}, burst=1.0)
    choose(busy)
    quiet = _Machine({6: 100.0, 3: 85.0, 1: 40.0})
    assert choose(quiet)[1].startswith("measured")


@pytest.mark.parametrize("after", [0, 1, 3, 4])
def test_a_request_to_stop_ends_the_measurement(after, choose, tmp_path):
    """A request to stop ends the measurement before the next compilation or round.

    It comes before the first or second compilation, or the first or second round. No choice is
    stored.
    """
    machine = _Machine({6: 90.0, 3: 100.0, 1: 50.0})
    asked = iter([False] * after + [True])
    with pytest.raises(Interrupted, match="measured"):
        choose(machine, stop=lambda: next(asked))
    assert machine.asked == [6, 3, 1][:after]
    assert sum(machine.timings.values()) == min(after, 3) + 3 * max(0, after - 3)
    assert not list(tmp_path.glob("*.json"))


@pytest.mark.parametrize("damage", [{}, {"rounds": {"6": [1.0]}}, {"6": 90.0, "3": 1.0}])
def test_a_remembered_choice_rests_on_rounds(damage, choose, tmp_path):
    machine = _Machine({6: 90.0, 3: 100.0, 1: 50.0})
    choose(machine)
    (stored,) = tmp_path.glob("*.json")
    content = json.loads(stored.read_text())
    assert {size: len(rounds) for size, rounds in content["rounds"].items()} == {
        "6": 3, "3": 3, "1": 3,
    }  # fmt: skip
    store(stored, damage)
    assert choose(machine)[1].startswith("measured")


@pytest.mark.parametrize(
    ("cores", "runs", "sizes"),
    [
        (1, 24, [12, 6, 1]),  # as on an accelerator: as many as may be
        (2, 24, [4, 2, 1]),
        (2, 6, [6, 4, 1]),  # two packs of four would leave two slots over
        (2, 9, [10, 6, 1]),
        (2, 3, [4, 1]),
        (2, 2, [2, 1]),
        (8, 24, [24, 16, 1]),
        (8, 5, [5, 2, 1]),
    ],
)
def test_few_slots_are_left_over_and_cores_have_equally_many(cores, runs, sizes, monkeypatch):
    monkeypatch.setattr(sizing, "cpu_devices_of_packs", lambda: cores)
    assert sizing._candidates(runs) == sizes
