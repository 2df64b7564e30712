"""The tests, and the type checker that checks the package's annotations while they run."""

from collections.abc import Callable
from typing import Any

from beartype import BeartypeConf, beartype


def check_types(checked: Callable[..., Any]) -> Callable[..., Any]:
    """Has every call of a function fail whose annotations are false: see `--jaxtyping-packages`.

    An int will do for a float, as it does for mypy.
    """
    made: Callable[..., Any] = beartype(conf=BeartypeConf(is_pep484_tower=True))(checked)
    return made
