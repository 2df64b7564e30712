"""The claims of a sweep as `sweep.json` records them, and when they were made."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from xception_jax.json_values import as_list, as_mapping, as_real, as_text, as_whole
from xception_jax.records import DIRECTIONS, FEWEST_PAIRS, NEED_MARGIN, TESTS
from xception_jax.statistics.contrasts import Contrast, read_contrast
from xception_jax.statistics.declared import read_declared
from xception_jax.statistics.looks import Looks
from xception_jax.statistics.results import Base, Sweep
from xception_jax.statistics.statements import describe_claim


@dataclass(frozen=True)
class RecordedClaim:
    """A claim that can be tested, or says in `problem` why it cannot.

    Attributes:
        content: as declared.
        post_hoc: whether it was made, or changed, after the first run had begun; also where
            nothing shows that it was not.
        contrast: weights over arms that it compares; None where it cannot be tested.
        margin: positive, in the endpoint's unit: of equivalence, or by which arms are better, worse
            or not worse; None: a claim of better or worse by any amount.
        target: accuracy of "steps to target"; None: that of the sweep, see `endpoints`.
        pilot_seeds: how many of the first seeds set the target, and are not tested.
        test: "mean" or "median": of the paired differences.
        problem: empty where the claim can be tested.
        lateness: why it is post hoc; empty where it is not.
    """

    content: Mapping[str, Any]
    post_hoc: bool
    contrast: Contrast | None = None
    direction: str = ""
    endpoints: tuple[str, ...] = ()
    margin: float | None = None
    target: float | None = None
    pilot_seeds: int = 0
    test: str = TESTS[0]
    problem: str = ""
    lateness: str = ""

    @property
    def title(self) -> str:
        """The claim in a few words, such as `relu worse than none: final_top1`."""
        if self.contrast is None:
            return ", ".join(f"{key}: {as_text(value)}" for key, value in self.content.items())
        median = " (median)" if self.test == "median" else ""
        return f"{describe_claim(self.contrast, self)}: {' and '.join(self.endpoints)}{median}"

    @property
    def is_equivalence(self) -> bool:
        """Whether the claim is one of two one-sided tests, instead of one test at `null`."""
        return self.direction == "equivalent"

    def sign(self, *, higher_is_better: bool) -> float:
        """1 where the claim has differences above its `null`, -1 where below; no equivalence."""
        return 1.0 if higher_is_better == (self.direction != "worse") else -1.0

    def null(self, *, higher_is_better: bool) -> float:
        """The difference at which the claim begins to be true, if it is no equivalence.

        It is zero without a margin; with one, the margin on the claim's side for "better" and
        "worse", and on the other side for "not_worse".
        """
        shift = -(self.margin or 0.0) if self.direction == "not_worse" else self.margin or 0.0
        return self.sign(higher_is_better=higher_is_better) * shift + 0.0  # no negative zero

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms that are compared."""
        return self.contrast.arms if self.contrast else ()


def recorded_claims(sweep: Sweep) -> list[RecordedClaim]:
    """All claims of a sweep, those declared before the runs first.

    The ledger keeps the claims that were there before the first run under `experiment`, and later
    ones under `post_hoc_claims`. Where the record and the runs disagree, nothing shows that any of
    the claims is older than the runs: see `declared.read_declared`.
    """
    declared = read_declared(sweep)
    doubt = declared.claims_doubt
    lateness = f"nothing shows that it was declared before the runs: {doubt}" if doubt else ""
    before_runs = as_list(as_mapping(sweep.record.get("experiment")).get("claims"))
    claims = [(claim, lateness) for claim in before_runs]
    claims += [(claim, _LATE) for claim in as_list(sweep.record.get("post_hoc_claims"))]
    arms: Collection[str] = sweep.arms
    if sweep.base is None and sweep.bases:  # the claims are about the arms of any base
        arms = sweep.bases[0].arms
    read = (
        (read_claim(claim, post_hoc=bool(late), arms=arms, base=sweep.base), late)
        for claim, late in claims
    )
    return [_at_looks(replace(claim, lateness=late), declared.looks) for claim, late in read]


def _at_looks(claim: RecordedClaim, looks: Looks | None) -> RecordedClaim:
    """The claim, which cannot be tested if its pilot seeds leave too few for the first look.

    Experiments are refused that declare so; looks may be declared anew where a claim stays.
    """
    if claim.problem or looks is None or looks.counts[0] - claim.pilot_seeds >= FEWEST_PAIRS:
        return claim
    few = f"its {claim.pilot_seeds} pilot seeds leave too few for the look at {looks.counts[0]}"
    return replace(claim, problem=few)


def read_target(target: Any, base: Base | None) -> float | None:
    """The target of "steps to target" as recorded: one, or one for each base by name."""
    return as_real(target if base is None else as_mapping(target).get(base.name))


def read_claim(
    claim: Any, *, post_hoc: bool = False, arms: Collection[str], base: Base | None = None
) -> RecordedClaim:
    """A claim from plain data, which anyone may have written.

    Args:
        claim: the data.
        post_hoc: whether it was made late.
        arms: the arms that it can be about.
        base: the base that it is read for; None: there is one, or it is about none in particular.
    """
    if not isinstance(claim, dict):
        return RecordedClaim({"text": as_text(claim)}, post_hoc, problem=_NOT_A_CLAIM)
    claim = json.loads(json.dumps(claim), parse_constant=lambda _: None)  # NaN is no JSON
    contrast = read_contrast(claim)
    endpoints = tuple(as_text(name) for name in as_list(claim.get("endpoints")))
    direction, margin = as_text(claim.get("direction")), as_real(claim.get("margin"))
    test = as_text(claim.get("test", TESTS[0]))
    if (
        contrast is None
        or not endpoints
        or direction not in DIRECTIONS
        or test not in TESTS
        or (direction in NEED_MARGIN and margin is None)
        or (margin is not None and margin <= 0)
    ):
        return RecordedClaim(claim, post_hoc, problem=_NOT_A_CLAIM)
    contrast = contrast if base is None else contrast.on(base)
    missing = [arm for arm in contrast.arms if arm not in arms]
    return RecordedClaim(
        content=claim,
        post_hoc=post_hoc,
        contrast=contrast,
        direction=direction,
        endpoints=endpoints,
        margin=margin,
        target=read_target(claim.get("target"), base),
        pilot_seeds=max(0, as_whole(claim.get("pilot_seeds")) or 0),
        test=test,
        problem=f"the sweep has no arm {missing[0]!r}" if missing else "",
    )


def bases_needed(claim: RecordedClaim) -> tuple[int, int]:
    """Number of bases a claim is declared for, and on how many it must hold; of one base (1, 1)."""
    bases = len(as_list(claim.content.get("bases"))) or 1
    at_least = as_whole(claim.content.get("at_least")) or bases
    return bases, min(max(at_least, 1), bases)


def bases_factor(claim: RecordedClaim) -> int:
    """Factor of the p-value of a claim over bases, K - k + 1: see `paired.partial_conjunction`."""
    bases, at_least = bases_needed(claim)
    return bases - at_least + 1


_LATE = "declared or changed after the runs had begun"
_NOT_A_CLAIM = "it is not in the form of a claim that can be tested"
