"""Settings as keyword arguments of functions, which need not name each of them again."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from xception_jax.config.fields import Checked, Setting, assemble, walk
from xception_jax.errors import nearest_name

T = TypeVar("T")


def keywords(kind: type[Checked]) -> dict[str, Setting]:
    """Every setting of a group and of the groups in it, by keyword, such as `norm_momentum`."""
    return {declared.name.removeprefix(kind.PREFIX): declared for declared in walk(kind)}


def from_keywords(kind: type[Any], given: Mapping[str, Any], taken_by: Callable[..., Any]) -> Any:
    """A group of settings from values by keyword; settings that are not given have the default.

    Args:
        kind: class of the group.
        given: values by the names of `keywords`.
        taken_by: what takes them as arguments, perhaps beside others: for the error.

    Raises:
        TypeError: a setting does not exist.
        InputError: a value is not valid.
    """
    known = keywords(kind)
    for name in given:
        if name not in known:
            near = nearest_name(name, inspect.signature(taken_by).parameters)
            hint = f"; did you mean {near!r}?" if near else ""
            raise TypeError(f"got an unexpected setting {name!r}{hint}")
    return assemble(kind, {known[name].name: value for name, value in given.items()})


def takes_settings(source: type[Checked] | Callable[..., Any]) -> Callable[[T], T]:
    """A decorator that names every setting in the signature of what takes `**settings`.

    Args:
        source: class of the settings, or the function to which they are passed on.
    """
    if isinstance(source, type):
        keyword = inspect.Parameter.KEYWORD_ONLY
        parameters = [
            inspect.Parameter(name, keyword, default=declared.default)
            for name, declared in keywords(source).items()
        ]
    else:
        parameters = list(inspect.signature(source).parameters.values())

    def decorate(function: T) -> T:
        # A class of Flax has the signature of its metaclass, which takes anything.
        is_class = isinstance(function, type)
        written = function.__init__ if is_class else function  # type: ignore[misc]
        signature = inspect.signature(cast(Callable[..., Any], written))
        arguments = list(signature.parameters.values())[is_class:]  # without `self`
        named = [p for p in arguments if p.kind is not p.VAR_KEYWORD]
        names = {parameter.name for parameter in named}
        more = [parameter for parameter in parameters if parameter.name not in names]
        cast(Any, function).__signature__ = signature.replace(parameters=[*named, *more])
        return function

    return decorate
