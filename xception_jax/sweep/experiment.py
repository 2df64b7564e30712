"""An experiment: a question, a base config, arms, seeds and the claims made before the runs."""

import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from inspect import signature
from os.path import relpath
from pathlib import Path
from typing import Any

from xception_jax.config import (
    Config,
    load_config,
    load_function,
    parse_override,
    resolve,
    run_id,
)
from xception_jax.errors import InputError, nearest_name, require_choice
from xception_jax.records import SPENDINGS, STEPS_TO_TARGET
from xception_jax.sweep.claim import require_target
from xception_jax.sweep.contrast_claims import AnyClaim
from xception_jax.sweep.factors import arms_of, read_factors, require_arms
from xception_jax.sweep.looks import checked_looks
from xception_jax.sweep.tune import Tune

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
MOST_SEEDS = 10_000
MOST_FIRST_SEED = 1_000_000_000


@dataclass(frozen=True)
class Experiment:
    """An experiment, as the function of an experiment file returns it.

    Attributes:
        name: name of the experiment; a letter or digit, then letters, digits, '_', '.', '-'.
        hypothesis: the hypothesis, in a sentence.
        base: path of the config file that all arms start from, relative to the experiment file;
            with `--base` another one takes its place.
        arms: for each arm's name the settings, with dotted names, that it changes.
        seeds: number of seeds.
        claims: claims, decided before the runs.
        reference: the source of the question.
        equal: "parameters" or "macs": every arm gets the width at which it has as many as the
            first arm, within 1% (`planning.budget`); empty: widths are as they are.
        target: validation accuracy of "steps to target", in all claims and tables; None: the one
            that a claim declares, or else 95% of the mean that all runs reach at their end.
        tune: settings of which every arm gets the best value, chosen before the verdict's runs on
            seeds of their own; None: all arms have the base's values.
        tuned: the record of that choice (`tuning.json`); the arms it names set what it chose. Only
            `sweep.tuning` and `sweep.recorded` give it.
        factors: in place of `arms`: settings with several values each, whose combinations are the
            arms (`sweep.factors` says how to write them).
        looks: numbers of seeds at which the claims are judged, the last one `seeds`; a claim that
            is decided needs no further seed. Empty: they are judged once, with all seeds.
        spending: how looks share the level of the tests: "obrien_fleming" spends little at early
            looks, "pocock" about alike at all.
        first_seed: the first seed; the others follow it.
    """

    name: str
    hypothesis: str
    base: str
    arms: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    seeds: int = 0
    claims: tuple[AnyClaim, ...] = ()
    reference: str = ""
    equal: str = ""
    target: float | None = None
    tune: Tune | None = None
    tuned: Mapping[str, Any] | None = field(default=None, repr=False)
    factors: Mapping[Any, Any] = field(default_factory=dict)
    looks: tuple[int, ...] = ()
    spending: str = SPENDINGS[0]
    first_seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "factors", read_factors(self.factors))
        if self.factors and not self.arms:
            object.__setattr__(self, "arms", arms_of(self.factors))
        self._require_types()
        if self.factors:
            require_arms(self.factors, self.arms)
        for label, name in (("experiment.name", self.name), *(("arm", arm) for arm in self.arms)):
            if not isinstance(name, str) or not _NAME.fullmatch(name):
                near = re.sub(r"[^A-Za-z0-9_.-]+", "-", str(name)).strip("-._")[:64] or None
                reason = "must be up to 64 letters, digits, '_', '.' or '-'"
                raise InputError(label, name, reason, near)
        if not self.arms:
            raise InputError("experiment.arms", self.arms, "there must be at least one arm")
        require_seeds("experiment.seeds", self.seeds)
        require_first_seed("experiment.first_seed", self.first_seed)
        require_choice("experiment.equal", self.equal, ("", "parameters", "macs"))
        object.__setattr__(self, "claims", tuple(c.bind(self.factors) for c in self.claims))
        object.__setattr__(self, "claims", self._with_one_target())
        for number, claim in enumerate(self.claims):
            if claim in self.claims[:number]:
                raise InputError("experiment.claims", claim, "is declared twice")
            for arm in claim.arms:
                if arm not in self.arms:
                    near = nearest_name(arm, self.arms)
                    raise InputError("claim", arm, "names an arm that does not exist", near)
        require_choice("experiment.spending", self.spending, SPENDINGS)
        object.__setattr__(self, "looks", checked_looks(self.looks, self.seeds, self.claims))

    @property
    def all_seeds(self) -> range:
        """The seeds of the experiment, in order."""
        return range(self.first_seed, self.first_seed + self.seeds)

    def _with_one_target(self) -> tuple[AnyClaim, ...]:
        """The claims, those about steps to a target with the one target of the experiment.

        Raises:
            InputError: there are several, or several ways to get it from the runs.
        """
        timed = [claim for claim in self.claims if STEPS_TO_TARGET in claim.endpoints]
        declared = [self.target, *(claim.target for claim in timed)]
        targets = list(dict.fromkeys(target for target in declared if target is not None))
        for other in targets[1:]:
            raise InputError("claim.target", other, "is a second target of a sweep", targets[0])
        pilots = list(dict.fromkeys(claim.pilot_seeds for claim in timed))
        if targets and any(pilots):
            raise InputError("claim.pilot_seeds", max(pilots), "the target is given already", 0)
        for pilot in pilots[1:]:
            reason = "gives a second target of a sweep: all claims need the same"
            raise InputError("claim.pilot_seeds", pilot, reason, pilots[0])
        target = targets[0] if targets else None
        return tuple(replace(c, target=target) if c in timed else c for c in self.claims)

    def _require_types(self) -> None:
        """Raises `InputError` unless all fields have their types: a file may hold anything."""
        require_target("experiment.target", self.target)
        for name in ("hypothesis", "base", "reference", "equal"):
            if not isinstance(value := getattr(self, name), str):
                raise InputError(f"experiment.{name}", value, "must be text")
        arms: Any = self.arms
        if not isinstance(arms, Mapping):
            reason = 'must be a dictionary such as {"relu": {"model.order": …}}'
            raise InputError("experiment.arms", arms, reason)
        for arm, settings in arms.items():
            if not isinstance(settings, Mapping) or not all(isinstance(n, str) for n in settings):
                reason = f"must be a dictionary of settings (arm {arm!r})"
                raise InputError("experiment.arms", settings, reason)
            if "seed" in settings:
                reason = f"is what experiment.seeds sets, the same for every arm (arm {arm!r})"
                raise InputError("seed", settings["seed"], reason)
        claims: Any = self.claims
        if not isinstance(claims, (tuple, list)) or not all(
            isinstance(c, AnyClaim) for c in claims
        ):
            raise InputError("experiment.claims", claims, "must be a tuple of Claim(…)")
        if self.tune is not None:
            if not isinstance(self.tune, Tune):
                raise InputError("experiment.tune", self.tune, "must be Tune(…)")
            for arm in self.untuned:
                self.tune.require_unset(arm, arms[arm])

    @property
    def untuned(self) -> tuple[str, ...]:
        """The arms whose settings are still to be tuned; empty where nothing is."""
        if self.tune is None:
            return ()
        return tuple(arm for arm in self.arms if arm not in (self.tuned or {}).get("arms", {}))

    def describe(self) -> dict[str, Any]:
        """The experiment as plain data, for `sweep.json`."""
        content = asdict(replace(self, tune=None, tuned=None))
        for name in ("tune", "tuned"):
            del content[name]
        if self.tune is not None:
            content["tune"] = self.tune.describe()
        if self.tuned is not None:
            content["tuned"] = dict(self.tuned)
        content["arms"] = {name: dict(settings) for name, settings in self.arms.items()}
        content["seeds"] = list(self.all_seeds)
        content["claims"] = [claim.describe() for claim in self.claims]
        content["looks"] = list(self.looks)
        left_out = {"first_seed"} | (set() if self.looks else {"looks", "spending"})
        left_out |= set() if self.factors else {"factors"}
        return {name: value for name, value in content.items() if name not in left_out}


