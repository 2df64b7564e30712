"""Every command prints on any terminal, whoever reads it, and no text controls the terminal."""

import io
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from rich.table import Table

from tests.programs import program
from tests.synthetic_sweep import finished_sweep, new_sweep  # noqa: F401 - fixtures of these tests
from xception_jax.commands.console import warn
from xception_jax.commands.process import interruptible
from xception_jax.commands.terminal import SafeConsole, open_console
from xception_jax.errors import last_words

COMMAND = f"{sys.executable} -m xception_jax"
HOSTILE = "none\x1b]0;owned\x07\x1b[2J\u202e\r\x9b31m"


def shell(line: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        line, shell=True, capture_output=True, env=os.environ | variables, timeout=120, check=False
    )


def test_no_text_commands_the_terminal():
    for terminal in (False, True):
        stream = io.StringIO()
        console = SafeConsole(file=stream, force_terminal=terminal, highlight=False, width=200)
        console.print(HOSTILE, "second\nline")
        assert not {"\x1b", "\x07", "\u202e", "\r", "\x9b"} & set(stream.getvalue())
        assert "second\nline" in stream.getvalue()


def test_colons_stand_for_no_emoji(capsys):
    open_console().print("runs:100:x", Table("a:bomb:b", box=None))
    assert capsys.readouterr().out.split() == ["runs:100:x", "a:bomb:b"]


@pytest.mark.usefixtures("undrawn_figures")
def test_what_a_foreign_sweep_says_commands_no_terminal(finished_sweep, call):  # noqa: F811
    path = finished_sweep.directory / "sweep.json"
    path.write_text(path.read_text().replace('"none"', '"none\\u001b[2J"'))
    for command in ("status", "report", "audit"):
        code, out, err = call(command, finished_sweep.directory)
        assert code in (0, 1), err  # 1: of `audit`, since the arm is not what its runs were
        assert "[2J" in out, command  # what is left of the arm's name
        assert "\x1b" not in out + err


@pytest.mark.parametrize("encoding", ["ascii", pytest.param("latin-1", marks=pytest.mark.slow)])
def test_a_terminal_without_utf8_gets_plain_letters(finished_sweep, encoding):  # noqa: F811
    done = shell(f"{COMMAND} report {finished_sweep.directory}", PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode(encoding)
    assert b"?" not in done.stdout


def test_plain_letters_stand_for_what_an_encoding_lacks(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, "ascii", newline=""))
    open_console().print("0.9 ± 0.1 → ≤ 2 × 3 – 4…  \u6f22")
    sys.stdout.flush()
    assert raw.getvalue().split() == b"0.9 +- 0.1 -> <= 2 x 3 - 4... ?".split()


def test_closed_streams_and_readers_that_leave_are_no_error(finished_sweep):  # noqa: F811
    for end in (">&-", "2>&-", ">&- 2>&- <&-"):
        done = shell(f"{COMMAND} status {finished_sweep.directory} {end}")
        assert done.returncode == 0, done
    done = shell(f"{{ {COMMAND} status {finished_sweep.directory}; echo code $? >&2; }} | true")
    assert done.stderr == b"code 0\n"


def test_a_console_whose_reader_left_goes_on():
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as stream:
        console = SafeConsole(file=stream)
        console.print("first")
        console.print("second")
        assert console.quiet


@pytest.mark.parametrize(("hearing", "is_asked"), [("hears", True), ("ignores", False)])
def test_who_loses_the_terminal_goes_on_to_the_end(tmp_path, hearing, is_asked):
    """Closed, or cut off with ssh: whatever is written to the terminal fails from then on."""
    master, terminal = pty.openpty()
    report = tmp_path / "report"
    process = subprocess.Popen(
        program("outlive_terminal", report, hearing),
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    end = time.monotonic() + 120
    while not report.exists() or not report.read_text():
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.01)
    os.close(master)
    assert process.wait(timeout=120) == 0
    assert report.read_text() == f"stop asked: {is_asked}, quiet: True and True"


@pytest.fixture
def heard_hangup() -> Iterator[None]:
    """A hangup is not ignored, as it is where the tests themselves run under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("heard_hangup")
@pytest.mark.parametrize("first", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
def test_a_second_request_to_stop_ends_the_process(first):
    with interruptible() as stop:
        assert not stop()
        os.kill(os.getpid(), first)
        assert stop()
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
        assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL
        assert signal.getsignal(signal.SIGHUP) not in (signal.SIG_DFL, signal.SIG_IGN)


def test_under_nohup_a_hangup_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptible() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_last_words_command_no_terminal(capfd):
    last_words(f"xception-jax: {HOSTILE}\nis gone")
    said = capfd.readouterr().err
    assert said.endswith("is gone\n")
    assert len(said.splitlines()) == 1
    assert said[:-1].isprintable()


def test_a_warning_is_one_line_whatever_names_are_in_it(capsys, monkeypatch):
    monkeypatch.setattr("xception_jax.commands.console.errors", open_console(stderr=True))
    warn(f"{HOSTILE}\nxception-jax: forged")
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert said[:-1].isprintable()


def test_error_lines_of_long_words_are_cut(call, tmp_path):
    for words in (("status", "a", "x" * 50_000), ("x" * 50_000,), ("report", "y" * 50_000)):
        code, _, err = call(*words)
        assert code == 2
        assert len(err.splitlines()) == 1
        assert len(err) < 10_000
