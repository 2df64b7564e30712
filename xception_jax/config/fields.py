"""Settings as fields of frozen dataclasses: their declaration, their checks and their names.

`setting` declares a setting in a class that inherits from `Checked`. The field's annotation is its
type; default, range and help text stand beside it. Everything else is derived from that: dotted
names, checks of overrides, canonical JSON, what determines a run's id, what may differ in a pack.
"""

import math
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from numbers import Real
from typing import (
    Any,
    ClassVar,
    Literal,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from xception_jax.errors import InputError, nearest_name, require_no_password

T = TypeVar("T")
Check = Callable[[str, Any], Any]
InPack = Literal["equal", "free", "free_above_zero"]
Identity = bool | Literal["unless_default"]
LARGEST_INTEGER = 2**31 - 1


@dataclass(frozen=True)
class Setting:
    """One setting of a run.

    Attributes:
        name: dotted name, as users write it: "model.norm_momentum".
        path: attributes that lead to it from the config: ("model", "block", "norm", "momentum").
        default: default value.
        valid: the valid values, in words; empty where `help` says them.
        help: help text of one line.
        identity: whether the value can change a run's result, and so is part of the run's id;
            "unless_default": it is, and the default is left out, so that runs from before there
            was the setting keep their ids.
        in_pack: whether the runs of a pack must have equal values, may differ freely, or may differ
            as long as all are above zero or none is.
        check: takes (name, value), returns the canonical value or raises `InputError`.
    """

    name: str
    path: tuple[str, ...]
    default: Any
    valid: str
    help: str
    identity: Identity
    in_pack: InPack
    check: Check


class Options(tuple[tuple[str, Any], ...]):
    """Arguments by name as sorted pairs, hashable: what `optimizer.options` holds."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """The arguments as a dictionary."""
        return dict(self)


def setting(
    default: Any,
    help: str,  # noqa: A002 - the name that it has everywhere else
    *,
    low: float | None = None,
    high: float | None = None,
    check: Check | None = None,
    identity: Identity = True,
    in_pack: InPack = "equal",
) -> Any:
    """A field of a `Checked` dataclass that is a setting.

    Args:
        default: default value.
        help: help text of one line.
        low: smallest valid number; None: any.
        high: largest valid number; None: any, or the largest 32-bit integer.
        check: check of the value; None: the one that follows from the annotation.
        identity: see `Setting`.
        in_pack: see `Setting`.
    """
    declaration = {
        "help": help,
        "low": low,
        "high": high,
        "check": check,
        "identity": identity,
        "in_pack": in_pack,
    }
    return field(default=default, metadata={"setting": declaration})


def group(kind: type) -> Any:
    """A field of a `Checked` dataclass that is itself a group of settings.

    Args:
        kind: class of the group.
    """
    return field(default_factory=kind, metadata={"group": kind})


@dataclass(frozen=True)
class Checked:
    """A group of settings, whose values are checked and made canonical when it is created.

    Raises:
        InputError: a value is not valid; the error has the setting's dotted name and the nearest
            valid value.
    """

    PREFIX: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for attribute, declared in direct_settings(type(self)).items():
            checked = declared.check(declared.name, getattr(self, attribute))
            object.__setattr__(self, attribute, checked)


def direct_settings(kind: type[Checked]) -> Mapping[str, Setting]:
    """The settings of a group, without those of the groups in it, by the field's name."""
    if kind not in _DECLARED:
        _DECLARED[kind] = _declared(kind)
    return _DECLARED[kind]


_DECLARED: dict[type[Checked], Mapping[str, Setting]] = {}


def _declared(kind: type[Checked]) -> Mapping[str, Setting]:
    hints = get_type_hints(kind)
    declared: dict[str, Setting] = {}
    for attribute in fields(kind):
        if "setting" not in attribute.metadata:
            continue
        declaration = attribute.metadata["setting"]
        check, valid = _check_of(hints[attribute.name], declaration["low"], declaration["high"])
        declared[attribute.name] = Setting(
            name=f"{kind.PREFIX}{attribute.name}",
            path=(attribute.name,),
            default=attribute.default,
            valid="" if declaration["check"] else valid,
            help=declaration["help"],
            identity=declaration["identity"],
            in_pack=declaration["in_pack"],
            check=declaration["check"] or check,
        )
    return declared


def groups_of(kind: type[Checked]) -> Mapping[str, type[Checked]]:
    """The classes of the groups in a group of settings, by the field's name."""
    return {f.name: f.metadata["group"] for f in fields(kind) if "group" in f.metadata}


def walk(kind: type[Checked], path: tuple[str, ...] = ()) -> Iterator[Setting]:
    """Every setting of a group and of the groups in it, in the order of their declaration.

    Args:
        kind: class of the group.
        path: attributes that lead to the group from the config.
    """
    declared, groups = direct_settings(kind), groups_of(kind)
    for attribute in fields(kind):
        name = attribute.name
        if name in declared:
            yield replace(declared[name], path=(*path, name))
        elif name in groups:
            yield from walk(groups[name], (*path, name))


def assemble(kind: type[Any], values: Mapping[str, Any]) -> Any:
    """A group of settings from values by dotted name; settings without a value have the default.

    Args:
        kind: class of the group.
        values: values by dotted name.
    """
    given = {
        attribute: values[declared.name]
        for attribute, declared in direct_settings(kind).items()
        if declared.name in values
    }
    groups = {attribute: assemble(inner, values) for attribute, inner in groups_of(kind).items()}
    return kind(**given, **groups)


def plain(value: Any) -> Any:
    """The value of a setting as plain data for JSON."""
    if isinstance(value, Options):
        return value.to_dict()
    return list(value) if isinstance(value, tuple) else value


# -- what the types of settings accept -------------------------------------------------------------


def _check_of(hint: Any, low: float | None, high: float | None) -> tuple[Check, str]:
    """The check that follows from an annotation, and the valid values in words."""
    simple: dict[Any, tuple[Check, str]] = {
        bool: (_flag, "true or false"),
        int: _number(int, low, LARGEST_INTEGER if high is None else high),
        float: _number(float, low, high),
        str: (text, "text"),
        Options: (_options, "arguments by name"),
    }
    if hint in simple:
        return simple[hint]
    if get_origin(hint) is Literal:
        return _choice(get_args(hint))
    if get_origin(hint) in (Union, types.UnionType):
        return _union(get_args(hint), low, high)
    if get_origin(hint) is tuple:
        inner, valid = _check_of(get_args(hint)[0], low, high)
        return _list_of(inner), f"a list of {valid}"
    raise TypeError(f"no setting can have the type {hint}")


def _union(kinds: tuple[Any, ...], low: float | None, high: float | None) -> tuple[Check, str]:
    """The check of a union: `X | None`, a literal or a number, or one value or a list."""
    checks = {kind: _check_of(kind, low, high) for kind in kinds if kind is not types.NoneType}
    valid = " or ".join(words for _, words in checks.values())
    literals = [check for kind, (check, _) in checks.items() if get_origin(kind) is Literal]
    lists = [check for kind, (check, _) in checks.items() if get_origin(kind) is tuple]
    others = [
        check for kind, (check, _) in checks.items() if get_origin(kind) not in (Literal, tuple)
    ]

    def check(name: str, value: Any) -> Any:
        if value is None and types.NoneType in kinds:
            return None
        if lists and (isinstance(value, (list, tuple)) or not others):
            return lists[0](name, value)
        if literals and (isinstance(value, str) or not others):
            try:
                return literals[0](name, value)
            except InputError as error:
                raise InputError(name, value, f"must be {valid}", error.nearest) from None
        return others[0](name, value)

    return check, f"{valid} or null" if types.NoneType in kinds else valid


def _number(kind: type, low: float | None, high: float | None) -> tuple[Check, str]:
    word = "an integer" if kind is int else "a number"
    least, most = -math.inf if low is None else low, math.inf if high is None else high

    def check(name: str, value: Any) -> Any:
        is_number = isinstance(value, Real) and not isinstance(value, bool)
        if not is_number:
            raise InputError(name, value, f"must be {word}", None)
        if not least <= value <= most or (kind is int and value != int(value)):
            is_nan = not -math.inf <= value <= math.inf
            near = None if is_nan else kind(min(max(value, least), most))
            raise InputError(name, value, f"must be {word} from {least} to {most}", near)
        try:
            return kind(value) + kind(0)  # of -0.0 it makes 0.0, which gives the same run
        except OverflowError:
            raise InputError(name, value, "is larger than any number of 64 bits") from None

    bounds = [f"from {low:.10g}"] if low is not None else []
    bounds += [f"to {high:.10g}"] if high not in (None, LARGEST_INTEGER) else []
    return check, " ".join([word, *bounds])


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        near = nearest_name(value, ["true", "false"])
        raise InputError(name, value, "must be true or false", near)
    return value


def text(name: str, value: Any) -> str:
    """Checks that a value is text of at most 300 printable characters, and returns it."""
    if not isinstance(value, str) or len(value) > 300 or not value.isprintable():
        raise InputError(name, value, "must be text of at most 300 printable characters")
    require_no_password(name, value)
    return value


def path_or_none(name: str, value: Any) -> str | None:
    """Checks that a value is a path, each part of at most 255 bytes, or None, and returns it."""
    if value is None:
        return None
    path = text(name, value)
    if not path or any(len(part.encode()) > 255 for part in path.split("/")):
        raise InputError(name, value, "must be a path, each part of at most 255 bytes")
    return path


def _choice(choices: tuple[str, ...]) -> tuple[Check, str]:
    def check(name: str, value: Any) -> str:
        if value not in choices:
            near = nearest_name(value, choices)
            raise InputError(name, value, f"must be one of {', '.join(choices)}", near)
        return str(value)

    return check, " or ".join(f'"{choice}"' for choice in choices)


def _list_of(inner: Check) -> Check:
    def check(name: str, value: Any) -> tuple[Any, ...]:
        if not isinstance(value, (list, tuple)):
            raise InputError(name, value, "must be a list such as [4096,4096]")
        return tuple(inner(name, item) for item in value)

    return check


def _options(name: str, value: Any) -> Options:
    pairs = value.items() if hasattr(value, "items") else value
    try:
        given = dict(pairs)
    except (TypeError, ValueError):
        raise InputError(name, value, "must be arguments by name such as {'b2': 0.99}") from None
    for key, argument in given.items():
        if not isinstance(key, str) or not key.isidentifier():
            raise InputError(name, key, "must be the name of an argument")
        if not isinstance(argument, (bool, int, float, str, types.NoneType)):
            raise InputError(
                f"{name}.{key}", argument, "must be a number, text, true, false or null"
            )
        if isinstance(argument, float):
            if not math.isfinite(argument):
                raise InputError(f"{name}.{key}", argument, "must be finite")
            given[key] = argument + 0.0  # as `_number` does
        if isinstance(argument, int) and abs(argument) > LARGEST_INTEGER:
            reason = f"must be an integer from {-LARGEST_INTEGER} to {LARGEST_INTEGER}"
            raise InputError(f"{name}.{key}", argument, reason)
    return Options(sorted(given.items()))
