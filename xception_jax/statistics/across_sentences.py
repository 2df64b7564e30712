"""Says a verdict over several bases in one sentence that a paper could print."""

from collections.abc import Sequence
from dataclasses import replace

from xception_jax.records import FEWEST_PAIRS
from xception_jax.statistics.across import ClaimOverBases, by_bases, listed
from xception_jax.statistics.cases import Case, adjusted_p, verdict_of
from xception_jax.statistics.claims import RecordedClaim
from xception_jax.statistics.json_types import BaseVerdict
from xception_jax.statistics.power import ALPHA
from xception_jax.statistics.recorded_tuning import describe_tuning
from xception_jax.statistics.results import Sweep
from xception_jax.statistics.sentences import (
    CONTRADICTION,
    amount,
    outcome_notes,
    p_text,
    per_unit,
    quantity_of,
    seed_marks,
    setting_of,
    test_of,
)
from xception_jax.statistics.statements import state_verdict


def sentence_across(
    parts: Sequence[Sweep],
    across: ClaimOverBases,
    family: Sequence[ClaimOverBases],
    on_bases: Sequence[BaseVerdict],
) -> str:
    """One sentence: on which bases, what, how much on each, how sure. It claims nothing beyond.

    Args:
        parts: the sweep on each base of the claim.
        across: the claim.
        family: the claims over which its p-value is adjusted.
        on_bases: the verdict on it on each base.
    """
    pairs = zip(parts, across.cases, across.bases, strict=True)
    bases = [_base(part, case.claim, name) for part, case, name in pairs]
    where, verdict = f"On {listed(bases)}, ", verdict_of(across, family)
    if verdict == "not tested" or across.claim.contrast is None:
        return f"{where}the claim “{across.title}” was not tested: {_why_not(across)}."
    if not across.shown_endpoints:
        assert across.stage is not None
        problems = [
            (name, [case.outcome.problem] if case.outcome.problem else [])
            for name, case in zip(across.bases, across.cases, strict=True)
        ]
        next_look = "; ".join([across.stage.what_next(), *by_bases(problems)])
        return f"{where}the claim “{across.title}” is open: {next_look}."
    among = f"each of these {len(bases)} bases"
    if (needed := across.needed(for_claim=verdict != "opposite")) < len(bases) + across.gone:
        among = f"at least {needed} of these {len(bases)} bases"
    contrast = replace(across.claim.contrast, where=f"{across.claim.contrast.where} on {among}")
    statement = state_verdict(contrast, across.claim, verdict)
    arms = [arm for case in across.cases for arm in case.claim.arms]
    tuned = describe_tuning(parts[0], arms)
    numbers = [_numbers(across, on_bases, at) for at in range(across.shown_endpoints)]
    ending = _next(across, verdict)
    return (
        f"{where}{statement}{tuned}; {_tally(on_bases)}; {'; '.join(numbers)} "
        f"({_basis(across, family, on_bases)}){ending}."
    )


def _base(part: Sweep, claim: RecordedClaim, name: str) -> str:
    """A base in words: `mini (fashion_mnist_mini, xception_tiny, 10,800 training images, …)`."""
    setting = ", ".join(setting_of(part, claim))
    return f"{name} ({setting})" if setting else name


def _why_not(across: ClaimOverBases) -> str:
    """The reason why the claim was not tested, base by base."""
    reasons: dict[str, list[str]] = {}
    for name, case in zip(across.bases, across.cases, strict=True):
        few = (
            f"{len(case.outcome.seeds)} of {case.outcome.planned} planned seeds have their runs, "
            f"and fewer than {FEWEST_PAIRS} give no verdict"
        )
        reason = "it could be" if case.is_tested else case.outcome.problem or few
        reasons.setdefault(reason, []).append(name)
    parts = [f"on {listed(names)} {reason}" for reason, names in reasons.items()]
    if across.gone:
        count = len(across.bases) + across.gone
        verb = "is" if across.gone == 1 else "are"
        parts.insert(0, f"{across.gone} of its {count} bases {verb} no longer in the record")
    return "; ".join(parts)


