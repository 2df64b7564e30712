"""Settings as keyword arguments: how functions of a model take them without naming each again."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from xception_jax.config.fields import Checked, Setting, assemble, walk
from xception_jax.errors import nearest_name

T = TypeVar("T")


def keywords(kind: type[Checked]) -> dict[str, Setting]:
    """Every setting of `kind` and of its groups, by its name as a keyword: `norm_momentum`."""
    return {one.name.removeprefix(kind.PREFIX): one for one in walk(kind)}


def from_keywords(kind: type[Any], given: Mapping[str, Any]) -> Any:
    """A `kind` with the settings that are given by `keywords`.

    Raises:
        TypeError: one that does not exist.
        InputError: a value that is not valid.
    """
    known = keywords(kind)
    for name in given:
        if name not in known:
            near = nearest_name(name, known)
            hint = f"; did you mean {near!r}?" if near else ""
            raise TypeError(f"got an unexpected setting {name!r}{hint}")
    return assemble(kind, {known[name].name: value for name, value in given.items()})


def takes_settings(source: type[Checked] | Callable[..., Any]) -> Callable[[T], T]:
    """Decorator that completes the signature of what takes settings as `**settings`.

    Args:
        source: a class of settings, or the function that they are handed on to.
    """
    if isinstance(source, type):
        keyword = inspect.Parameter.KEYWORD_ONLY
        taken = [
            inspect.Parameter(name, keyword, default=one.default)
            for name, one in keywords(source).items()
        ]
    else:
        taken = list(inspect.signature(source).parameters.values())

    def decorate(function: T) -> T:
        signature = inspect.signature(cast(Callable[..., Any], function))
        own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        named = {parameter.name for parameter in own}
        more = [parameter for parameter in taken if parameter.name not in named]
        cast(Any, function).__signature__ = signature.replace(parameters=[*own, *more])
        return function

    return decorate