def require_seeds(field: str, seeds: Any) -> None:
    """Raises `InputError` unless `seeds` is a possible number of seeds."""
    if type(seeds) is not int or not 1 <= seeds <= MOST_SEEDS:
        near = min(max(seeds, 1), MOST_SEEDS) if type(seeds) is int else None
        raise InputError(field, seeds, f"must be an integer from 1 to {MOST_SEEDS}", near)


def require_first_seed(field: str, seed: Any) -> None:
    """Raises `InputError` unless `seed` can be the first seed of a sweep."""
    if type(seed) is not int or not 0 <= seed <= MOST_FIRST_SEED:
        near = min(max(seed, 0), MOST_FIRST_SEED) if type(seed) is int else None
        raise InputError(field, seed, f"must be an integer from 0 to {MOST_FIRST_SEED}", near)


@dataclass(frozen=True)
class PlannedRun:
    """A run of a sweep: an arm with a seed, and the config that follows from them."""

    arm: str
    seed: int
    config: Config = field(repr=False)

    @cached_property
    def id(self) -> str:
        """The id of the run: a hash of what determines its result."""
        return run_id(self.config)

    @property
    def title(self) -> str:
        """What a line of progress calls the run's arm."""
        return self.arm

    @property
    def name(self) -> str:
        """The name of the run, `<arm>-s<seed>`."""
        return f"{self.arm}-s{self.seed}"

    @property
    def directory(self) -> str:
        """The run's directory, relative to the sweep's; ends in the first 8 digits of the id."""
        return f"runs/{self.name}-{self.id[:8]}"


