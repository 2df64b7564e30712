"""Verdicts as `verdicts.json` has them, of no sweep in particular."""

from typing import Any, cast

from xception_jax.statistics.compute import PARTS
from xception_jax.statistics.json_types import (
    ClaimVerdict,
    EndpointVerdict,
    SpentCompute,
    Verdicts,
)

ENDPOINT: EndpointVerdict = {
    "endpoint": "final_top1",
    "unit": "accuracy",
    "effect": 0.012,
    "interval": [0.003, 0.021],
    "confidence": 0.95,
    "null": None,
    "method": "sign-flip",
    "p": 0.01,
    "p_adjusted": 0.02,
    "per_seed": [],
}
NOTHING_SPENT: SpentCompute = {
    "unit": "device-seconds",
    "judged": 0.0,
    "thrown_away": 0.0,
    "tuning": 0.0,
    "not_judged": 0.0,
    "unfinished": 0.0,
    "runs": dict.fromkeys(PARTS, 0),
    "devices": [],
    "at_least": 0,
    "estimated": 0,
}
CLAIM: ClaimVerdict = {
    "claim": {"arm": "none", "baseline": "relu", "direction": "better", "margin": None},
    "title": "none better than relu: final_top1",
    "declared": "before the runs",
    "verdict": "supported",
    "sentence": "On a small set none was better than relu.",
    "grade": "A",
    "grade_reasons": [],
    "n": {"planned": 3, "completed": 3, "diverged": 0, "pairs": 3},
    "added_seeds": [],
    "look": None,
    "endpoints": [ENDPOINT],
    "compute": NOTHING_SPENT,
}


def verdicts_on(*changes: dict[str, Any]) -> Verdicts:
    """Verdicts on as many claims as there are changes: each is `CLAIM` with one of them."""
    claims = [cast(ClaimVerdict, {**CLAIM, **change}) for change in changes]
    return {
        "schema": 1,
        "confidence": 0.95,
        "claims": claims,
        "compute": NOTHING_SPENT,
        "noise": [],
    }
