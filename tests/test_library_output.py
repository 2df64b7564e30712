"""Output of libraries goes to a file, and the lines of this program stay on the terminal."""

import os

import pytest

from tests.programs import run_program
from xception_jax.commands.library_output import MOST, NAME, kept_apart


def test_libraries_are_kept_apart_from_our_own_lines(tmp_path):
    done = run_program("print_like_libraries", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert done.stderr.split("\n") == ["before", "of ours ± 1", "last words", "after", ""]
    log = (tmp_path / "run" / NAME).read_text()
    assert "of a C++ library" in log
    assert "of a child" in log
    assert "UserWarning: of a Python package" in log
    assert "of a logger" in log
    assert log.count("RuntimeError: that nobody catches") == 2
    assert "Task exception was never retrieved" in log
    assert "ours" not in log


def test_where_nobody_keeps_what_libraries_say_our_own_lines_are_left():
    done = run_program("print_like_libraries", os.devnull)
    assert done.returncode == 0, done.stderr
    assert done.stderr.split("\n") == ["before", "of ours ± 1", "last words", "after", ""]


def test_an_error_within_is_shown_as_ever(tmp_path):
    done = run_program("print_like_libraries", tmp_path / "run", "fail")
    assert done.returncode == 1
    assert done.stderr.endswith("RuntimeError: of ours\n")


def test_on_a_full_disk_the_rest_is_left_out_and_nobody_fails_of_it(tmp_path):
    done = run_program("print_like_libraries", tmp_path, "full")
    assert done.returncode == 0, done.stderr
    incomplete = f"xception-jax: {tmp_path / NAME} is incomplete: File too large"
    expected = ["before", incomplete, "of ours ± 1", "last words", "after", ""]
    assert done.stderr.split("\n") == expected
    assert (tmp_path / NAME).read_text() == "of a C++ library\nof a child\n"


def test_where_no_library_says_anything_nothing_is_left(tmp_path):
    (tmp_path / "kept").mkdir()
    done = run_program("print_like_libraries", tmp_path / "kept" / "new" / "run", "silent")
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.rglob("*")) == [tmp_path / "kept"]
    (tmp_path / "kept" / NAME).touch()  # of another process that is not told
    run_program("print_like_libraries", tmp_path / "kept", "silent")
    assert (tmp_path / "kept" / NAME).exists()


@pytest.mark.parametrize("obstacle", ["a directory", "a link"])
def test_where_the_file_cannot_be_written_nothing_changes(tmp_path, obstacle):
    home = tmp_path / "run"
    home.mkdir()
    if obstacle == "a directory":
        (home / NAME).mkdir()
    else:
        (home / NAME).symlink_to(tmp_path / "victim")
    done = run_program("print_like_libraries", home)
    assert done.returncode == 0
    assert "of a C++ library" in done.stderr
    assert not (tmp_path / "victim").exists()


def test_a_large_file_is_begun_anew(tmp_path):
    (tmp_path / NAME).write_bytes(bytes(MOST + 1))
    run_program("print_like_libraries", tmp_path)
    assert (tmp_path / NAME).stat().st_size < 1000


def test_standard_error_that_is_not_the_process_own_is_left_alone(tmp_path, capsys):
    with kept_apart(tmp_path / "run"):
        os.write(2, b"of a C++ library\n")
    assert not (tmp_path / "run").exists()
