"""Commands as processes that end with their test, waiting for what they do, and free ports."""

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.programs import command_line


def free_address() -> str:
    """`localhost:PORT`, at which nobody listens."""
    with socket.socket() as free_port:
        free_port.bind(("localhost", 0))
        return f"localhost:{free_port.getsockname()[1]}"


@contextmanager
def started(*words: object, **environment: str) -> Iterator["subprocess.Popen[str]"]:
    """`xception-jax …` in a session of its own; it is killed at the end of the block."""
    process = subprocess.Popen(
        command_line(*words),
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()  # which a block may have done already


def wait_until(
    condition: Callable[[], object], process: subprocess.Popen | None = None, seconds: float = 400
) -> None:
    """Waits for a condition, and while a process that is given lives."""
    end = time.monotonic() + seconds
    while not condition():
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.002)
