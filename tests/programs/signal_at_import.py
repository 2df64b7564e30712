"""The command line, to which a signal is sent when it first imports a module: `MODULE SIGNAL …`."""

import importlib.abc
import os
import signal
import sys
from typing import Any

from xception_jax.__main__ import main

MODULE, SIGNAL = sys.argv[1:3]


class Sender(importlib.abc.MetaPathFinder):
    """Sends the signal before the module is found."""

    def find_spec(self, fullname: str, *_: Any) -> None:
        """Finds nothing itself."""
        if fullname == MODULE:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), getattr(signal, SIGNAL))


if __name__ == "__main__":
    signal.signal(getattr(signal, SIGNAL), signal.SIG_DFL)  # under nohup it would stay ignored
    sys.meta_path.insert(0, Sender())
    del sys.argv[1:3]
    main()
