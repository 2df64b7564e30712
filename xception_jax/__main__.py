"""The `xception-jax` command, which `python -m xception_jax` is too, and what ends it.

The commands that train save first, see `commands.process.interruptible`. The others have nothing to
save: files are written whole or not at all.
"""

import os
import signal
from typing import Any

from xception_jax.errors import INTERRUPTED


def main() -> None:
    """Runs the command line, and exits with its code, also while its modules are being imported."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name)
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, _end)
    from xception_jax.cli import main as run

    run()


def _end(*_: Any) -> None:
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    main()
