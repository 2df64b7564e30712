"""Every command names the file or goes on, whatever stands in a field of a record."""

import json

import pytest

from tests.fuzzing import ANYTHING, paths, put
from tests.synthetic_sweep import edit_run
from xception_jax.checksums import with_checksum
from xception_jax.records import RUN, SWEEP

pytestmark = pytest.mark.usefixtures("undrawn_figures")
COMMANDS = ("status", "report", "audit")


def left_out(content, path):
    *above, last = path
    for key in above:
        content = content[key]
    del content[last]


@pytest.mark.parametrize("name", [RUN, SWEEP])
@pytest.mark.parametrize("count", [20, pytest.param(500, marks=pytest.mark.slow)])
def test_any_field_may_hold_anything(finished_sweep, call, rng, name, count):
    path = finished_sweep.directory / SWEEP
    if name == RUN:
        path = finished_sweep.run_directory("relu", 1) / RUN
    original = path.read_text()
    every = list(paths(json.loads(original)))
    for number in range(count):
        content, place = json.loads(original), every[rng.integers(len(every))]
        value = ANYTHING[rng.integers(len(ANYTHING))]
        if rng.random() < 0.1:
            left_out(content, place)
        else:
            put(content, place, value)
        # As a run would have written it: of a record that was changed later, nothing is used.
        path.write_text(json.dumps(with_checksum(content) if name == RUN else content))
        for command in COMMANDS if number % 10 == 0 else COMMANDS[:1]:
            code, _, err = call(command, finished_sweep.directory)
            assert code in (0, 1, 2), (place, value)
            assert code != 2 or len(err.splitlines()) == 1, err


def test_numbers_that_are_none_are_left_out_of_the_table(finished_sweep, call):
    wrong = {"status": "failed", "result": {"top1": "fast"}, "images_per_second": "fast"}
    edit_run(finished_sweep.run_directory("relu", 1), lambda record: record.update(wrong))
    code, out, err = call("status", finished_sweep.directory)
    assert (code, err) == (0, "")
    assert "relu seed 1 failed" in " ".join(out.split())
    assert "fast" not in out
