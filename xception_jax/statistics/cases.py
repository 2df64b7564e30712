"""A sweep's claims with their endpoints and tests, as `verdicts` judges them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

from xception_jax.records import FEWEST_PAIRS
from xception_jax.statistics.claims import RecordedClaim, recorded_claims
from xception_jax.statistics.declared import Declared, Plan, plan_of, read_declared
from xception_jax.statistics.endpoints import Measured, Outcome, Runs, measure
from xception_jax.statistics.location import LocationTest
from xception_jax.statistics.looks import Stage, by_looks
from xception_jax.statistics.paired import holm
from xception_jax.statistics.power import ALPHA
from xception_jax.statistics.sequential import SequentialTest


@dataclass(frozen=True)
class Case:
    """A claim, its endpoints as the runs have them, and their tests.

    Attributes:
        plan: its seeds as planned and as tested.
        p_values: of each endpoint; empty where there are too few pairs to test.
        sides: of each endpoint whether the effect is where the claim has it.
        stage: its place among the declared looks; None: there are none.
    """

    claim: RecordedClaim
    outcome: Outcome
    plan: Plan
    p_values: tuple[float, ...] = ()
    sides: tuple[bool, ...] = ()
    stage: Stage | None = None

    def test(self, endpoint: Measured) -> LocationTest:
        """The test of an endpoint's differences."""
        return _location_test(self.claim, endpoint, self.stage)

    @property
    def p(self) -> float:
        """The largest p, if the endpoints agree on what is so; else nothing can be concluded."""
        return max(self.p_values, default=1.0) if len(set(self.sides)) == 1 else 1.0

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
    looks, seeds = declared.looks, declared.seeds or ()
    if looks is None:
        return [_case(runs, claim, declared) for claim in claims]
    runs_at = [Runs(sweep, seeds[:count]) for count in looks.counts]

    def case_at(at: int, number: int) -> Case | None:
        claim = claims[at]
        stage = Stage(looks, number, claim.pilot_seeds)
        case = _case(runs_at[max(0, number - 1)], claim, declared, stage)
        return case if number == 0 or case.p_values else None

    def is_decided(case: Case, cases: Sequence[Case]) -> bool:
        return adjusted_p(case, family_of(case, cases), case.p) < ALPHA

    return by_looks(looks, len(claims), case_at, is_decided)


def family_of(case: Case, cases: Sequence[Case]) -> Sequence[Case]:
    """The claims over which the p-value of this one is adjusted."""
    return cases if case.claim.post_hoc else [each for each in cases if not each.claim.post_hoc]


def adjusted_p(case: Case, family: Sequence[Case], p: float) -> float:
    """The Holm-adjusted p-value of this claim, if its p-value were `p`."""
    at = next(number for number, other in enumerate(family) if other is case)
    values = [p if number == at else other.p for number, other in enumerate(family)]
    return float(holm(values)[at])


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


def _location_test(claim: RecordedClaim, endpoint: Measured, stage: Stage | None) -> LocationTest:
    if stage is None:
        return LocationTest(endpoint.differences, claim.test)
    return SequentialTest(endpoint.differences, claim.test, design=stage.design)


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
