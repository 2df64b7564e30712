"""Declared looks: at which numbers of seeds the claims of a sweep are judged, and how they stand.

A claim is judged at a look once all of its arms have ended all seeds up to there, and at no other
number of seeds. It is decided at the first look at which its adjusted p-value is below 5%. Later
seeds do not change that, and its arms need none for its sake.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol, TypeVar

from xception_jax.json_values import as_list, as_text, as_whole
from xception_jax.records import FEWEST_PAIRS, SPENDING_NAMES
from xception_jax.statistics.json_types import Look, Verdicts
from xception_jax.statistics.sequential import LookDesign


@dataclass(frozen=True)
class Looks:
    """The looks of a sweep, as they were declared before there were results.

    Attributes:
        counts: number of seeds at each look; the last one is that of all seeds.
        spending: name of the function by which looks share a test's level, `sequential.spent`.
    """

    counts: tuple[int, ...]
    spending: str


@dataclass(frozen=True)
class Stage:
    """The place of a claim among the declared looks.

    Attributes:
        looks: the looks of the sweep.
        number: the last look at which the claim was judged, from 1; 0: it has reached none.
        pilot_seeds: number of first seeds on which it is not tested.
    """

    looks: Looks
    number: int
    pilot_seeds: int = 0

    @property
    def seeds(self) -> int:
        """Number of seeds, pilot seeds included, at the last look that was reached."""
        return self.looks.counts[self.number - 1] if self.number else 0

    @property
    def next_seeds(self) -> int | None:
        """Number of seeds at the next look; None: the last one was reached."""
        counts = self.looks.counts
        return counts[self.number] if self.number < len(counts) else None

    @property
    def tested(self) -> int:
        """Number of seeds that a claim is tested on when all looks are done."""
        return self.looks.counts[-1] - self.pilot_seeds

    @property
    def design(self) -> LookDesign:
        """The looks in differences."""
        sizes = tuple(count - self.pilot_seeds for count in self.looks.counts)
        return LookDesign(sizes, self.looks.spending)

    def smallest_p(self, *, one_sided: bool) -> float:
        """The least p-value that any differences can have by now."""
        return self.design.smallest_p(self.number - 1, one_sided=one_sided) if self.number else 1.0

    def describe(self) -> Look:
        """The stage as plain data, for `verdicts.json`."""
        return {
            "number": self.number,
            "seeds": self.seeds,
            "next_seeds": self.next_seeds,
            "looks": list(self.looks.counts),
            "spending": self.looks.spending,
        }

    def sentence(self) -> str:
        """The look as a verdict's sentence says it: `look 2 of 3, at 16 of 32 seeds; …`."""
        counts = self.looks.counts
        return (
            f"look {self.number} of {len(counts)}, at {self.seeds} of {counts[-1]} seeds; p and "
            f"intervals hold for all looks, which share the level by "
            f"{SPENDING_NAMES[self.looks.spending]} spending function"
        )

    def what_next(self) -> str:
        """The words that say when an open claim is judged next."""
        kind = "next" if self.number else "first"
        return f"the {kind} look is at {self.next_seeds} seeds, and it is judged at no other number"


def read_looks(entry: Mapping[str, Any], seeds: int) -> Looks | None:
    """The looks of a declaration in `sweep.json`; None: it has none that can be used.

    Args:
        entry: the declaration.
        seeds: number of its seeds.
    """
    counts = tuple(as_whole(count) or 0 for count in as_list(entry.get("looks")))
    spending = as_text(entry.get("spending"))
    if len(counts) < 2 or spending not in SPENDING_NAMES or counts[-1] != seeds:
        return None
    is_increasing = all(one < other for one, other in pairwise(counts))
    return Looks(counts, spending) if is_increasing and counts[0] >= FEWEST_PAIRS else None


def has_open_claim(verdicts: Verdicts) -> bool:
    """Whether a claim of `verdicts.json` waits for a look, whose runs may not be listed yet."""
    return any(claim["verdict"] == "open" for claim in verdicts["claims"])


class Staged(Protocol):
    """A claim with its tests at one look."""

    @property
    def stage(self) -> Stage | None:
        """The claim's place among the looks; None where it cannot be tested at all."""


AnyStaged = TypeVar("AnyStaged", bound=Staged)


def by_looks(
    looks: Looks,
    claims: int,
    case_at: Callable[[int, int], AnyStaged | None],
    is_decided: Callable[[AnyStaged, Sequence[AnyStaged]], bool],
) -> list[AnyStaged]:
    """Every claim at the look at which it was decided, or at the last that it has reached.

    The p-values over looks only fall. So a claim that is decided with those that the other claims
    have now stays decided with those that they will have.

    Args:
        looks: the declared looks.
        claims: number of claims.
        case_at: gives a claim at a look, both by number: claims from 0, looks from 1; None: it has
            not reached that look. For look 0 there is always one.
        is_decided: whether a claim is decided, beside all claims as they stand.
    """
    cases = []
    for claim in range(claims):
        first = case_at(claim, 0)
        assert first is not None
        cases.append(first)
    for number in range(1, len(looks.counts) + 1):
        open_claims = [at for at, case in enumerate(cases) if not is_decided(case, cases)]
        for at in open_claims:
            stage = cases[at].stage
            if stage is not None and stage.number == number - 1:
                cases[at] = case_at(at, number) or cases[at]
    return cases
