"""The command line with a step, the fifth, that never ends."""

import threading
from typing import Any

from xception_jax.cli import main
from xception_jax.training.loop import Loop

note = Loop._note_batches


def hang_at_five(self: Loop, step: int, batches: Any) -> None:
    note(self, step, batches)
    if step == 5:
        threading.Event().wait()


if __name__ == "__main__":
    Loop._note_batches = hang_at_five  # type: ignore[method-assign]
    main()
