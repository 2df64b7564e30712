"""The declaration of tuning: which settings each arm gets values of its own for, and from where."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from xception_jax.config import SETTINGS, resolve
from xception_jax.errors import InputError
from xception_jax.statistics.selection import Point
from xception_jax.sweep.claim import is_number

MOST_EXTENSIONS = 2
"""How often a grid is extended, at most, where the best value of an arm lies at its edge."""
HIGHEST_SEED = 2_000_000_000
"""Seeds of tuning count down from here, and stay above all that a sweep can have."""
_MOST_SEEDS = 1000
_MOST_POINTS = 10_000
# Settings that change what the values are judged by, or how much compute an arm gets.
_FIXED = ("seed", "train.epochs", "train.evaluate_every_epochs")


@dataclass(frozen=True)
class Tune:
    """A choice, before the verdict's runs, of the best values of one or two settings for each arm.

    All arms try the same values on the same seeds, which no verdict uses, and are judged by the
    last validation; the test split is not evaluated. The best mean wins, ties go to the smaller
    value, and a run that diverges counts as chance. Where the best value of any arm lies at an edge
    of the grid, the grid gets one more value there, for all arms; at most twice.

    Attributes:
        settings: dotted name of a setting with numbers as values, or two names.
        values: its values, at least two; of two settings a tuple for each, whose product is tried.
        seeds: number of seeds of each value and arm.
        epochs: epochs of a tuning run; None: those of the verdict's runs.

    Raises:
        InputError: no such setting, a value that is not valid for it, or too few or many of them.
    """

    settings: Any
    values: Any
    seeds: int = 2
    epochs: float | None = None

    def __post_init__(self) -> None:
        one = isinstance(self.settings, str)
        names = (self.settings,) if one else self.settings
        if not isinstance(names, (tuple, list)) or not all(isinstance(n, str) for n in names):
            raise InputError("tune.settings", names, "must be the name of a setting, or two")
        if len(names) not in (1, 2) or len(set(names)) < len(names):
            raise InputError("tune.settings", names, "must be one setting, or two that differ")
        lists = (self.values,) if one else self.values
        if not isinstance(lists, (tuple, list)) or len(lists) != len(names):
            raise InputError("tune.values", self.values, "must be a tuple of values a setting")
        grid = tuple(_checked(name, of_name) for name, of_name in zip(names, lists, strict=True))
        if (points := math.prod(map(len, grid))) > _MOST_POINTS:
            raise InputError("tune.values", points, f"are more than {_MOST_POINTS} combinations")
        object.__setattr__(self, "settings", tuple(names))
        object.__setattr__(self, "values", grid)
        if type(self.seeds) is not int or not 1 <= self.seeds <= _MOST_SEEDS:
            near = min(max(self.seeds, 1), _MOST_SEEDS) if type(self.seeds) is int else None
            reason = f"must be an integer from 1 to {_MOST_SEEDS}"
            raise InputError("tune.seeds", self.seeds, reason, near)
        if self.epochs is not None:
            epochs = resolve({"train.epochs": self.epochs}).train.epochs
            object.__setattr__(self, "epochs", epochs)

    @cached_property
    def seed_numbers(self) -> tuple[int, ...]:
        """The seeds, from the highest down."""
        return tuple(HIGHEST_SEED - number for number in range(self.seeds))

    @property
    def epoch_settings(self) -> dict[str, float]:
        """The epochs as settings; empty where tuning runs have those of the verdict's."""
        return {} if self.epochs is None else {"train.epochs": self.epochs}

    def describe(self) -> dict[str, Any]:
        """The declaration as plain data."""
        return {
            "settings": list(self.settings),
            "values": [list(values) for values in self.values],
            "seeds": self.seeds,
            "epochs": self.epochs,
        }

    @staticmethod
    def read(described: Any) -> "Tune | None":
        """The declaration from plain data, None from None.

        Raises:
            InputError, TypeError, KeyError: it is not one.
        """
        if described is None:
            return None
        return Tune(
            tuple(described["settings"]),
            tuple(tuple(values) for values in described["values"]),
            described["seeds"],
            described["epochs"],
        )

    def require_unset(self, arm: str, settings: Mapping[str, Any]) -> None:
        """Raises `InputError` if an arm sets itself what is tuned, or a group that holds it."""
        for name in self.settings:
            for other in settings:
                if overlap(name, other):
                    reason = f"is what experiment.tune chooses for each arm (arm {arm!r})"
                    raise InputError(other, settings[other], reason)


def overlap(name: str, other: str) -> bool:
    """Whether two dotted names are of one setting, or of a group and a setting in it."""
    return f"{name}.".startswith(f"{other}.") or f"{other}.".startswith(f"{name}.")


def _checked(name: str, values: Any) -> Point:
    """The increasing values of a setting, each of them valid by itself."""
    if name in _FIXED or (name.startswith("data.") and name != "data.padding"):
        raise InputError("tune.settings", name, "is the same for all runs that are compared")
    if name in SETTINGS and not SETTINGS[name].identity:
        raise InputError("tune.settings", name, "changes no result")
    if not isinstance(values, (tuple, list)):
        raise InputError("tune.values", values, f"must be a tuple of values of {name}")
    for value in values:
        if not is_number(value) or not math.isfinite(value):
            raise InputError("tune.values", value, f"must be numbers ({name})")
        resolve({name: value})
    distinct = tuple(sorted(set(values)))
    if len(distinct) < len(values) or len(distinct) < 2:
        reason = f"must be two or more values that differ ({name})"
        raise InputError("tune.values", tuple(values), reason)
    return distinct
