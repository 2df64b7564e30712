"""Launchers: engines that train the units of a sweep in processes of their own.

The results of a unit, and how it went, are read from the directories of its runs. A launcher deals
with processes only: it starts the command of a unit, reports when and how it ended, and stops it.
"""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from xception_jax.errors import INTERRUPTED
from xception_jax.records import SWEEP
from xception_jax.regular_files import open_for_reading, open_regular

_PARENT = "XCEPTION_JAX_PARENT"  # id of the process whose end ends a worker
_PR_SET_PDEATHSIG = 1  # of prctl(2)
_LOG_TAIL = 4096
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW


@dataclass(frozen=True)
class Unit:
    """A unit of scheduling: a pack of runs or a single run.

    Attributes:
        number: index of its row among the packs in `sweep.json`.
        name: name for messages.
        run_dirs: directories of its runs.
        command: command that trains it, on any machine that has this Python and the directories.
        log: file for the command's output.
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
        code: exit code, negative for a signal; None if the machine it ran on was lost.
        node: name of the machine, if the launcher has several.
        reason: the launcher's explanation; empty if the code says it all.
    """

    code: int | None
    node: str = ""
    reason: str = ""

    @property
    def pre_empted(self) -> bool:
        """Whether the unit was told to stop or lost its machine, which is no failure of its own."""
        return self.code is None or self.code in (INTERRUPTED, -signal.SIGTERM)


class Launcher(Protocol):
    """Protocol of an engine that runs the commands of units.

    Attributes:
        most: number of units that may be submitted at a time; None for an engine with a queue.
    """

    most: int | None

    def submit(self, unit: Unit, avoid: Collection[str]) -> None:
        """Starts or queues a unit, on a node other than those to avoid if there is one."""

    def status(self, unit: Unit) -> Ended | None:
        """How a unit ended, or None while it runs; must not be called again after it has ended."""

    def cancel(self, unit: Unit) -> None:
        """Asks a unit to save a checkpoint and end; `status` reports when it has."""

    def nodes(self) -> set[str]:
        """Names of the machines that units can run on; `{""}` if there is no choice."""

    def close(self) -> None:
        """Kills all units that still run."""


def unit_command(directory: Path) -> tuple[str, ...]:
    """The command line that trains a unit of a sweep, up to the unit's number.

    Args:
        directory: absolute path of the sweep's directory; the command may run in any other.
    """
    words = ("sweep", str(directory / SWEEP), "--workdir", str(directory), "--unit")
    return (sys.executable, "-m", "xception_jax", *words)


def read_log(unit: Unit) -> str:
    """The end of a unit's log file; empty if there is none."""
    try:
        with open_for_reading(unit.log) as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _LOG_TAIL))
            return file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""


def start(
    command: Collection[str], log: Path, environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Starts a worker process that ends when this process does; see `end_with_parent`.

    The worker has a session of its own, so that a keyboard interrupt reaches this process only,
    which passes it on.
    """
    with os.fdopen(open_regular(log, _APPEND), "ab") as file:
        return subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=os.environ | environment | {_PARENT: str(os.getpid())},
            start_new_session=True,
        )


def end_with_parent() -> None:
    """Makes the system kill this process when the process that started it ends, however that ends.

    Only Linux can. Elsewhere an orphaned worker goes on, and the lock of its run's directory keeps
    others out meanwhile.
    """
    parent = os.environ.get(_PARENT)
    if parent is None or sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):  # it has already ended
        sys.exit(INTERRUPTED)
