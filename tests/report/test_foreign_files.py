"""A sweep handed over by somebody who means harm: pipes, devices, links and endless files in it.

Where a reader could wait for ever, or read without end, the command runs in a process of its own,
with a limit of time and memory.
"""

import errno
import io
import os
import re
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.closed_folders import unreadable
from tests.shrunk import CONFIG as MINI
from xception_jax.config import load_config, resolve
from xception_jax.errors import InputError
from xception_jax.lock import locked
from xception_jax.records import CONFIG, LOCK, METRICS_LOG, PAIRING, PREDICTIONS, RUN, SWEEP
from xception_jax.regular_files import inside, read_regular, write_regular
from xception_jax.report.reading import read_directory
from xception_jax.report.writing import _data_files, write_report
from xception_jax.runtime.run_directory import claim
from xception_jax.statistics.predictions import read_predictions
from xception_jax.sweep.statuses import is_archived, read_statuses

MEMORY = 6 << 30  # bytes of address space; a report needs less than two


def run(*words: object) -> subprocess.CompletedProcess[str]:
    """Runs a command that may neither wait for ever nor take all memory."""
    limits = f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({MEMORY}, {MEMORY}))"
    command = f"{limits}; from xception_jax.cli import main; main()"
    arguments = [sys.executable, "-c", command, *map(str, words)]
    return subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)


def pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def endless(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("plant", [pipe, pytest.param(endless, marks=pytest.mark.slow)])
def test_pipes_and_devices_in_runs_are_read_by_no_command(finished_sweep, plant):
    runs = [(arm, seed) for arm in finished_sweep.arms for seed in finished_sweep.seeds]
    names = (RUN, CONFIG, METRICS_LOG, PAIRING, PREDICTIONS, LOCK)
    for (arm, seed), name in zip(runs, names, strict=False):
        plant(finished_sweep.run_directory(arm, seed) / name)
    for command in ("status", "report"):
        done = run(command, finished_sweep.directory)
        assert done.returncode in (0, 1), done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("plant", [pipe, pytest.param(endless, marks=pytest.mark.slow)])
def test_a_pipe_or_device_for_the_sweep_is_refused_in_a_line(finished_sweep, plant):
    plant(finished_sweep.directory / SWEEP)
    done = run("report", finished_sweep.directory)
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "sweep.json" in done.stderr


def test_predictions_that_unpack_to_more_than_the_limit_are_taken_for_damaged(
    finished_sweep, monkeypatch
):
    monkeypatch.setattr("xception_jax.statistics.predictions.MAX_BYTES", 1 << 20)
    path = finished_sweep.run_directory("relu", 1) / PREDICTIONS
    for size, is_read in ((1 << 19, True), (1 << 20, False)):  # and a header
        np.savez_compressed(path, correct=np.zeros(size, bool))
        assert (read_predictions(path.parent) is not None) == is_read


@pytest.mark.parametrize("length", [2**40, 2**50, 2**63 - 1])
def test_predictions_that_claim_more_than_there_is_are_taken_for_damaged(finished_sweep, length):
    path = finished_sweep.run_directory("relu", 1) / PREDICTIONS
    header = np.lib.format.header_data_from_array_1_0(np.zeros(1, bool)) | {"shape": (length,)}
    with zipfile.ZipFile(path, "w") as archive, archive.open("correct.npy", "w") as member:
        np.lib.format.write_array_header_1_0(member, header)
        member.write(bytes(64))
    assert read_predictions(path.parent) is None


def test_a_lock_that_is_a_link_empties_nothing(tmp_path):
    victim, directory = tmp_path / "victim", tmp_path / "run"
    victim.write_text("precious")
    directory.mkdir()
    (directory / LOCK).symlink_to(victim)
    with pytest.raises(InputError, match="cannot be written"), locked(directory):
        pytest.fail("locked by a link")
    assert victim.read_text() == "precious"


def test_a_report_is_not_written_through_a_link(finished_sweep, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (finished_sweep.directory / "report").symlink_to(elsewhere)
    with pytest.raises(InputError, match="leads out of"):
        write_report(finished_sweep.directory)
    assert not list(elsewhere.iterdir())


def test_a_workdir_may_be_a_link_and_so_may_what_stays_in_it(tmp_path):
    (tmp_path / "disk" / "runs").mkdir(parents=True)
    (tmp_path / "work").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "alias").symlink_to("runs")
    assert inside(tmp_path / "work", "runs") == tmp_path / "work" / "runs"
    inside(tmp_path / "work", "alias")
    (tmp_path / "disk" / "out").symlink_to("..")
    with pytest.raises(InputError, match="by a link"):
        inside(tmp_path / "work", "out/other")


@pytest.mark.parametrize("read", [read_directory, read_statuses])
def test_a_directory_of_another_user_is_named(open_folder, read):
    home = open_folder / "private"
    with unreadable(home):
        with pytest.raises(InputError, match=f"directory='{home}': cannot be read"):
            read(home)
        assert not is_archived(home)


def test_a_neighbour_that_may_not_be_entered_is_no_hint(tmp_path, monkeypatch):
    def deny(path: Path) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", deny)
    with pytest.raises(InputError, match="no such directory") as raised:
        read_directory(tmp_path / "gone")
    assert raised.value.nearest is None


def test_a_report_is_not_begun_that_a_link_to_itself_would_lose(finished_sweep, monkeypatch):
    monkeypatch.setattr("xception_jax.report.writing.evaluate", None)  # fails where it is called
    (finished_sweep.directory / "report").symlink_to("report")
    with pytest.raises(InputError, match=r"directory='.*/report': .* leads back to itself"):
        write_report(finished_sweep.directory)


@pytest.mark.parametrize("target", ["itself", "elsewhere"])
@pytest.mark.parametrize("name", ["checkpoints", "metrics.jsonl"])
def test_no_run_begins_whose_files_would_go_elsewhere(tmp_path, name, target):
    home = tmp_path / "run"
    home.mkdir()
    (home / name).symlink_to(name if target == "itself" else tmp_path / "elsewhere")
    words = "is a link that leads back" if target == "itself" else "leads out of"
    with pytest.raises(InputError, match=re.escape(f"directory='{home / name}': {words}")):
        claim(home, resolve(load_config(MINI)))
    assert [path.name for path in home.iterdir()] == [name]


def test_a_file_larger_than_the_limit_is_an_error_of_the_system(tmp_path):
    write_regular(tmp_path / "file", bytes(11))
    assert read_regular(tmp_path / "file", 11) == bytes(11)
    with pytest.raises(OSError, match="more than 10 bytes"):
        read_regular(tmp_path / "file", 10)


def test_nothing_is_written_through_a_link(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "link").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic link"):
        write_regular(tmp_path / "link", b"other")
    assert victim.read_text() == "precious"


def test_no_cell_of_a_table_is_a_formula():
    names = ["=HYPERLINK(1)", "+1", "-none", "@x", "none", "a=b"]
    frame = pl.DataFrame({"arm": names, "effect": [-1.5] * 6, "note": [None] * 6})
    files = _data_files("results", frame)
    rows = files["results.csv"].decode().splitlines()[1:]
    assert [row.split(",")[0] for row in rows] == [f"'{n}" for n in names[:4]] + names[4:]
    assert all(row.split(",")[1] == "-1.5" for row in rows)
    assert pl.read_parquet(files["results.parquet"])["arm"].to_list() == names


def test_long_names_are_cut_in_error_lines():
    error = InputError("arm" * 1000, "x" * 10**6, "is unknown " + "y" * 10**6, "none")
    assert len(str(error)) < 8000
    assert str(error).endswith("nearest valid value: 'none'")


@contextmanager
def less_than(most: int) -> Iterator[None]:
    """Fails unless the block has fewer bytes of memory than that at once."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_predictions_packed_by_a_method_without_bounds_are_not_unpacked(tmp_path, method):
    with zipfile.ZipFile(tmp_path / PREDICTIONS, "w", method) as archive:
        np.lib.format.write_array(buffer := io.BytesIO(), np.ones(1 << 24, bool))
        archive.writestr("correct.npy", buffer.getvalue())
    with less_than(1_000_000):
        assert read_predictions(tmp_path) is None


def test_an_index_that_is_none_takes_no_more_than_its_bytes(tmp_path):
    index = np.ones(1 << 22, bool)
    np.savez_compressed(tmp_path / PREDICTIONS, correct=np.ones(4, bool), index=index)
    with less_than(3 << 22):
        assert read_predictions(tmp_path) is not None


def test_logs_without_end_are_refused_together(finished_sweep, call, monkeypatch):
    """A file of gigabytes in which nothing was written takes no space, and so there can be many."""
    monkeypatch.setattr("xception_jax.report.logs._MOST", 1 << 20)
    for arm in finished_sweep.arms:
        for seed in finished_sweep.seeds:
            with (finished_sweep.run_directory(arm, seed) / METRICS_LOG).open("wb") as file:
                file.truncate(1 << 19)
    code, _, err = call("report", finished_sweep.directory)
    assert (code, len(err.splitlines())) == (2, 1), err
    assert "over 1,048,576 bytes together" in err
