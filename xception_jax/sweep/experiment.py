"""An experiment: a question, a base config, arms, seeds and the claims made before the runs."""

import math
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
from xception_jax.records import DIRECTIONS, ENDPOINTS, STEPS_TO_TARGET, TESTS

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
MOST_SEEDS = 10_000
LARGEST_PACK = 1024


@dataclass(frozen=True)
class Claim:
    """A contrast between two arms, or an interaction of four, decided before the runs.

    Attributes:
        arm: the arm that the claim is about.
        baseline: the arm with which it is compared.
        direction: "better", "worse" or "equivalent".
        endpoints: the endpoints that are compared; the claim must hold for all of them.
        margin: margin of equivalence, in units of the endpoint.
        target: validation accuracy of "steps_to_target"; None: 95% of what the compared runs
            reach on average at their end.
        pilot_seeds: number of first seeds that give the target and are then not tested.
        versus: two more arms: the claim is then that arm − baseline is better, worse, or
            equivalent, compared with the difference of these two.
        test: "mean": a sign-flip test of the mean difference, exact where the differences are
            symmetric about it; "median": a sign test of the median, exact for any differences.
    """

    arm: str
    baseline: str
    direction: str = "better"
    endpoints: tuple[str, ...] = ("final_top1",)
    margin: float | None = None
    target: float | None = None
    pilot_seeds: int = 0
    versus: tuple[str, str] | None = None
    test: str = TESTS[0]

    def __post_init__(self) -> None:
        for arm in (self.arm, self.baseline):
            if not isinstance(arm, str):
                raise InputError("claim", arm, "must be the name of an arm")
        require_choice("claim.direction", self.direction, DIRECTIONS)
        require_choice("claim.test", self.test, TESTS)
        self._require_endpoints()
        if (self.direction == "equivalent") != (self.margin is not None):
            raise InputError("claim.margin", self.margin, "goes with equivalence, and only with it")
        if self.margin is not None and not (_is_number(self.margin) and 0 < self.margin < math.inf):
            raise InputError("claim.margin", self.margin, "must be a positive number")
        if type(self.pilot_seeds) is not int or self.pilot_seeds < 0:
            raise InputError("claim.pilot_seeds", self.pilot_seeds, "must be a whole number", 0)
        if (self.target is not None or self.pilot_seeds) and STEPS_TO_TARGET not in self.endpoints:
            raise InputError(
                "claim.target", self.target, f"goes with {STEPS_TO_TARGET!r}, and only with it"
            )
        if self.target is not None and not (_is_number(self.target) and 0 < self.target < 1):
            raise InputError("claim.target", self.target, "must be between 0 and 1")
        if self.target is not None and self.pilot_seeds:
            raise InputError("claim.pilot_seeds", self.pilot_seeds, "the target is given already")
        versus: Any = self.versus
        two = isinstance(versus, (tuple, list)) and len(versus) == 2 and versus[0] != versus[1]
        if versus is not None and not (two and all(isinstance(arm, str) for arm in versus)):
            raise InputError("claim.versus", self.versus, "must be two arms")
        if self.arm == self.baseline:
            raise InputError("claim.baseline", self.baseline, "is the claim's own arm")
        if self.versus is not None and tuple(self.versus) == (self.arm, self.baseline):
            raise InputError("claim.versus", self.versus, "is the claim's own contrast")

    def _require_endpoints(self) -> None:
        names: Any = self.endpoints  # whoever wrote the file
        if not isinstance(names, (tuple, list)) or not names:
            near = (names,) if names in ENDPOINTS else None
            raise InputError("claim.endpoints", names, "must be a tuple of endpoints", near)
        for endpoint in names:
            require_choice("claim.endpoints", endpoint, ENDPOINTS)
        if len(set(names)) < len(names):
            once = tuple(dict.fromkeys(names))
            raise InputError("claim.endpoints", names, "names an endpoint twice", once)
        if self.margin is not None and STEPS_TO_TARGET in names and len(names) > 1:
            raise InputError("claim.endpoints", names, "have units that share no margin")

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms that are compared, two or four."""
        return (self.arm, self.baseline, *(self.versus or ()))

    def describe(self) -> dict[str, Any]:
        """The claim as plain data, without the optional fields that are not set."""
        content = asdict(self) | {"endpoints": list(self.endpoints)}
        if self.versus:
            content["versus"] = list(self.versus)
        if self.test == TESTS[0]:
            del content["test"]
        optional = ("target", "pilot_seeds", "versus")
        return {name: value for name, value in content.items() if value or name not in optional}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


@dataclass(frozen=True)
class Experiment:
    """An experiment, as the function of an experiment file returns it.

    Attributes:
        name: name of the experiment; a letter or digit, then letters, digits, '_', '.', '-'.
        hypothesis: the hypothesis, in a sentence.
        base: path of the config file that all arms start from, relative to the experiment file;
            with `--base` another one takes its place.
        arms: for each arm's name the settings, with dotted names, that it changes.
        seeds: number of seeds; they are 0, 1, …
        claims: claims, decided before the runs.
        reference: the source of the question.
        equal: "parameters" or "macs": every arm gets the width at which it has as many as the
            first arm, within 1% (`planning.budget`); empty: widths are as they are.
    """

    name: str
    hypothesis: str
    base: str
    arms: Mapping[str, Mapping[str, Any]]
    seeds: int
    claims: tuple[Claim, ...] = ()
    reference: str = ""
    equal: str = ""

    def __post_init__(self) -> None:
        self._require_types()
        for label, name in (("experiment.name", self.name), *(("arm", arm) for arm in self.arms)):
            if not isinstance(name, str) or not _NAME.fullmatch(name):
                near = re.sub(r"[^A-Za-z0-9_.-]+", "-", str(name)).strip("-._")[:64] or None
                reason = "must be up to 64 letters, digits, '_', '.' or '-'"
                raise InputError(label, name, reason, near)
        if not self.arms:
            raise InputError("experiment.arms", self.arms, "there must be at least one arm")
        require_seeds("experiment.seeds", self.seeds)
        require_choice("experiment.equal", self.equal, ("", "parameters", "macs"))
        for number, claim in enumerate(self.claims):
            if claim in self.claims[:number]:
                raise InputError("experiment.claims", claim, "is declared twice")
            for arm in claim.arms:
                if arm not in self.arms:
                    near = nearest_name(arm, self.arms)
                    raise InputError("claim", arm, "names an arm that does not exist", near)

    def _require_types(self) -> None:
        """Raises `InputError` unless all fields have their types: a file may hold anything."""
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
        if not isinstance(claims, (tuple, list)) or not all(isinstance(c, Claim) for c in claims):
            raise InputError("experiment.claims", claims, "must be a tuple of Claim(…)")

    def describe(self) -> dict[str, Any]:
        """The experiment as plain data, for `sweep.json`."""
        content = asdict(self)
        content["arms"] = {name: dict(settings) for name, settings in self.arms.items()}
        content["seeds"] = list(range(self.seeds))
        content["claims"] = [claim.describe() for claim in self.claims]
        return content


def require_seeds(field: str, seeds: Any) -> None:
    """Raises `InputError` unless `seeds` is a possible number of seeds."""
    if type(seeds) is not int or not 1 <= seeds <= MOST_SEEDS:
        near = min(max(seeds, 1), MOST_SEEDS) if type(seeds) is int else None
        raise InputError(field, seeds, f"must be an integer from 1 to {MOST_SEEDS}", near)


def parse_packing(text: str) -> str | int:
    """The value of `--packing`: "auto", "off", or the most runs that train together.

    Raises:
        InputError: `text` is something else.
    """
    if text in ("auto", "off"):
        return text
    reason = f"must be auto, off or a number of runs from 1 to {LARGEST_PACK}"
    if not re.fullmatch(r"-?\d{1,9}", text):
        raise InputError("--packing", text, reason, nearest_name(text, ("auto", "off")) or "auto")
    if not 1 <= (size := int(text)) <= LARGEST_PACK:
        raise InputError("--packing", size, reason, min(max(size, 1), LARGEST_PACK))
    return size


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
    for seed in range(experiment.seeds):
        for arm, settings in experiment.arms.items():
            config = resolve(base, settings, {"seed": seed})
            runs.append(PlannedRun(arm, seed, config))
    arms: dict[str, str] = {}
    for run in runs:
        if run.id in arms:
            raise InputError("arm", run.arm, f"is the same run as arm {arms[run.id]!r}")
        arms[run.id] = run.arm
    return runs
