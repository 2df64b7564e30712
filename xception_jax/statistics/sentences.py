"""Says a verdict in one sentence that a paper could print."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from xception_jax.records import FEWEST_PAIRS
from xception_jax.statistics import sequential
from xception_jax.statistics.cases import Case
from xception_jax.statistics.claims import RecordedClaim
from xception_jax.statistics.contrasts import Contrast
from xception_jax.statistics.declared import Plan
from xception_jax.statistics.endpoints import Measured, Outcome
from xception_jax.statistics.evidence import Evidence
from xception_jax.statistics.json_types import EndpointVerdict
from xception_jax.statistics.location import EXACT_UP_TO, smallest_n
from xception_jax.statistics.power import ALPHA, MOST_SEEDS, POWER
from xception_jax.statistics.recorded_tuning import describe_tuning
from xception_jax.statistics.results import Sweep
from xception_jax.statistics.statements import state_verdict

_FRESH = "other seeds than these, in a new directory, since seeds added here come after results"
_PLANNED_FIRST = "the planned seeds that are missing come first"
CONTRADICTION = "the looks contradict each other: no value is held by all of them"
"""The reason why an interval over looks is empty."""


@dataclass(frozen=True)
class Finding:
    """The verdict on a claim with all that its sentence says.

    Attributes:
        case: the claim with its endpoints and tests.
        verdict: the verdict, see `verdicts`.
        endpoints: the endpoints as in `verdicts.json`, in the order of the outcome's.
        family: number of claims that the p-values are adjusted for, of several bases on each.
        least_p: the smallest adjusted p that so many seeds could have given this claim, beside the
            p-values of the other claims.
        bases: number of bases; 0: there is one, and the sentence does not speak of it.
    """

    case: Case
    verdict: str
    endpoints: Sequence[EndpointVerdict]
    family: int
    least_p: float
    bases: int = 0

    @property
    def n(self) -> int:
        """The number of pairs of runs, or for an interaction of quadruples."""
        return len(self.case.outcome.seeds)


def sentence(sweep: Sweep, finding: Finding) -> str:
    """One sentence: where, what, how much, how sure. It claims nothing beyond the runs."""
    claim, outcome, stage = finding.case.claim, finding.case.outcome, finding.case.stage
    where = scope(sweep, claim)
    if finding.verdict == "not tested":
        return f"{where}the claim “{claim.title}” was not tested: {_why_not(finding)}."
    if not finding.endpoints and stage is not None:
        next_look = "; ".join(filter(None, (stage.what_next(), outcome.problem)))
        return f"{where}the claim “{claim.title}” is open: {next_look}."
    pairs = zip(outcome.endpoints, finding.endpoints, strict=True)
    numbers = "; ".join(_numbers(measured, endpoint) for measured, endpoint in pairs)
    next_step = f"; {_what_next(finding)}" if finding.verdict == "inconclusive" else ""
    if finding.verdict == "open" and stage is not None:
        next_step = f"; {stage.what_next()}"
    assert claim.contrast is not None
    statement = state_verdict(claim.contrast, claim, finding.verdict)
    tuned = describe_tuning(sweep, claim.arms)
    return f"{where}{statement}{tuned}: {numbers} ({_basis(finding)}){next_step}."


def scope(sweep: Sweep, claim: RecordedClaim) -> str:
    """The beginning of a sentence: `On fashion_mnist_mini (xception_tiny, 844 steps, …), `."""
    data, *rest = setting_of(sweep, claim) or [""]
    return f"On {data} ({', '.join(rest)}), " if data else ""


def setting_of(sweep: Sweep, claim: RecordedClaim) -> list[str]:
    """The data, the model and the budget of the runs of a claim; empty where none has begun."""
    runs = [run for run in sweep.runs if run.arm in claim.arms and run.status != "planned"]
    sizes = {
        "training image": _once(f"{run.train_examples:,}" for run in runs if run.train_examples),
        "step": _once(f"{run.steps:,}" for run in runs if run.steps),
        "epoch": _once(f"{run.epochs:g}" for run in runs if run.epochs),
    }
    counts = (f"{n} {noun}{'s' * (n != '1')}" for noun, n in sizes.items() if n)
    parts = [_once(run.model for run in runs), *counts]
    if any(run.settings.get("data.split_seed") == "seed" for run in runs):
        parts.append("a split of its own for each seed")
    data = _once(run.dataset for run in runs)
    return [data, *filter(None, parts)] if data else []


def _once(values: Iterable[str | None]) -> str:
    """Every value that occurs, once: `a and b`."""
    return " and ".join(dict.fromkeys(value for value in values if value))


def _numbers(measured: Measured, endpoint: EndpointVerdict) -> str:
    slope = "slope of " * measured.contrast.is_trend
    effect, (p, adjusted) = endpoint["effect"], _p_values(endpoint)
    assert effect is not None
    return (
        f"{slope}{measured.label} {amount(effect, measured)}{per_unit(measured.contrast)}, "
        f"{_interval(measured, endpoint)}, p = {p_text(p)}, adjusted p = {p_text(adjusted)}"
    )


def _p_values(endpoint: EndpointVerdict) -> tuple[float, float]:
    """The p-value of an endpoint that was tested, alone and adjusted."""
    p, adjusted = endpoint["p"], endpoint["p_adjusted"]
    assert p is not None
    assert adjusted is not None
    return p, adjusted


def _interval(measured: Measured, endpoint: EndpointVerdict) -> str:
    """`95% interval −141 to −55 (sign-flip)`, or in words that it has no ends."""
    confidence = f"{endpoint['confidence']:.0%}"
    if endpoint.get("interval_is_empty"):
        return f"no {confidence} interval, since {CONTRADICTION}"
    if endpoint["interval"] is None and "looks" in (endpoint["method"] or ""):
        return f"no finite {confidence} interval at this look"
    if endpoint["interval"] is None:
        fewest = smallest_n((1 - endpoint["confidence"]) / 2, one_sided=True)
        return f"no finite {confidence} interval, which takes {fewest} seeds"
    low, high = (amount(end, measured) for end in endpoint["interval"])
    return f"{confidence} interval {low} to {high} ({endpoint['method']})"


def signed(value: float, unit: str) -> str:
    """A difference with its sign, and the digits that its unit asks for."""
    digits = 4 if unit != "steps" else 0 if abs(value) >= 10 else 1
    return f"{value:+,.{digits}f}".replace("-", "−")


def amount(value: float, measured: Measured) -> str:
    """A value of an endpoint's contrast with its sign, and the digits that it asks for."""
    return significant(value) if measured.contrast.scores else signed(value, measured.unit)


