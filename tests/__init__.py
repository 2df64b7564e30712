"""The tests, and the type checker that checks the package's annotations while they run."""

from collections.abc import Callable
from typing import Any

from beartype import BeartypeConf, beartype


def check_types(checked: Callable[..., Any]) -> Callable[..., Any]:
    """Has every call of a function fail whose annotations are false: see `--jaxtyping-packages`.

    An int will do for a float, as it does for mypy. Functions inside functions are taken as they
    are: beartype would compile a check each time that one is made.
    """
    if "<locals>" in checked.__qualname__:
        return checked
    made: Callable[..., Any] = beartype(conf=BeartypeConf(is_pep484_tower=True))(checked)
    return made
