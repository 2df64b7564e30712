"""The command line with a fault in it, which shows in the middle of a run."""

from typing import Any

from xception_jax.cli import main
from xception_jax.training import loop


def crash(*args: Any, **kwargs: Any) -> None:
    raise RuntimeError("a fault of the program")


if __name__ == "__main__":
    loop.Loop._evaluate_and_save = crash  # type: ignore[method-assign]
    main()