def significant(value: float) -> str:
    """A slope with its sign to three digits: per unit of scores it can be as small as they say."""
    return f"{value:+.3g}".replace("-", "−")


def per_unit(contrast: Contrast) -> str:
    """` per unit of (16, 256, 1024)`: the scores of a trend; empty where none were declared."""
    scores = ", ".join(f"{score:.10g}" for score in contrast.scores)
    return f" per unit of ({scores})" if scores else ""


def p_text(value: float) -> str:
    """A p-value to three digits, one where it is tiny."""
    return f"{value:.3g}" if value >= 1e-4 else f"{value:.0e}"


def _basis(finding: Finding) -> str:
    """The words in brackets that say what the numbers rest on: test, seeds and adjustment."""
    case = finding.case
    claim, outcome, stage = case.claim, case.outcome, case.stage
    claims = "claims" if finding.family > 1 else "claim"
    parts = [f"{quantity_of(claim)} over n = {finding.n} seeds"]
    parts += seed_marks(case.plan)
    parts += [stage.sentence()] if stage else []
    kind = test_of(claim, outcome, case.by_endpoint, is_staged=stage is not None)
    bases_text = f", the claims on {finding.bases} bases" * bool(finding.bases)
    parts += [f"{kind}, Holm-adjusted over {finding.family} {claims}{bases_text}"]
    parts += outcome_notes(outcome, finding.endpoints, case.by_endpoint)
    return "; ".join(parts + ["a post hoc claim"] * claim.post_hoc)


def quantity_of(claim: RecordedClaim) -> str:
    """What the test of a claim is about: `mean paired difference`."""
    if claim.contrast is not None and claim.contrast.is_trend:
        return f"{claim.test} slope of a straight line, which says nothing of single steps,"
    return f"{claim.test} paired difference"


