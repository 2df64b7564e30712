"""Whether a sweep on fresh seeds repeats what an earlier one found, claim by claim.

`sweep.json` of the second sweep keeps the verdicts of the first, with the difference of every seed.
A verdict is replicated if the fresh seeds give the same one: the same direction, significant after
Holm's adjustment, on seeds that had no part in the first. The opposite of an equivalence has no
direction of its own: it is replicated if the effects have the signs that they had. The combined
estimate takes all seeds of both. It is an estimate with an interval, and no further test: the first
sweep was known by then.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np

from xception_jax.checksums import has_valid_checksum
from xception_jax.json_values import as_list, as_mapping, as_real, as_text, as_whole
from xception_jax.records import DECIDED, ENDPOINT_NAMES, STEPS_TO_TARGET, TESTS
from xception_jax.statistics.contrasts import read_contrast
from xception_jax.statistics.json_types import (
    ClaimVerdict,
    CombinedEstimate,
    EndpointVerdict,
    Replication,
    Verdicts,
)
from xception_jax.statistics.location import LocationTest
from xception_jax.statistics.paired import CONFIDENCE
from xception_jax.statistics.sentences import signed, significant

_Kept = Literal["endpoint", "unit", "effect", "interval", "confidence", "p", "p_adjusted"]
_KEPT: tuple[_Kept, ...] = get_args(_Kept)


def kept_verdicts(verdicts: Verdicts) -> list[dict[str, Any]]:
    """The part of a sweep's verdicts that a confirming sweep keeps, in its `sweep.json`."""
    return [
        {
            "claim": claim["claim"],
            "title": claim["title"],
            "verdict": claim["verdict"],
            "grade": claim["grade"],
            "declared": claim["declared"],
            "pairs": claim["n"]["pairs"],
            "endpoints": _kept_endpoints(claim),
            "bases": [
                {"base": part["base"], "endpoints": _kept_endpoints(part)}
                for part in claim.get("bases", ())
            ],
        }
        for claim in verdicts["claims"]
    ]


def _kept_endpoints(claim: ClaimVerdict) -> list[dict[str, Any]]:
    return [
        {name: endpoint[name] for name in _KEPT}
        | {"per_seed": [[row["seed"], row["difference"]] for row in endpoint["per_seed"]]}
        for endpoint in claim["endpoints"]
    ]


def with_replication(
    claims: Sequence[ClaimVerdict], record: Mapping[str, Any]
) -> list[ClaimVerdict]:
    """The judged claims of a sweep, each with `replication` where the sweep confirms another.

    `replication` holds the `outcome` ("replicated", "not replicated", "nothing to replicate" or
    "open"), a `sentence`, the `original` verdict, and for each endpoint the `combined` estimate.

    Args:
        claims: as `verdicts.json` has them.
        record: `sweep.json`.
    """
    confirms = as_mapping(record.get("confirms"))
    if not confirms:
        return list(claims)
    is_whole = has_valid_checksum(confirms)
    originals = [as_mapping(original) for original in as_list(confirms.get("claims"))]
    judged = []
    for claim in claims:
        key = _apart_from_target(claim["claim"])
        original = next((o for o in originals if _apart_from_target(o.get("claim")) == key), None)
        if not is_whole or original is None:
            reason = "is not in the first sweep" if is_whole else "stands beside an edited record"
            judged.append(claim | {"replication": _unknown(f"the claim {reason}")})
        else:
            judged.append(claim | {"replication": _replication(claim, original, confirms)})
    return judged


def _apart_from_target(claim: Any) -> dict[str, Any]:
    """A claim but for its target, or the pilot seeds that gave it in the first sweep.

    A confirming sweep declares the first one's target, however that came about.
    """
    given_by = ("target", "pilot_seeds")
    return {name: value for name, value in as_mapping(claim).items() if name not in given_by}


def _has_one_target(claim: ClaimVerdict, endpoint: str) -> bool:
    """Whether an endpoint counts to the same target in both sweeps: that which was declared here.

    Earlier versions declared none where the first sweep had pilot seeds: then each sweep had a
    target of its own, from its own pilot.
    """
    return endpoint != STEPS_TO_TARGET or claim["claim"].get("target") is not None


def _unknown(reason: str) -> Replication:
    return {"outcome": "not known", "sentence": f"{reason}.", "original": None, "combined": []}


