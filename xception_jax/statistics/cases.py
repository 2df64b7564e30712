"""A sweep's claims with their endpoints and tests, as `verdicts` judges them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Protocol, TypeVar

from xception_jax.records import FEWEST_PAIRS
from xception_jax.statistics.claims import RecordedClaim, recorded_claims
from xception_jax.statistics.declared import Declared, Plan, plan_of, read_declared
from xception_jax.statistics.endpoints import Measured, Outcome, measure
from xception_jax.statistics.evidence import Evidence, combine, weigh
from xception_jax.statistics.json_types import Interval
from xception_jax.statistics.location import Differences, LocationTest, smallest_p
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
        by_endpoint: evidence of each endpoint; empty where there are too few pairs to test.
        stage: the claim's place among the declared looks; None: there are none.
        ceiling: adjusted p-value of a claim over all bases that cannot be true without this one.
    """

    claim: RecordedClaim
    outcome: Outcome
    plan: Plan
    by_endpoint: tuple[Evidence, ...] = ()
    stage: Stage | None = None
    ceiling: float = 1.0

    def test(self, endpoint: Measured) -> LocationTest:
        """The test of an endpoint's differences."""
        return location_test(self.claim, endpoint.differences, self.stage)

    @property
    def is_tested(self) -> bool:
        """Whether there are enough pairs to test it."""
        return bool(self.by_endpoint)

    @property
    def is_at_look(self) -> bool:
        """Whether it is tested at its look, or cannot be though all of its runs there have ended.

        No run would change the latter, so later looks do not wait for it.
        """
        if self.is_tested or self.stage is None or not self.stage.number:
            return True
        return self.outcome.problem != "" and self.outcome.ended == self.stage.seeds

    @property
    def evidence(self) -> Evidence:
        """The evidence that all endpoints agree on: its p-value is the largest of theirs."""
        count = len(self.by_endpoint)
        return combine(self.by_endpoint, count) if count else Evidence()

    @property
    def runs_used(self) -> set[tuple[str, int]]:
        """Arm and seed of every run that the verdict rests on; none where nothing was tested."""
        seeds = self.outcome.seeds if self.is_tested else ()
        return set(product(self.claim.arms, seeds))

    @property
    def is_one_sided(self) -> bool:
        """Whether it is an equivalence with all estimates inside: then its tests are one-sided."""
        estimates = [endpoint.estimate_agrees for endpoint in self.by_endpoint]
        return self.claim.is_equivalence and bool(estimates) and all(estimates)

    @property
    def smallest_p(self) -> float:
        """The least p-value that so many seeds can give the claim."""
        if self.stage is not None:
            return self.stage.smallest_p(one_sided=self.is_one_sided)
        return smallest_p(len(self.outcome.seeds), one_sided=self.is_one_sided)


def read_cases(runs: Runs) -> list[Case]:
    """Every claim with its tests: on all of the runs, or on those up to its look."""
    sweep = runs.sweep
    declared, claims = read_declared(sweep), recorded_claims(sweep)
    if declared.looks is None:
        return [_case(runs, claim, declared) for claim in claims]
    at_look = cases_at_looks(sweep, declared.looks)

    def case_at(at: int, number: int) -> Case | None:
        case = at_look(at, number)
        return case if case.is_at_look else None

    return by_looks(declared.looks, len(claims), case_at, is_decided)


def cases_at_looks(sweep: Sweep, looks: Looks) -> Callable[[int, int], Case]:
    """A function that gives every claim as it stands at a look.

    Its arguments are the index of the claim, from 0, and the number of the look, from 1; 0 is
    before the first. A claim that has not reached the look is not tested there.
    """
    declared, claims = read_declared(sweep), recorded_claims(sweep)
    runs_at = [Runs(sweep, (declared.seeds or ())[:count]) for count in looks.counts]

    def case_at(at: int, number: int) -> Case:
        stage = Stage(looks, number, claims[at].pilot_seeds)
        return _case(runs_at[max(0, number - 1)], claims[at], declared, stage)

    return case_at


class Judged(Protocol):
    """A claim with its evidence: on one base, or over all."""

    @property
    def claim(self) -> RecordedClaim:
        """The claim."""

    @property
    def evidence(self) -> Evidence:
        """Its p-value, not adjusted, and whether that speaks for the claim."""

    @property
    def is_tested(self) -> bool:
        """Whether there is enough to test it."""

    @property
    def stage(self) -> Stage | None:
        """Its place among the declared looks; None: there are none."""

    @property
    def ceiling(self) -> float:
        """The largest value that its adjusted p-value can have."""