def test_of(
    claim: RecordedClaim, outcome: Outcome, by_endpoint: Sequence[Evidence], *, is_staged: bool
) -> str:
    """The test that the p-values are of: `exact sign-flip test of a difference of +0.0100`.

    Args:
        claim: the claim.
        outcome: its seeds and endpoints.
        by_endpoint: the evidence of each endpoint; an equivalence is tested within or beyond its
            margin, whichever p is shown.
        is_staged: whether the test is one over declared looks.
    """
    most = sequential.EXACT_UP_TO if is_staged else EXACT_UP_TO
    kind = "exact sign-flip" if len(outcome.seeds) <= most else "sign-flip"
    kind = "exact sign" if claim.test == "median" else kind
    if claim.is_equivalence:
        directions = {endpoint.for_claim for endpoint in by_endpoint}
        if directions == {False}:
            return f"two-sided {kind} test of a difference beyond the margin"
        mixed = ", and a two-sided one where p is of a difference beyond the margin"
        return f"two one-sided {kind} tests" + mixed * (False in directions)
    if claim.margin is None:
        return f"{kind} test"
    null = claim.null(higher_is_better=outcome.endpoints[0].higher_is_better)
    level = f", one-sided at {ALPHA / 2:.1%} (p is doubled)" * (claim.direction == "not_worse")
    return f"{kind} test of a difference of {signed(null, outcome.endpoints[0].unit)}{level}"


def outcome_notes(
    outcome: Outcome, endpoints: Sequence[EndpointVerdict], by_endpoint: Sequence[Evidence]
) -> list[str]:
    """What has to be said of a claim's endpoints beside its numbers: on one base, if several."""
    notes = list(outcome.notes)
    pairs = list(zip(outcome.endpoints, endpoints, strict=True))
    if labels := [measured.label for measured, endpoint in pairs if endpoint["is_skewed"]]:
        notes.append(
            f"the differences in {' and '.join(labels)} look skewed, and test and interval are "
            "exact only for symmetric ones"
        )
    tested = zip(outcome.endpoints, by_endpoint, strict=False)  # all of them, or none
    if labels := [measured.label for measured, found in tested if found.is_contradicted]:
        notes.append(
            f"p of {' and '.join(labels)} comes from an earlier look, and the estimate over all "
            "seeds so far points the other way"
        )
    return notes


def _what_next(finding: Finding) -> str:
    """The reason why a claim is inconclusive, and what would decide it."""
    case, n = finding.case, finding.n
    parts, least = [], case.smallest_p
    kind = "one-sided" if case.is_one_sided else "two-sided"
    if least >= ALPHA:
        parts.append(
            f"{n} seeds cannot reach p < {ALPHA:g}, since the smallest {kind} p is {p_text(least)}"
        )
    elif finding.least_p >= ALPHA:
        parts.append(
            f"beside the other claims as they are, {n} seeds cannot reach an adjusted p < "
            f"{ALPHA:g}, since the smallest is {p_text(finding.least_p)}"
        )
    if any(p < ALPHA <= adjusted for p, adjusted in map(_p_values, finding.endpoints)):
        parts.append("intervals belong to p, and are not adjusted for the number of claims")
    if any(endpoint.is_contradicted for endpoint in case.by_endpoint):
        return "; ".join([*parts, "the looks point different ways"])
    if len({endpoint.estimate_agrees for endpoint in case.by_endpoint}) > 1:
        return "; ".join([*parts, "the endpoints point different ways, and the claim needs all"])
    needed = finding.endpoints[0]["needed_n"]  # the same for all endpoints
    if needed is None:
        return "; ".join([*parts, f"the effect is too small for {MOST_SEEDS:,} seeds to decide it"])
    parts.append(
        f"about {needed} seeds would decide it with a power of {POWER:.0%}, if effect and "
        f"spread are as seen here: {_FRESH if not case.plan.missing else _PLANNED_FIRST}"
    )
    return "; ".join(parts)


def seed_marks(plan: Plan) -> tuple[str, ...]:
    """Sentences on the seeds of a claim that were not as planned before there were results."""
    marks, planned = [], len(plan.planned)
    if plan.doubt:
        marks.append(
            f"nothing shows how many seeds were planned before there were results: {plan.doubt}"
        )
    if plan.missing:
        kind = "seeds" if plan.doubt else "planned seeds"
        marks.append(
            f"{len(plan.missing)} of {planned} {kind} missing, so the sweep was judged before it "
            "was complete"
        )
    if added := len(plan.added):
        verb = "was" if added == 1 else "were"
        marks.append(
            f"{added} of these seeds {verb} added after there were results, {planned} were planned"
        )
    return tuple(marks)


def _why_not(finding: Finding) -> str:
    outcome = finding.case.outcome
    if outcome.problem:
        return outcome.problem
    return (
        f"{finding.n} of {outcome.planned} planned seeds have their runs, and fewer than "
        f"{FEWEST_PAIRS} give no verdict"
    )
