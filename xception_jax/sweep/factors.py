"""Factors: settings with several values each, whose combinations are the arms of an experiment.

A factor is written in one of three ways:

    {"model.order": ("depthwise_first", "pointwise_first")}
    {"model.segments": {"deep": 1, "shallow": "per_channel"}}
    {("model.name", "optimizer.weight_decay"): (("xception", 1e-5), ("inception_v3", 4e-5))}

The second names its levels. The third is one of settings that change together; its name is that of
the first setting. Either way it becomes `{factor: {level: {setting: value}}}`, which is what
`sweep.json` records, and can be written, too.
"""

import re
from collections.abc import Collection, Mapping
from typing import Any

from xception_jax.errors import InputError, nearest_name
from xception_jax.statistics.factorial import arm_name, combinations

Levels = Mapping[str, Mapping[str, Any]]
Factors = Mapping[str, Levels]


def read_factors(declared: Any) -> dict[str, dict[str, dict[str, Any]]]:
    """Factors with the settings of each of their levels.

    Raises:
        InputError: they are not in the form of factors, a factor has fewer than two levels, levels
            have no names or the same, or two factors change the same setting.
    """
    if not isinstance(declared, Mapping):
        reason = 'must be a dictionary such as {"model.order": (…, …)}'
        raise InputError("experiment.factors", declared, reason)
    factors: dict[str, dict[str, dict[str, Any]]] = {}
    owners: dict[str, str] = {}
    for key, values in declared.items():
        name, levels = _read_factor(key, values)
        if name in factors:
            raise InputError("experiment.factors", name, "is there twice")
        if len(levels) < 2:
            raise InputError("experiment.factors", name, "needs two levels or more")
        for setting in dict.fromkeys(s for settings in levels.values() for s in settings):
            if setting in owners:
                raise InputError("experiment.factors", setting, f"is in {owners[setting]!r}, too")
            owners[setting] = name
        factors[name] = levels
    return factors


def _read_factor(key: Any, values: Any) -> tuple[str, dict[str, dict[str, Any]]]:
    settings = key if isinstance(key, tuple) else (key,)
    if not settings or not all(isinstance(setting, str) for setting in settings):
        reason = "must be the name of a setting, or a tuple of them"
        raise InputError("experiment.factors", key, reason)
    name = settings[0]
    if isinstance(values, Mapping):
        if _holds_settings(values):
            return name, {str(level): dict(content) for level, content in values.items()}
        levels = [(str(level), value) for level, value in values.items()]
    elif isinstance(values, (tuple, list)):
        is_zip = isinstance(key, tuple)
        levels = [(_level_name(name, v[0] if is_zip and _fits(v, 1) else v), v) for v in values]
    else:
        reason = f"must be a tuple of values, or a dictionary of level to value (factor {name!r})"
        raise InputError("experiment.factors", values, reason)
    if len(dict(levels)) < len(levels):
        names = [level for level, _ in levels]
        twice = next(level for level in names if names.count(level) > 1)
        reason = f"names two levels of {name!r}: name them yourself, {{name: value, …}}"
        raise InputError("experiment.factors", twice, reason)
    if not isinstance(key, tuple):
        return name, {level: {name: value} for level, value in levels}
    for _, value in levels:
        if not _fits(value, len(settings)) or len(value) != len(settings):
            reason = f"must be one value for each of {', '.join(settings)}"
            raise InputError("experiment.factors", value, reason)
    return name, {level: dict(zip(settings, value, strict=True)) for level, value in levels}


def _fits(value: Any, least: int) -> bool:
    return isinstance(value, (tuple, list)) and len(value) >= least


def _holds_settings(levels: Mapping[Any, Any]) -> bool:
    """Whether the levels are dictionaries of settings, whose names have dots."""
    return bool(levels) and all(
        isinstance(content, Mapping)
        and content
        and all(isinstance(name, str) and "." in name for name in content)
        for content in levels.values()
    )


def _level_name(setting: str, value: Any) -> str:
    """A word for a level that says what it is without the setting's name beside it."""
    leaf = setting.rpartition(".")[2]
    if isinstance(value, bool):
        return leaf if value else f"no_{leaf}"
    if isinstance(value, (int, float)):
        return f"{leaf}_{value:g}"
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", value).strip("-._") if isinstance(value, str) else ""
    if not name:
        reason = f"gives no name to a level of {setting!r}: name it yourself, {{name: value, …}}"
        raise InputError("experiment.factors", value, reason)
    return name


def arms_of(factors: Factors) -> dict[str, dict[str, Any]]:
    """The arms: every combination of levels, the last factor's changing fastest.

    An arm's name is that of its levels, joined by dashes.
    """
    arms: dict[str, dict[str, Any]] = {}
    for chosen in combinations(factors):
        name = arm_name(chosen)
        if name in arms:
            raise InputError("experiment.factors", name, "is the name of two arms: rename a level")
        arms[name] = {}
        for factor, level in chosen.items():
            arms[name] |= factors[factor][level]
    return arms


def require_arms(
    factors: Factors,
    arms: Mapping[str, Mapping[str, Any]],
    *,
    on_base: bool = False,
    free: Collection[str] = (),
) -> None:
    """Raises `InputError` unless the arms are those that the factors make.

    Words of the command line, tuning, or the widths that make arms equal may have added settings
    that no factor varies, or replaced them. Where only some levels set one that varies, the others
    have the value of their base, which is one for all of them.

    Args:
        factors: the factors.
        arms: the arms by the names that claims use.
        on_base: whether they are on one of several bases, and set what it has otherwise.
        free: settings that may have been added to each arm for itself.
    """
    made = arms_of(factors)
    names = {name for settings in made.values() for name in settings}
    varying = {name for name in names if len({_said(s, name) for s in made.values()}) > 1}
    as_made = list(arms) == list(made) and all(
        _said(arms[arm], name) == _said(settings, name)
        for arm, settings in made.items()
        for name in varying & settings.keys()
    )
    added = [
        {_said(arms[arm], name) for arm, settings in made.items() if name not in settings}
        for name in (varying - {*free} if as_made else ())
    ]
    if not as_made or any(len(values) > 1 if on_base else values - {""} for values in added):
        reason = "must be left out, since experiment.factors makes the arms"
        raise InputError("experiment.arms", list(arms), reason)


def _said(settings: Mapping[str, Any], name: str) -> str:
    """What an arm sets, and nothing of a setting that it leaves to the base."""
    return repr(settings[name]) if name in settings else ""


def find_level(factors: Factors, factor: str, level: Any) -> str:
    """The name of a level that is given by its name or by its value.

    Raises:
        InputError: there is no such factor, or no such level.
    """
    if factor not in factors:
        near = nearest_name(str(factor), factors) if factors else None
        raise InputError("claim.factor", factor, "is no factor of the experiment", near)
    levels = factors[factor]
    for name, settings in levels.items():
        value = next(iter(settings.values()))
        if level == name or (type(level) is type(value) and level == value):
            return name
    near = nearest_name(str(level), levels)
    raise InputError("claim.level", level, f"is no level of {factor!r}", near)
