"""Loading of experiments from their files, and words of the command line that change them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields, replace
from inspect import signature
from os.path import relpath
from pathlib import Path
from typing import Any

from xception_jax.config import Config, load_config, load_function, parse_override, resolve
from xception_jax.errors import InputError
from xception_jax.sweep.bases import put_on_bases, read_bases
from xception_jax.sweep.experiment import Experiment
from xception_jax.sweep.tune import overlap


def load_experiment(
    path: str | Path,
    *,
    base: Path | Sequence[Path] | None = None,
    overrides: Collection[str] = (),
) -> tuple[Experiment, Config]:
    """An experiment file's `get_experiment()`, and the whole base config its arms start from.

    The function may take `model`, the name of the base's model: an experiment whose arms name
    models can give them the size of that one.

    Where there are several bases, every arm is put on each, and starts from the first.

    Args:
        path: path of the experiment file.
        base: a config file in place of the one the experiment names, or several; None: that one.
        overrides: `key=value` words, see `apply_overrides`. If the file's function takes `model`,
            `model.name=…` sets the base's model, and with it those of the arms.

    Raises:
        InputError: a file is missing, fails, or returns something else; a setting that does not
            exist or is not valid; a word that cannot be applied.
    """
    function = load_function(path, "get_experiment")
    experiment = _require_experiment(path, function())
    folder = Path(path).parent
    paths = {name: folder / declared for name, declared in _named(experiment.base).items()}
    if base is not None:
        given = [base] if isinstance(base, Path) else list(base)
        paths = dict(zip(_named(read_bases(tuple(map(str, given)))), given, strict=True))
    arms_follow = "model" in signature(function).parameters
    followed = ("model.name",) if arms_follow else ()
    loaded = {}
    for name, config in paths.items():
        settings, on_base = load_config(config), experiment
        if arms_follow:
            model = resolve(settings, overrides=overrides).model.name
            on_base = _require_experiment(path, function(model=model))
        if base is not None:
            on_base = _rebased(on_base, {name: relpath(p, folder) for name, p in paths.items()})
        loaded[name] = apply_overrides(on_base, settings, overrides, followed=followed)
    return next(iter(loaded.values())) if len(loaded) == 1 else _on_bases(loaded)


def _named(base: Any) -> dict[str, str]:
    """The paths of bases by name; the only one has no name."""
    return {"": base} if isinstance(base, str) else dict(base)


def _rebased(experiment: Experiment, paths: Mapping[str, str]) -> Experiment:
    """The experiment on other bases. On a single one its claims are about that one."""
    base = paths if len(paths) > 1 else next(iter(paths.values()))
    at_least = experiment.in_at_least if len(paths) > 1 else None
    return replace(experiment, base=base, in_at_least=at_least)


def _on_bases(loaded: Mapping[str, tuple[Experiment, Config]]) -> tuple[Experiment, Config]:
    """The experiment whose arms are on each base, and the config of the first.

    Raises:
        InputError: the file declares something else than arms differently for another base.
    """
    experiment, config = next(iter(loaded.values()))
    names = [declared.name for declared in fields(Experiment) if declared.name != "arms"]
    for base, (other, _) in loaded.items():
        for name in names:
            if getattr(other, name) != getattr(experiment, name):
                reason = f"is declared otherwise for the model of the base {base!r}"
                raise InputError(f"experiment.{name}", getattr(other, name), reason)
        if list(other.arms) != list(experiment.arms):
            reason = f"are others for the model of the base {base!r}"
            raise InputError("experiment.arms", list(other.arms), reason, list(experiment.arms))
    arms, arms_on = put_on_bases(
        {base: other.arms for base, (other, _) in loaded.items()},
        {base: settings for base, (_, settings) in loaded.items()},
        left_out=() if experiment.tune is None else experiment.tune.settings,
    )
    return replace(experiment, arms=arms, arms_on=arms_on), config


def _require_experiment(path: str | Path, content: Any) -> Experiment:
    if not isinstance(content, Experiment):
        kind = type(content).__name__
        raise InputError("file", str(path), f"get_experiment() returns {kind}, not Experiment")
    return content


def apply_overrides(
    experiment: Experiment,
    base: Mapping[str, Any] | Config,
    overrides: Collection[str],
    *,
    followed: Collection[str] = (),
) -> tuple[Experiment, Config]:
    """The experiment and its whole base config, changed by `key=value` words.

    Words change the base. They also replace what every arm, of a base, sets to the same value; what
    arms set differently is what they compare, and cannot be changed.

    Args:
        experiment: experiment whose arms lie over the base.
        base: nested or dotted settings, or a config.
        overrides: `key=value` words.
        followed: names of settings that the arms derived from the base: no word replaces them.

    Raises:
        InputError: a setting that does not exist or is not valid, or that arms set differently.
    """
    arms = {arm: dict(settings) for arm, settings in experiment.arms.items()}
    for word in overrides:
        name, value = parse_override(word)
        if name == "seed":
            raise InputError("override", word, "an experiment sets its seeds itself: see --seeds")
        if experiment.tune is not None and any(overlap(name, t) for t in experiment.tune.settings):
            raise InputError("override", word, "is what the experiment tunes for each arm")
        overlapping = {
            arm: {other: setting for other, setting in settings.items() if overlap(name, other)}
            for arm, settings in arms.items()
        }
        if name in followed:
            continue
        for compared in experiment.compared_arms:
            setting_it = [arm for arm in compared if overlapping[arm]]
            if setting_it and any(overlapping[a] != overlapping[setting_it[0]] for a in compared):
                raise InputError("override", word, f"is what the arm {setting_it[0]!r} sets itself")
            for arm in setting_it:
                arms[arm].pop(name, None)  # what comes later holds
                arms[arm][name] = value
    return replace(experiment, arms=arms), resolve(base, overrides=overrides)
