"""Bases: the configs that an experiment starts from, where it has several.

A claim may be about one data set and model, or about several: then each arm is trained on each
base, and arms are compared within a base and never across. Once the configs are read, an arm on a
base is an arm like any other, `<base>-<arm>`. It sets what its base has otherwise than the first
one, and then what the arm sets itself. `arms_on` keeps which arm is which:

    {"mini": {"none": "mini-none", "relu": "mini-relu"}, "wide": {…}}
"""

from collections.abc import Collection, Mapping
from pathlib import PurePath
from typing import Any

from xception_jax.config import Config
from xception_jax.config.fields import plain
from xception_jax.errors import InputError
from xception_jax.sweep.claim import require_target
from xception_jax.sweep.names import require_name

Arms = Mapping[str, Mapping[str, Any]]
"""The settings of each arm."""
ArmsOn = Mapping[str, Mapping[str, str]]
"""For each base, by the name that claims use, the arm that is trained on it."""


def read_bases(declared: Any) -> str | dict[str, str]:
    """The path of the one base, or the paths of several by their names.

    A base without a name has that of its file, without the suffix.

    Raises:
        InputError: it is neither a path nor several, or a name is none or there twice.
    """
    if isinstance(declared, str):
        return declared
    field = "experiment.base"
    if isinstance(declared, Mapping):
        named = list(declared.items())
    elif isinstance(declared, (tuple, list)) and all(isinstance(path, str) for path in declared):
        named = [(PurePath(path).stem, path) for path in declared]
    else:
        reason = "must be the path of a config file, a tuple of them, or {name: path, …}"
        raise InputError(field, declared, reason)
    if not named:
        raise InputError(field, declared, "must be one config file or several")
    for name, path in named:
        if not isinstance(path, str):
            raise InputError(field, path, "must be the path of a config file")
        require_name("base", name)
        if sum(name == other for other, _ in named) > 1:
            raise InputError(field, name, "is the name of two bases: name them, {name: path, …}")
    return dict(named) if len(named) > 1 else named[0][1]


def put_on_bases(
    arms: Mapping[str, Arms], configs: Mapping[str, Config], *, left_out: Collection[str] = ()
) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, str]]]:
    """Every arm on every base, with its settings over the first base.

    Args:
        arms: for each base the arms, which have the same names on all of them.
        configs: the whole config of each base.
        left_out: settings that arms do not take from their base, since tuning sets them.

    Returns:
        The settings of each arm on each base, and `arms_on`.

    Raises:
        InputError: two arms would have one name, or a name would be too long.
    """
    first = next(iter(configs.values())).flat()
    settings: dict[str, dict[str, Any]] = {}
    arms_on: dict[str, dict[str, str]] = {}
    for base, config in configs.items():
        other = {
            name: plain(value)
            for name, value in config.flat().items()
            if value != first[name] and name != "seed" and name not in left_out
        }
        for arm, of_arm in arms[base].items():
            name = f"{base}-{arm}"
            require_name("arm", name)
            if name in settings:
                raise InputError("arm", name, "is the name of two arms: rename an arm or a base")
            settings[name] = {**other, **of_arm}
            arms_on.setdefault(base, {})[arm] = name
    return settings, arms_on


def require_arms_on(arms_on: Any, bases: Collection[str], arms: Collection[str]) -> None:
    """Raises `InputError` unless `arms_on` gives every base the same arms, and each arm once."""
    field, reason = "experiment.arms_on", "does not give every base the same arms"
    is_whole = isinstance(arms_on, Mapping) and list(arms_on) == list(bases)
    if not is_whole or not all(isinstance(of_base, Mapping) for of_base in arms_on.values()):
        raise InputError(field, arms_on, reason)
    names = [name for of_base in arms_on.values() for name in of_base.values()]
    declared = {tuple(of_base) for of_base in arms_on.values()}
    if len(declared) != 1 or sorted(map(str, names)) != sorted(arms):
        raise InputError(field, arms_on, reason)


def require_at_least(at_least: Any, bases: Collection[str]) -> None:
    """Raises `InputError` unless a claim can be asked to hold in so many of the bases."""
    field = "experiment.in_at_least"
    if at_least is None:
        return
    if not bases:
        raise InputError(field, at_least, "goes with several bases, and there is one")
    if type(at_least) is not int or not 1 <= at_least <= len(bases):
        near = min(max(at_least, 1), len(bases)) if type(at_least) is int else None
        reason = f"must be a number of bases, from 1 to {len(bases)}"
        raise InputError(field, at_least, reason, near)


def require_targets(field: str, target: Any, bases: Collection[str]) -> None:
    """Raises `InputError` unless `target` is None, or one for the base or for each of several.

    An accuracy that is near the end of training on one data set may be nowhere near it on another.
    """
    if target is None or (not bases and not isinstance(target, Mapping)):
        require_target(field, target)
    elif not bases:
        raise InputError(field, target, "goes with several bases, and there is one")
    elif not isinstance(target, Mapping):
        reason = "must be one for each base, {name: target, …}"
        raise InputError(field, target, reason, dict.fromkeys(bases, target))
    elif set(target) != set(bases):
        raise InputError(field, target, f"must be one for each of {', '.join(bases)}")
    else:
        require_target(field, target)
