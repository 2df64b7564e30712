"""A sweep's claims with their endpoints and tests, as `verdicts` judges them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Protocol, TypeVar

from xception_jax.records import FEWEST_PAIRS
from xception_jax.statistics.claims import RecordedClaim, recorded_claims
from xception_jax.statistics.declared import Declared, Plan, plan_of, read_declared
from xception_jax.statistics.endpoints import Measured, Outcome, measure
from xception_jax.statistics.location import Differences, LocationTest
from xception_jax.statistics.looks import Looks, Stage, by_looks
from xception_jax.statistics.paired import holm
from xception_jax.statistics.power import ALPHA
from xception_jax.statistics.results import Sweep
from xception_jax.statistics.runs import Runs
from xception_jax.statistics.sequential import SequentialTest


@dataclass(frozen=True)
class Case:
    """A claim with its endpoints, as the runs have them, and their tests.

    Attributes:
        claim: the claim.
        outcome: its seeds and endpoints.
        plan: its seeds as planned and as tested.
        p_values: p-value of each endpoint; empty where there are too few pairs to test.
        sides: whether the effect is where the claim has it, for each endpoint.
        stage: the claim's place among the declared looks; None: there are none.
        ceiling: adjusted p-value of a claim over all bases that cannot be true without this one.
    """

    claim: RecordedClaim
    outcome: Outcome
    plan: Plan
    p_values: tuple[float, ...] = ()
    sides: tuple[bool, ...] = ()
    stage: Stage | None = None
    ceiling: float = 1.0

    def test(self, endpoint: Measured) -> LocationTest:
        """The test of an endpoint's differences."""
        return location_test(self.claim, endpoint.differences, self.stage)

    @property
    def p(self) -> float:
        """The largest p, if the endpoints agree on what is so; else nothing can be concluded."""
        return min(self.p_on(side=True), self.p_on(side=False))

    def p_on(self, *, side: bool) -> float:
        """The largest p, if all endpoints are where the claim has them (`side`), or if none is."""
        agree = all(actual == side for actual in self.sides)
        return max(self.p_values, default=1.0) if agree else 1.0

    @property
    def runs_used(self) -> set[tuple[str, int]]:
        """Arm and seed of every run that the verdict rests on; none where nothing was tested."""
        seeds = self.outcome.seeds if self.p_values else ()
        return set(product(self.claim.arms, seeds))

    @property
    def is_one_sided(self) -> bool:
        """Whether two one-sided tests look for equivalence, instead of one for a difference."""
        return self.claim.is_equivalence and bool(self.sides) and all(self.sides)


def read_cases(runs: Runs) -> list[Case]:
    """Every claim with its tests: on all of the runs, or on those up to its look."""
    sweep = runs.sweep
    declared, claims = read_declared(sweep), recorded_claims(sweep)
    if declared.looks is None:
        return [_case(runs, claim, declared) for claim in claims]
    at_look = cases_at_looks(sweep, declared.looks)

    def case_at(at: int, number: int) -> Case | None:
        case = at_look(at, number)
        return case if number == 0 or case.p_values else None

    return by_looks(declared.looks, len(claims), case_at, is_decided)


def cases_at_looks(sweep: Sweep, looks: Looks) -> Callable[[int, int], Case]:
    """Gives every claim as it stands at a look, both by number; 0 is before the first look.

    A claim that has not reached the look has no p-values there.
    """
    declared, claims = read_declared(sweep), recorded_claims(sweep)
    runs_at = [Runs(sweep, (declared.seeds or ())[:count]) for count in looks.counts]

    def case_at(at: int, number: int) -> Case:
        stage = Stage(looks, number, claims[at].pilot_seeds)
        return _case(runs_at[max(0, number - 1)], claims[at], declared, stage)

    return case_at


class Judged(Protocol):
    """A claim with one p-value: on one base, or over all."""

    @property
    def claim(self) -> RecordedClaim:
        """The claim."""

    @property
    def p(self) -> float:
        """Its p-value, not adjusted."""

    @property
    def ceiling(self) -> float:
        """The largest value that its adjusted p-value can have."""


AnyCase = TypeVar("AnyCase", bound=Judged)


def is_decided(case: Judged, cases: Sequence[Judged]) -> bool:
    """Whether the verdict on a claim is significant, beside all claims as they stand."""
    return adjusted_p(case, family_of(case, cases), case.p) < ALPHA


def family_of(case: AnyCase, cases: Sequence[AnyCase]) -> Sequence[AnyCase]:
    """The claims over which the p-value of this one is adjusted."""
    if case.claim.post_hoc:
        return cases
    return [other for other in cases if not other.claim.post_hoc]


def adjusted_p(case: Judged, family: Sequence[Judged], p: float) -> float:
    """The Holm-adjusted p-value of this claim, if its p-value were `p`."""
    at = next(number for number, other in enumerate(family) if other is case)
    values = [p if number == at else other.p for number, other in enumerate(family)]
    return min(float(holm(values)[at]), max(p, case.ceiling))


def _case(runs: Runs, claim: RecordedClaim, declared: Declared, stage: Stage | None = None) -> Case:
    outcome = measure(runs, claim)
    if claim.problem:
        return Case(claim, outcome, Plan())
    if stage is not None:
        outcome = replace(outcome, planned=stage.tested)
        if not stage.number:  # before its first look, nothing is tested or shown
            return Case(claim, replace(outcome, seeds=(), endpoints=()), Plan(), stage=stage)
        case = Case(claim, outcome, Plan(planned=outcome.seeds), stage=stage)
        is_reached = len(outcome.seeds) == stage.seeds - claim.pilot_seeds
        return _tested(case) if is_reached else case
    present, pilot = runs.seeds(claim.arms), claim.pilot_seeds
    plan = plan_of(declared, present, outcome.seeds, pilot_seeds=pilot)
    outcome = replace(outcome, planned=len(plan.planned))
    if len(outcome.seeds) < FEWEST_PAIRS:
        return Case(claim, outcome, plan)
    return _tested(Case(claim, outcome, plan))


def _tested(case: Case) -> Case:
    tested = [_test(case, endpoint) for endpoint in case.outcome.endpoints]
    p_values, sides = zip(*tested, strict=True)
    return replace(case, p_values=p_values, sides=sides)


def location_test(
    claim: RecordedClaim, differences: Differences, stage: Stage | None
) -> LocationTest:
    """The test of a claim's differences, one a seed; at a look it holds for all looks."""
    if stage is None:
        return LocationTest(differences, claim.test)
    return SequentialTest(differences, claim.test, design=stage.design)


def _test(case: Case, endpoint: Measured) -> tuple[float, bool]:
    """P-value, and whether the effect is on the claim's side of its null, or inside its margin."""
    claim, test = case.claim, case.test(endpoint)
    if not claim.is_equivalence:
        null = null_of(claim, endpoint)
        side = claim.side(higher_is_better=endpoint.higher_is_better)
        return test.p(null), side * (test.estimate - null) >= 0
    assert claim.margin is not None
    if abs(test.estimate) < claim.margin:
        return test.p_within(claim.margin), True
    return test.p_beyond(claim.margin), False


def null_of(claim: RecordedClaim, endpoint: Measured) -> float:
    """The difference from which effects are counted: zero for an equivalence."""
    if claim.is_equivalence:
        return 0.0
    return claim.null(higher_is_better=endpoint.higher_is_better)
