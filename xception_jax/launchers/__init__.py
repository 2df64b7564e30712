"""Where the units of a sweep train when that is not this process: one protocol for every engine.

What a unit leaves is in the directories of its runs, and how it went is read there. A launcher
knows processes only: it starts the command of a unit, says when and how it ended, and stops it.
"""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from xception_jax.errors import INTERRUPTED

_PARENT = "XCEPTION_JAX_PARENT"  # the process that a worker ends with
_PR_SET_PDEATHSIG = 1  # of prctl(2)
_LOG_TAIL = 4096


@dataclass(frozen=True)
class Unit:
    """A pack of runs or a single run: what is scheduled.

    Attributes:
        number: of its row among the packs in `sweep.json`.
        name: for people.
        run_dirs: the directories of its runs.
        command: what trains it, on any machine that has this Python and the directory.
        log: the file that takes what the command says.
    """

    number: int
    name: str
    run_dirs: tuple[Path, ...]
    command: tuple[str, ...]
    log: Path


@dataclass(frozen=True)
class Ended:
    """How a unit's process ended.

    Attributes:
        code: its exit code, negative for a signal; None: the machine it ran on was lost.
        node: the machine, where a launcher has several.
        reason: what the launcher knows of it; empty: the code says all.
    """

    code: int | None
    node: str = ""
    reason: str = ""

    @property
    def pre_empted(self) -> bool:
        """Whether it is not the run's fault: it was told to stop, or lost its machine."""
        return self.code is None or self.code in (INTERRUPTED, -signal.SIGTERM)


@runtime_checkable
class Launcher(Protocol):
    """An engine that runs commands.

    Attributes:
        most: units that may be submitted at a time; None: the engine has a queue of its own.
    """

    most: int | None

    def submit(self, unit: Unit, avoid: Collection[str]) -> None:
        """Starts the unit, or queues it: on none of the nodes to avoid, if there are others."""

    def status(self, unit: Unit) -> Ended | None:
        """How the unit ended, asked until it has; None: it has not."""

    def logs(self, unit: Unit) -> str:
        """The last that its command has said."""

    def cancel(self, unit: Unit) -> None:
        """Has the unit save where it stands and end; `status` tells when it has."""

    def nodes(self) -> set[str]:
        """The machines that units can run on; one without a name where there is no choice."""

    def close(self) -> None:
        """Kills what still runs."""


def unit_command(directory: Path) -> tuple[str, ...]:
    """The command line that trains a unit of the sweep in `directory`, but for its number."""
    words = ("sweep", str(directory / "sweep.json"), "--workdir", str(directory), "--unit")
    return (sys.executable, "-m", "xception_jax", *words)


def read_log(unit: Unit) -> str:
    """The end of the unit's log, from whichever process wrote it."""
    try:
        with unit.log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _LOG_TAIL))
            return file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""


def start(
    command: Collection[str], log: Path, environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Starts a worker that ends with this process, whatever ends this: see `end_with_parent`.

    It has a session of its own: an interrupt from the keyboard is for this process, which passes
    it on.
    """
    with log.open("ab") as file:
        return subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=os.environ | environment | {_PARENT: str(os.getpid())},
            start_new_session=True,
        )


def end_with_parent() -> None:
    """Has the system kill this process when the one that started it ends, however that ends.

    Only Linux does so. Elsewhere the lock of a run's directory keeps others out meanwhile.
    """
    parent = os.environ.get(_PARENT)
    if parent is None or sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):  # it has ended before
        sys.exit(INTERRUPTED)