AnyCase = TypeVar("AnyCase", bound=Judged)


def is_decided(case: Judged, cases: Sequence[Judged]) -> bool:
    """Whether the verdict on a claim is significant, beside all claims as they stand."""
    return adjusted_p(case, family_of(case, cases), case.evidence.p) < ALPHA


def family_of(case: AnyCase, cases: Sequence[AnyCase]) -> Sequence[AnyCase]:
    """The claims over which the p-value of this one is adjusted."""
    if case.claim.post_hoc:
        return cases
    return [other for other in cases if not other.claim.post_hoc]


def adjusted_p(case: Judged, family: Sequence[Judged], p: float) -> float:
    """The Holm-adjusted p-value of this claim, if its p-value were `p`."""
    at = next(number for number, other in enumerate(family) if other is case)
    values = [p if number == at else other.evidence.p for number, other in enumerate(family)]
    return min(float(holm(values)[at]), max(p, case.ceiling))


def verdict_of(case: Judged, family: Sequence[Judged]) -> str:
    """The verdict on a claim, beside the other claims of its family."""
    if adjusted_p(case, family, case.evidence.p) < ALPHA:
        if not case.evidence.for_claim:
            return "opposite"
        return "equivalent" if case.claim.is_equivalence else "supported"
    if case.stage is not None and case.stage.next_seeds is not None:
        return "open"
    return "inconclusive" if case.is_tested else "not tested"


def _case(runs: Runs, claim: RecordedClaim, declared: Declared, stage: Stage | None = None) -> Case:
    outcome = measure(runs, claim)
    if claim.problem:
        return Case(claim, outcome, Plan())
    if outcome.problem:
        outcome = replace(outcome, seeds=(), endpoints=(), notes=())
    if stage is not None:
        outcome = _complete_at(stage, replace(outcome, planned=stage.tested))
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


def _complete_at(stage: Stage, outcome: Outcome) -> Outcome:
    """The outcome, which has a problem if all runs up to the look have ended, some without a value.

    Its test holds at the declared numbers of seeds alone.
    """
    pairs, known = stage.seeds - stage.pilot_seeds, len(outcome.seeds)
    if outcome.problem or outcome.ended < stage.seeds or known >= pairs:
        return outcome
    few = f"{known} of {pairs} seeds have ended with a value to test, and a look takes all of them"
    return replace(outcome, seeds=(), endpoints=(), notes=(), problem=few)


def _tested(case: Case) -> Case:
    evidence = tuple(_test(case, endpoint) for endpoint in case.outcome.endpoints)
    return replace(case, by_endpoint=evidence)


def location_test(
    claim: RecordedClaim, differences: Differences, stage: Stage | None
) -> LocationTest:
    """The test of a claim's differences, one a seed; at a look it holds for all looks."""
    if stage is None:
        return LocationTest(differences, claim.test)
    return SequentialTest(differences, claim.test, design=stage.design)


def _test(case: Case, endpoint: Measured) -> Evidence:
    """The evidence of one endpoint, on the claim's side of its null or inside its margin."""
    claim, test = case.claim, case.test(endpoint)
    if claim.is_equivalence:
        assert claim.margin is not None
        is_inside = abs(test.estimate) < claim.margin
        within, beyond = test.p_within(claim.margin), test.p_beyond(claim.margin)
        return weigh(within, beyond, estimate_agrees=is_inside, one_sided=True)
    null = null_of(claim, endpoint)
    sign = claim.sign(higher_is_better=endpoint.higher_is_better)
    tails = [min(1.0, 2 * tail) for tail in (test.p_above(null), test.p_below(null))]
    p_for, p_opposite = tails if sign > 0 else reversed(tails)
    return weigh(p_for, p_opposite, estimate_agrees=sign * (test.estimate - null) >= 0)


def stated_interval(ends: tuple[float, float]) -> Interval:
    """An interval as plain data: null where its ends are not finite, or where it is empty."""
    low, high = ends
    if low > high:
        return {"interval": None, "interval_is_empty": True}
    return {"interval": [low, high] if math.isfinite(low) else None}


def null_of(claim: RecordedClaim, endpoint: Measured) -> float:
    """The difference from which effects are counted: zero for an equivalence."""
    if claim.is_equivalence:
        return 0.0
    return claim.null(higher_is_better=endpoint.higher_is_better)
