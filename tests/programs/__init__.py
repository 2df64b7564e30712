"""Programs that tests run in processes of their own, and how they are started.

They need what a test's process cannot have: another environment, no JAX, or an end by a signal.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO

HERE = Path(__file__).parent
# The fixture `call`: the command line in the test's own process; exit code, output and errors.
Call = Callable[..., tuple[int, str, str]]


def command_line(*words: object) -> list[str]:
    """The command `xception-jax` with these words, for a process of its own."""
    return [sys.executable, "-m", "xception_jax", *map(str, words)]


def program(name: str, *words: object) -> list[str]:
    """The command of one of these programs."""
    return [sys.executable, str(HERE / f"{name}.py"), *map(str, words)]


def start_program(name: str, *words: object, **environment: str) -> "subprocess.Popen[str]":
    """Starts a program whose input is closed and whose output is read through pipes."""
    return subprocess.Popen(
        program(name, *words),
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def stdout_of(process: "subprocess.Popen[str]") -> IO[str]:
    """The standard output of a process that `start_program` started."""
    assert process.stdout is not None
    return process.stdout


def run_program(
    name: str, *words: object, **environment: str
) -> "subprocess.CompletedProcess[str]":
    """Runs a program to its end, in at most five minutes; its exit code is the test's to check."""
    return subprocess.run(
        program(name, *words),
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
