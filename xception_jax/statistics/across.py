"""Claims over several bases: whether one holds on all of them, or on at least k of K.

On each base a claim is tested as in a sweep of its own. Over all, the null hypothesis is that it
holds on fewer than k of the K bases, and its p-value is that of a partial conjunction
(`paired.partial_conjunction`): of "all" the largest one on any base. Only bases whose evidence is
on the same side count together: no claim of better is carried by a base where it is worse.
The opposite of "at least k" needs so many bases that fewer than k are left: see `evidence`.

There are two families, each adjusted by Holm's method: the verdicts over all bases, of which there
is one a claim, and the verdicts on single bases, of which there are claims times bases. Where a
claim needs all bases, its verdict says the same of each of them, and so decides them, too.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from xception_jax.json_values import as_list, as_text
from xception_jax.statistics.bases import parts_of
from xception_jax.statistics.cases import (
    Case,
    adjusted_p,
    cases_at_looks,
    family_of,
    is_decided,
    location_test,
    read_cases,
    stated_interval,
    verdict_of,
)
from xception_jax.statistics.claims import RecordedClaim, bases_needed, recorded_claims
from xception_jax.statistics.declared import read_declared
from xception_jax.statistics.evidence import Evidence, combine, parts_for_opposite
from xception_jax.statistics.json_types import (
    BaseVerdict,
    ClaimVerdict,
    EndpointVerdict,
    SeedDifference,
    SpentCompute,
)
from xception_jax.statistics.looks import Stage, by_looks
from xception_jax.statistics.paired import CONFIDENCE, partial_conjunction
from xception_jax.statistics.results import Sweep
from xception_jax.statistics.runs import Runs


@dataclass(frozen=True)
class ClaimOverBases:
    """A claim on each of its bases.

    Attributes:
        claim: as declared, about arms of no particular base.
        bases: names of the bases.
        at_least: number of bases on which the claim must hold.
        cases: the claim on each base.
        gone: number of bases that it was declared for and that the sweep no longer has; on these
            it does not hold.
        ceiling: see `cases.Judged`; nothing bounds it.
    """

    claim: RecordedClaim
    bases: tuple[str, ...]
    at_least: int
    cases: tuple[Case, ...]
    gone: int = 0
    ceiling: float = 1.0

    @property
    def evidence(self) -> Evidence:
        """The evidence for enough bases on the claim's side, or for enough on the other one.

        Each side has half of the level, as that of one base has, so no factor is due.
        """
        return combine(
            [*(case.evidence for case in self.cases), *[Evidence()] * self.gone], self.at_least
        )

    @property
    def is_tested(self) -> bool:
        """Whether as many bases as it needs have enough pairs."""
        return sum(case.is_tested for case in self.cases) >= self.at_least

    def needed(self, *, for_claim: bool) -> int:
        """The number of bases that the claim, or else its opposite, needs."""
        count = len(self.bases) + self.gone
        return self.at_least if for_claim else parts_for_opposite(count, self.at_least)

    @property
    def stage(self) -> Stage | None:
        """The claim's place among the declared looks; None where it cannot be tested at all."""
        return next((case.stage for case in self.cases if case.stage is not None), None)

    @property
    def needs_all(self) -> bool:
        """Whether it must hold on every base."""
        return self.at_least == len(self.bases) + self.gone

    @property
    def title(self) -> str:
        """The claim in a few words, with the bases that it is about."""
        contrast, names = self.claim.contrast, listed(self.bases)
        if contrast is None:
            return self.claim.title
        among = f"each of {names}" if self.needs_all else f"at least {self.at_least} of {names}"
        placed = replace(contrast, where=f"{contrast.where} on {among}")
        return replace(self.claim, contrast=placed).title

    @property
    def shown_endpoints(self) -> int:
        """Number of the claim's endpoints, once there is a base with runs to show them."""
        return max(len(case.outcome.endpoints) for case in self.cases)


def read_across(sweep: Sweep, runs: Sequence[Runs]) -> list[ClaimOverBases]:
    """Every claim of a sweep with several bases: on all of its runs, or up to its look.

    A look is reached when it is on every base.

    Args:
        sweep: the sweep, with all bases.
        runs: the runs of each base.
    """
    claims, looks = recorded_claims(sweep), read_declared(sweep).looks
    if looks is None:
        rows = zip(claims, *map(read_cases, runs), strict=True)
        return [_across(sweep, claim, cases) for claim, *cases in rows]
    at_looks = [cases_at_looks(on_base.sweep, looks) for on_base in runs]

    def case_at(at: int, number: int) -> ClaimOverBases | None:
        across = _across(sweep, claims[at], [at_look(at, number) for at_look in at_looks])
        return across if all(case.is_at_look for case in across.cases) else None

    return by_looks(looks, len(claims), case_at, is_decided)


def _across(sweep: Sweep, claim: RecordedClaim, cases: Sequence[Case]) -> ClaimOverBases:
    """The claim on the bases that it was declared for.

    Where the sweep has none of these, it shows its own, and has to hold on more than there are.
    """
    names = [base.name for base in sweep.bases]
    declared = [as_text(name) for name in as_list(claim.content.get("bases"))]
    known = [name for name in declared if name in names]
    about, gone = known or names, len(declared) - len(known)
    chosen = tuple(cases[names.index(name)] for name in about)
    bases, at_least = bases_needed(claim)
    at_least += len(about) + gone - bases  # as declared, unless the sweep has none of those
    return ClaimOverBases(claim, tuple(about), at_least, chosen, gone)