def load_experiment(
    path: str | Path, *, base: Path | None = None, overrides: Collection[str] = ()
) -> tuple[Experiment, Config]:
    """An experiment file's `get_experiment()`, and the whole base config its arms start from.

    The function may take `model`, the name of the base's model: an experiment whose arms name
    models can give them the size of that one.

    Args:
        path: path of the experiment file.
        base: a config file in place of the one the experiment names; None: that one.
        overrides: `key=value` words, see `apply_overrides`. If the file's function takes `model`,
            `model.name=…` sets the base's model, and with it those of the arms.

    Raises:
        InputError: a file is missing, fails, or returns something else; a setting that does not
            exist or is not valid; a word that cannot be applied.
    """
    function = load_function(path, "get_experiment")
    experiment = _require_experiment(path, function())
    home = Path(path).parent
    settings = load_config(home / experiment.base if base is None else base)
    arms_follow = "model" in signature(function).parameters
    if arms_follow:
        model = resolve(settings, overrides=overrides).model.name
        experiment = _require_experiment(path, function(model=model))
    if base is not None:
        experiment = replace(experiment, base=relpath(base, home))
    followed = ("model.name",) if arms_follow else ()
    return apply_overrides(experiment, settings, overrides, followed=followed)


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

    Words change the base. They also replace what every arm sets to the same value; what arms set
    differently is what they compare, and cannot be changed.

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
        if experiment.tune is not None and any(_overlap(name, t) for t in experiment.tune.settings):
            raise InputError("override", word, "is what the experiment tunes for each arm")
        overlapping = {
            arm: {other: setting for other, setting in settings.items() if _overlap(name, other)}
            for arm, settings in arms.items()
        }
        setting_it = [arm for arm, settings in overlapping.items() if settings]
        if not setting_it or name in followed:
            continue
        if any(settings != overlapping[setting_it[0]] for settings in overlapping.values()):
            raise InputError("override", word, f"is what the arm {setting_it[0]!r} sets itself")
        for settings in arms.values():
            settings[name] = value
    return replace(experiment, arms=arms), resolve(base, overrides=overrides)


def _overlap(name: str, other: str) -> bool:
    """Whether two dotted names are of one setting, or of a group and a setting in it."""
    return f"{name}.".startswith(f"{other}.") or f"{other}.".startswith(f"{name}.")


def plan_runs(experiment: Experiment, base: Mapping[str, Any] | Config) -> list[PlannedRun]:
    """Every run of the experiment, all arms of a seed before the next seed.

    In that order a sweep that is stopped early still has pairs to compare.

    Raises:
        InputError: a setting that does not exist or is not valid; two arms that are the same run.
    """
    runs = []
    for seed in experiment.all_seeds:
        for arm, settings in experiment.arms.items():
            config = resolve(base, settings, {"seed": seed})
            runs.append(PlannedRun(arm, seed, config))
    arms: dict[str, str] = {}
    for run in runs:
        if run.id in arms:
            raise InputError("arm", run.arm, f"is the same run as arm {arms[run.id]!r}")
        arms[run.id] = run.arm
    return runs
