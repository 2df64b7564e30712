"""Works until it is told to stop, or nobody reads it, by the end of the terminal it is started on.

The words are the file that says how far it is, and "hears" or "ignores" for what it makes of the
hangup, as under `nohup`.
"""

import fcntl
import signal
import sys
import termios
import time
from pathlib import Path

from xception_jax.commands.console import console, errors, warn
from xception_jax.commands.process import interruptible

if __name__ == "__main__":
    path, hearing = Path(sys.argv[1]), sys.argv[2]
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # the hangup goes to whom the terminal controls
    signal.signal(signal.SIGHUP, signal.SIG_DFL if hearing == "hears" else signal.SIG_IGN)
    with interruptible() as stop:
        path.write_text("ready")
        while not stop() and not console.quiet:
            time.sleep(0.01)
            if hearing == "ignores":
                console.print("progress")
        for _ in range(3):
            console.print("a last line")
            warn("another")
        path.write_text(f"stop asked: {stop()}, quiet: {console.quiet} and {errors.quiet}")