def known_targets(sweep: Sweep) -> float | dict[str, float] | None:
    """The target of "steps to target", of several bases one for each; None: not all are known."""
    if not sweep.bases:
        return Runs(sweep).target
    by_base = {part.base.name: Runs(part).target for part in parts_of(sweep) if part.base}
    known = {name: target for name, target in by_base.items() if target is not None}
    return known if len(known) == len(by_base) else None


def with_ceilings(claims: Sequence[ClaimOverBases]) -> list[ClaimOverBases]:
    """The claims whose cases know what the verdict over all bases decides for each of them."""
    bounded = []
    for across in claims:
        over_all = adjusted_p(across, family_of(across, claims), across.evidence.p)
        ceiling = over_all if across.needs_all else 1.0
        cases = tuple(replace(case, ceiling=ceiling) for case in across.cases)
        bounded.append(replace(across, cases=cases))
    return bounded


def judged_across(
    across: ClaimOverBases,
    family: Sequence[ClaimOverBases],
    on_bases: Sequence[BaseVerdict],
    sentence: str,
    compute: SpentCompute,
) -> ClaimVerdict:
    """The verdict on a claim over all bases, as plain data for `verdicts.json`.

    Args:
        across: the claim.
        family: the claims over which its p-value is adjusted.
        on_bases: the verdict on it on each base.
        sentence: the verdict in one sentence.
        compute: the compute of its arms on all bases.
    """
    counts = [judged["n"] for judged in on_bases]
    claim = across.claim
    return {
        "claim": dict(claim.content),
        "title": across.title,
        "declared": "post hoc" if claim.post_hoc else "before the runs",
        "verdict": verdict_of(across, family),
        "grade": max((judged["grade"] for judged in on_bases if judged["grade"]), default=None),
        "grade_reasons": by_bases(
            [(judged["base"], judged["grade_reasons"]) for judged in on_bases]
        ),
        "n": {
            "planned": max(count["planned"] for count in counts),
            "completed": min(count["completed"] for count in counts),
            "pairs": min(count["pairs"] for count in counts),
            "diverged": sum(count["diverged"] for count in counts),
        },
        "added_seeds": sorted({seed for judged in on_bases for seed in judged["added_seeds"]}),
        "look": across.stage.describe() if across.stage else None,
        "endpoints": [_endpoint(across, at, family) for at in range(across.shown_endpoints)],
        "at_least": across.at_least,
        "bases": list(on_bases),
        "sentence": sentence,
        "compute": compute,
    }


def listed(names: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def by_bases(sentences: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
    """What is said of bases, each sentence once, with its bases before it unless it is all.

    Args:
        sentences: the name of each base, and what is said of it.
    """
    names: dict[str, list[str]] = {}
    for base, texts in sentences:
        for text in texts:
            names.setdefault(text, []).append(base)
    return [
        text if len(bases) == len(sentences) else f"{listed(bases)}: {text}"
        for text, bases in names.items()
    ]


def _endpoint(across: ClaimOverBases, at: int, family: Sequence[ClaimOverBases]) -> EndpointVerdict:
    """One endpoint over all bases: its p-value, and as an estimate the mean over the bases.

    The mean describes these bases and no others, and decides nothing. It is over seeds that all of
    them have. There is none where the units differ, or of steps, whose budgets do.
    """
    measured = [case.outcome.endpoints[at] for case in across.cases if case.outcome.endpoints]
    for_claim = across.evidence.for_claim
    tested = [case.by_endpoint[at] for case in across.cases if case.is_tested]
    absent = len(across.cases) + across.gone - len(tested)
    p_values = [*(endpoint.p_on(for_claim=for_claim) for endpoint in tested), *[1.0] * absent]
    p = partial_conjunction(p_values, across.needed(for_claim=for_claim))
    rows = _mean_rows(across, at) if len({endpoint.unit for endpoint in measured}) == 1 else []
    content: EndpointVerdict = {
        "endpoint": measured[0].name,
        "unit": measured[0].unit,
        "effect": None,
        "interval": None,
        "confidence": CONFIDENCE,
        "null": None,
        "method": None,
        "p": p if tested else None,
        "p_adjusted": adjusted_p(across, family, p) if tested else None,
        "per_seed": rows,
    }
    sizes = None if across.stage is None else across.stage.design.sizes
    if not rows or (sizes is not None and len(rows) not in sizes):
        return content
    differences = np.array([row["difference"] for row in rows])
    test = location_test(across.claim, differences, across.stage)
    return content | {
        "effect": test.estimate,
        **stated_interval(test.interval((1 - CONFIDENCE) / 2)),
        "method": "sign-flip of the mean over bases"
        if across.claim.test == "mean"
        else "sign test of the mean over bases",
    }


def _mean_rows(across: ClaimOverBases, at: int) -> list[SeedDifference]:
    """The mean over all bases of what each seed gives, for the seeds that all of them have."""
    if not all(case.outcome.endpoints for case in across.cases):
        return []
    measured = [case.outcome.endpoints[at] for case in across.cases]
    if measured[0].unit == "steps":
        return []
    seeds = sorted(set.intersection(*(set(case.outcome.seeds) for case in across.cases)))
    columns = [[case.outcome.seeds.index(seed) for seed in seeds] for case in across.cases]
    pairs = zip(measured, columns, strict=True)
    sides = np.mean([endpoint.sides[:, of_seeds] for endpoint, of_seeds in pairs], axis=0)
    return [
        {
            "seed": seed,
            "arm": float(one),
            "baseline": float(other),
            "difference": float(one - other),
        }
        for seed, one, other in zip(seeds, *sides, strict=True)
    ]
