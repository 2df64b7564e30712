"""An experiment: a question, a base config, arms, seeds and the claims made before the runs."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

from xception_jax.config import Config, resolve, run_id
from xception_jax.errors import InputError, nearest_name, require_choice
from xception_jax.records import SPENDINGS, STEPS_TO_TARGET
from xception_jax.sweep.bases import (
    ArmsOn,
    read_bases,
    require_arms_on,
    require_at_least,
    require_targets,
)
from xception_jax.sweep.contrast_claims import AnyClaim
from xception_jax.sweep.factors import arms_of, read_factors, require_arms
from xception_jax.sweep.looks import checked_looks
from xception_jax.sweep.names import require_name
from xception_jax.sweep.tune import Tune

MOST_SEEDS = 10_000
MOST_FIRST_SEED = 1_000_000_000


@dataclass(frozen=True)
class Experiment:
    """An experiment, as the function of an experiment file returns it.

    Attributes:
        name: name of the experiment; a letter or digit, then letters, digits, '_', '.', '-'.
        hypothesis: the hypothesis, in a sentence.
        base: path of the config file that all arms start from, relative to the experiment file;
            or of several, as a tuple or by name, `{name: path, …}`: the claims are then judged on
            each, and over all. With `--base` others take their place.
        arms: for each arm's name the settings, with dotted names, that it changes.
        seeds: number of seeds.
        claims: claims, decided before the runs.
        reference: the source of the question.
        equal: "parameters" or "macs": every arm gets the width at which it has as many as the
            first arm, within 1% (`planning.budget`); empty: widths are as they are.
        target: validation accuracy of "steps to target", in all claims and tables, with several
            bases one for each by name; None: the one that a claim declares, or else 95% of the mean
            that all runs (of a base) reach at their end.
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
        in_at_least: number of the bases on which a claim must hold; None: all of them.
        arms_on: for each of several bases, the one of `arms` that stands on it for each arm that
            claims name, see `sweep.bases`. Only `sweep.loading` and `sweep.recorded` give it; while
            it is empty, claims name `arms` themselves.
    """

    name: str
    hypothesis: str
    base: str | Sequence[str] | Mapping[str, str]
    arms: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    seeds: int = 0
    claims: tuple[AnyClaim, ...] = ()
    reference: str = ""
    equal: str = ""
    target: float | Mapping[str, float] | None = None
    tune: Tune | None = None
    tuned: Mapping[str, Any] | None = field(default=None, repr=False)
    factors: Mapping[Any, Any] = field(default_factory=dict)
    looks: tuple[int, ...] = ()
    spending: str = SPENDINGS[0]
    first_seed: int = 0
    in_at_least: int | None = None
    arms_on: ArmsOn = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "base", read_bases(self.base))
        object.__setattr__(self, "factors", read_factors(self.factors))
        if self.factors and not self.arms:
            object.__setattr__(self, "arms", arms_of(self.factors))
        self._require_types()
        require_name("experiment.name", self.name)
        for arm in self.arms:
            require_name("arm", arm)
        if not self.arms:
            raise InputError("experiment.arms", self.arms, "there must be at least one arm")
        self._require_bases()
        require_seeds("experiment.seeds", self.seeds)
        require_first_seed("experiment.first_seed", self.first_seed)
        require_choice("experiment.equal", self.equal, ("", "parameters", "macs"))
        object.__setattr__(self, "claims", tuple(c.bind(self.factors) for c in self.claims))
        object.__setattr__(self, "claims", self._with_one_target())
        for number, claim in enumerate(self.claims):
            if claim in self.claims[:number]:
                raise InputError("experiment.claims", claim, "is declared twice")
            for arm in claim.arms:
                if arm not in self.claimed_arms:
                    near = nearest_name(arm, self.claimed_arms)
                    raise InputError("claim", arm, "names an arm that does not exist", near)
        require_choice("experiment.spending", self.spending, SPENDINGS)
        object.__setattr__(self, "looks", checked_looks(self.looks, self.seeds, self.claims))

    @property
    def all_seeds(self) -> range:
        """The seeds of the experiment, in order."""
        return range(self.first_seed, self.first_seed + self.seeds)

    @property
    def bases(self) -> dict[str, str]:
        """The paths of several bases by name; empty where there is one."""
        return {} if isinstance(self.base, str) else dict(self.base)  # type: ignore[arg-type]

    def describe_bases(self) -> str:
        """The bases in a line, such as `mini: configs/mini.py; wide: …`; empty for a single one."""
        return "; ".join(f"{name}: {path}" for name, path in self.bases.items())

    @property
    def at_least(self) -> int:
        """Number of the bases on which a claim must hold."""
        return self.in_at_least or len(self.bases) or 1

    @property
    def claimed_arms(self) -> tuple[str, ...]:
        """The names by which claims call the arms, the same on every base."""
        return tuple(next(iter(self.arms_on.values()), self.arms))

    @property
    def compared_arms(self) -> tuple[tuple[str, ...], ...]:
        """The groups of arms that are compared with each other: one for each base, or all arms."""
        return tuple(tuple(of.values()) for of in self.arms_on.values()) or (tuple(self.arms),)

    def _require_bases(self) -> None:
        """Raises `InputError` unless bases, arms, factors and targets go together."""
        require_at_least(self.in_at_least, self.bases)
        require_targets("experiment.target", self.target, self.bases)
        if self.arms_on:
            require_arms_on(self.arms_on, self.bases, self.arms)
        for arms in self.compared_arms if self.factors else ():
            require_arms(
                self.factors,
                {
                    claimed: self.arms[arm]
                    for claimed, arm in zip(self.claimed_arms, arms, strict=True)
                },
                on_base=bool(self.arms_on),
                free=("model.width",) if self.equal else (),
            )

    def _with_one_target(self) -> tuple[AnyClaim, ...]:
        """The claims, those about steps to a target with the one target of the experiment.

        Raises:
            InputError: there are several, or several ways to get it from the runs.
        """
        timed = [claim for claim in self.claims if STEPS_TO_TARGET in claim.endpoints]
        declared = [self.target, *(claim.target for claim in timed)]
        targets = [target for target in declared if target is not None]
        for other in targets:
            require_targets("claim.target", other, self.bases)
            if other != targets[0]:
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
        for name in ("hypothesis", "reference", "equal"):
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
        content["claims"] = self.described_claims()
        content["looks"] = list(self.looks)
        left_out = {"first_seed"} | (set() if self.looks else {"looks", "spending"})
        left_out |= set() if self.factors else {"factors"}
        left_out |= set() if self.bases else {"in_at_least", "arms_on"}
        return {name: value for name, value in content.items() if name not in left_out}

    def claimed_endpoints(self) -> dict[str, set[str]]:
        """The endpoints that claims ask of the runs of each arm."""
        endpoints: dict[str, set[str]] = {arm: set() for arm in self.arms}
        for arms in self.compared_arms:
            by_claimed_name = dict(zip(self.claimed_arms, arms, strict=True))
            for claim in self.claims:
                for claimed in claim.arms:
                    endpoints[by_claimed_name[claimed]] |= set(claim.endpoints)
        return endpoints

    def described_claims(self) -> list[dict[str, Any]]:
        """The claims as plain data, with the bases that each is about where there are several."""
        about = {"bases": list(self.bases), "at_least": self.at_least} if self.bases else {}
        return [{**claim.describe(), **about} for claim in self.claims]


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
        """The arm as a line of progress names it."""
        return self.arm

    @property
    def name(self) -> str:
        """The name of the run, `<arm>-s<seed>`."""
        return f"{self.arm}-s{self.seed}"

    @property
    def directory(self) -> str:
        """The run's directory, relative to the sweep's; ends in the first 8 digits of the id."""
        return f"runs/{self.name}-{self.id[:8]}"


class PlannedSweep(NamedTuple):
    """An experiment, the config from which its arms start, and the runs of it that are to be."""

    experiment: Experiment
    base: Config
    runs: Sequence[PlannedRun]


def plan_sweep(experiment: Experiment, base: Config) -> PlannedSweep:
    """The experiment with every run of it; raises as `plan_runs` does."""
    return PlannedSweep(experiment, base, plan_runs(experiment, base))


def plan_runs(experiment: Experiment, base: Mapping[str, Any] | Config) -> list[PlannedRun]:
    """Every run of the experiment, all arms of a seed before the next seed.

    In that order a sweep that is stopped early still has pairs to compare.

    Raises:
        InputError: a setting that does not exist or is not valid; two arms that are the same run.
    """
    if experiment.bases and not experiment.arms_on:
        reason = "are several: load_experiment reads them and puts the arms on each"
        raise InputError("experiment.base", experiment.base, reason)
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