def _replication(
    claim: ClaimVerdict, original: Mapping[str, Any], confirms: Mapping[str, Any]
) -> Replication:
    combined = [
        _combined(claim, endpoint, old)
        for endpoint in claim["endpoints"]
        for old in map(as_mapping, as_list(original.get("endpoints")))
        if old.get("endpoint") == endpoint["endpoint"]
    ]
    before, now = as_text(original.get("verdict")), claim["verdict"]
    is_reversed = before == now and _is_reversed(claim, original)
    outcome = _outcome(before, now, is_reversed=is_reversed)
    seeds = as_whole(original.get("pairs"))
    directory = as_text(confirms.get("directory"))
    parts = [
        f"{outcome}: {seeds} seeds of {directory} came out as {before}, "
        f"{claim['n']['pairs']} fresh ones as {now}"
        + ", but with effects of other signs"
        * is_reversed
    ]
    parts += [
        f"{ENDPOINT_NAMES.get(row['endpoint'], row['endpoint'])} over all {row['pairs']} seeds "
        f"{_amount(claim, row['effect'], row['unit'])}{_interval(claim, row)}"
        for row in combined
        if row["effect"] is not None
    ]
    parts += [
        f"no estimate of {ENDPOINT_NAMES[STEPS_TO_TARGET]} over all seeds, since each sweep has a "
        "target of its own"
        for row in combined
        if not _has_one_target(claim, row["endpoint"])
    ]
    return {
        "outcome": outcome,
        "sentence": f"{'; '.join(parts)}.",
        "original": {name: original.get(name) for name in ("verdict", "grade", "pairs")}
        | {"endpoints": [_shown(as_mapping(row)) for row in as_list(original.get("endpoints"))]},
        "combined": combined,
    }


def _outcome(before: str, now: str, *, is_reversed: bool) -> str:
    if before not in DECIDED:
        return "nothing to replicate"
    if now == "open":
        return "open"
    return "replicated" if now == before and not is_reversed else "not replicated"


def _is_reversed(claim: ClaimVerdict, original: Mapping[str, Any]) -> bool:
    """Whether both verdicts are the opposite of an equivalence, by effects of different signs."""
    is_beyond = claim["verdict"] == "opposite" and claim["claim"].get("direction") == "equivalent"
    return is_beyond and _signs(claim) != _signs(original)


def _signs(claim: Mapping[str, Any]) -> dict[tuple[str, str], float | None]:
    """The sign of the effect on each endpoint, of several bases on each; None: no effect."""
    signs = {}
    for part in map(as_mapping, as_list(claim.get("bases")) or [claim]):
        for row in map(as_mapping, as_list(part.get("endpoints"))):
            effect = as_real(row.get("effect"))
            key = as_text(part.get("base")), as_text(row.get("endpoint"))
            signs[key] = None if effect is None else float(np.sign(effect))
    return signs


def _shown(endpoint: Mapping[str, Any]) -> dict[str, Any]:
    return {name: endpoint.get(name) for name in _KEPT}


def _combined(
    claim: ClaimVerdict, endpoint: EndpointVerdict, old: Mapping[str, Any]
) -> CombinedEstimate:
    """The estimate over the seeds of both sweeps, with the interval that inverts the test."""
    pairs = [as_list(row) for row in as_list(old.get("per_seed"))]
    differences = {row[0]: as_real(row[1]) for row in pairs if len(row) == 2}
    fresh = {row["seed"]: row["difference"] for row in endpoint["per_seed"]}
    values = [value for value in (differences | fresh).values() if value is not None]
    if not _has_one_target(claim, endpoint["endpoint"]):
        values = []
    effect = interval = None
    if values and fresh:
        test = LocationTest(np.array(values), as_text(claim["claim"].get("test", TESTS[0])))
        ends = list(test.interval((1 - CONFIDENCE) / 2))
        effect, interval = test.estimate, ends if math.isfinite(ends[0]) else None
    return {
        "endpoint": endpoint["endpoint"],
        "unit": endpoint["unit"],
        "pairs": len(values),
        "effect": effect,
        "interval": interval,
        "confidence": CONFIDENCE,
    }


def _amount(claim: ClaimVerdict, value: float, unit: str) -> str:
    """A value with the digits that the claim's own sentence gives it."""
    contrast = read_contrast(claim["claim"])
    has_scores = contrast is not None and contrast.scores
    return significant(value) if has_scores else signed(value, unit)


def _interval(claim: ClaimVerdict, row: CombinedEstimate) -> str:
    if row["interval"] is None:
        return ""
    low, high = (_amount(claim, end, row["unit"]) for end in row["interval"])
    return f" ({row['confidence']:.0%} interval {low} to {high})"
