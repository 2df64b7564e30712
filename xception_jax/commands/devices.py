"""The check that the workers of this machine will find their devices, by a process of its own.

The process that starts workers must not use the devices that it leaves to them, and JAX takes all
that it can see when it starts.
"""

import os
import subprocess
import sys

import typer

from xception_jax.commands.console import warn
from xception_jax.commands.process import DEVICE_VARIABLES, prepare_jax
from xception_jax.errors import DONE
from xception_jax.runtime.accelerators import unused_accelerator


def check_devices() -> int:
    """Start the devices that a worker would have, and end."""
    prepare_jax(packs=True)
    return DONE


def require_devices_of_workers() -> None:
    """Ends this command as a worker would end, if the environment asks for devices there are not.

    It takes seconds, and is done only where a variable asks for other devices than the CPU. Without
    one it says which accelerator JAX leaves unused.

    Raises:
        typer.Exit: the process that tried has said why, in one line on standard error.
    """
    asked = [os.environ.get(name, "") for name in DEVICE_VARIABLES]
    if any(value not in ("", "cpu") for value in asked):
        words = [sys.executable, "-m", "xception_jax", "check-devices"]  # it says so, too
        if code := subprocess.run(words, stdin=subprocess.DEVNULL, check=False).returncode:
            raise typer.Exit(code)
    elif (line := unused_accelerator(os.environ)) is not None:
        warn(f"xception-jax: {line}")  # workers say so, too, but into their logs