def _tally(on_bases: Sequence[BaseVerdict]) -> str:
    """`single bases: supported on 2 of 3 (a and b), inconclusive on 1 of 3 (c)`."""
    by_verdict: dict[str, list[str]] = {}
    for on_base in on_bases:
        by_verdict.setdefault(on_base["verdict"], []).append(on_base["base"])
    counts = [
        f"{verdict} on {len(names)} of {len(on_bases)} ({listed(names)})"
        for verdict, names in by_verdict.items()
    ]
    return f"single bases: {', '.join(counts)}"


def _numbers(across: ClaimOverBases, on_bases: Sequence[BaseVerdict], at: int) -> str:
    """An endpoint on every base: `final top-1 −0.0123 on a (95% interval …), −0.0045 on b (…)`.

    What it is, and per unit of what, is said once.
    """
    texts, last_label = [], ""
    for case, on_base in zip(across.cases, on_bases, strict=True):
        endpoint = on_base["endpoints"][at] if on_base["endpoints"] else None
        if endpoint is None or endpoint["effect"] is None:
            texts.append(f"nothing on {on_base['base']}")
            continue
        measured = case.outcome.endpoints[at]
        slope = "slope of " * measured.contrast.is_trend
        label = f"{slope}{measured.label} "
        ends = endpoint["interval"]
        confidence = f"{endpoint['confidence']:.0%} interval"
        interval = f"no finite {confidence}"
        if endpoint.get("interval_is_empty"):
            interval = f"no {confidence}, since {CONTRADICTION}"
        if ends is not None:
            low, high = (amount(end, measured) for end in ends)
            interval = f"{confidence} {low} to {high}"
        p = "" if endpoint["p"] is None else f", p = {p_text(endpoint['p'])}"
        value = amount(endpoint["effect"], measured)
        named = label + value + per_unit(measured.contrast) if label != last_label else value
        texts.append(f"{named} on {on_base['base']} ({interval}{p})")
        last_label = label
    return ", ".join(texts)


def _basis(
    across: ClaimOverBases, family: Sequence[ClaimOverBases], on_bases: Sequence[BaseVerdict]
) -> str:
    """The words that say how the p-value over all bases comes from those on each."""
    count, evidence = len(across.bases), across.evidence
    k = across.needed(for_claim=evidence.for_claim)
    rule = f"the largest p of the {count} bases"
    if (factor := count + across.gone - k + 1) > 1:
        rule = f"{factor} times the p-value that is number {k} of {count} in increasing order"
    claims = "claims" if len(family) > 1 else "claim"
    seeds = {on_base["n"]["pairs"] for on_base in on_bases}
    parts = [
        f"p = {p_text(evidence.p)}, {rule}",
        f"adjusted p = {p_text(adjusted_p(across, family, evidence.p))}, Holm-adjusted over "
        f"{len(family)} {claims}",
        f"{min(seeds)} seeds or more on each"
        if len(seeds) > 1
        else f"n = {min(seeds)} seeds on each",
    ]
    parts += [across.stage.sentence()] if across.stage else []
    parts.append(quantity_of(across.claim).removesuffix(","))
    pairs = zip(across.cases, on_bases, strict=True)
    parts += by_bases([(on_base["base"], _marks(case, on_base)) for case, on_base in pairs])
    return "; ".join(parts + ["a post hoc claim"] * across.claim.post_hoc)


def _marks(case: Case, on_base: BaseVerdict) -> list[str]:
    """The words on one base: the test, seeds that are not as planned, and what endpoints need."""
    claim, outcome, evidence = case.claim, case.outcome, case.by_endpoint
    tests = [test_of(claim, outcome, evidence, is_staged=case.stage is not None)] * case.is_tested
    return [*tests, *seed_marks(case.plan), *outcome_notes(outcome, on_base["endpoints"], evidence)]


def _next(across: ClaimOverBases, verdict: str) -> str:
    """The reason why nothing is decided; empty where it is decided or was not tested."""
    if verdict == "open" and across.stage is not None:
        return f"; {across.stage.what_next()}"
    if verdict != "inconclusive":
        return ""
    directions = {case.evidence.for_claim for case in across.cases}
    parts = ["the bases point different ways"] * (len(directions) > 1)
    if across.evidence.p < ALPHA:
        parts.append("p-values on bases are not adjusted for the number of claims")
    parts.append("the verdict on each base says what would decide it there")
    return f"; {'; '.join(parts)}"
