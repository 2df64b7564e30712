"""The disk is full, or an interrupt comes, exactly when a record of a run is written."""

import errno
import json

import pytest

from tests.same_run import assert_same_run
from tests.shrunk import CONFIG, SHRUNK
from xception_jax.records import CONFIG as CONFIG_RECORD
from xception_jax.records import RUN
from xception_jax.runtime import run_directory


@pytest.mark.parametrize(
    ("name", "failing"),
    [*(pytest.param(name, 1, marks=pytest.mark.slow) for name in (CONFIG_RECORD, RUN)), (RUN, 2)],
)
def test_no_space_for_the_record(name, failing, call, tmp_path, monkeypatch):
    """The second time of `run.json` is after the final evaluation, when all else is on the disk."""
    write, times = run_directory.write_whole, iter(range(1, 100))

    def write_while_there_is_space(path, content):
        if path.name == name and next(times) >= failing:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        write(path, content)

    words = ("train", CONFIG, "--workdir", tmp_path / "run", *SHRUNK)
    monkeypatch.setattr(run_directory, "write_whole", write_while_there_is_space)
    code, out, err = call(*words)
    monkeypatch.undo()
    assert (code, "done" in out) == (1, False), out
    (line,) = err.splitlines()
    assert "No space left on device" in line
    record = tmp_path / "run" / RUN
    assert not record.exists() or json.loads(record.read_text())["status"] == "running"
    assert call(*words)[0] == 0
    assert call("train", CONFIG, "--workdir", tmp_path / "undisturbed", *SHRUNK)[0] == 0
    assert_same_run(tmp_path / "undisturbed", tmp_path / "run")


def test_an_interrupt_leaves_no_part_of_a_file(tmp_path, monkeypatch):
    def interrupt(path, data):
        path.write_bytes(data[:3])
        raise KeyboardInterrupt

    monkeypatch.setattr(run_directory, "write_regular", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_directory.write_whole(tmp_path / "x.weights.h5", b"content")
    assert list(tmp_path.iterdir()) == []
