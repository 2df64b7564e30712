"""Claims about effects on several bases, and what the reports of them say."""

from collections.abc import Mapping
from typing import Any

from tests.statistics.planted_differences import set_differences
from tests.synthetic_sweep import SweepWriter
from xception_jax.sweep import Claim

BETTER = Claim("a", "b")
EFFECT = {"a": 0.05, "b": 0.0}
REVERSE = {"a": -0.05, "b": 0.0}


def verdicts_of(claim: Mapping[str, Any]) -> dict[str, str]:
    """The verdict on each base, by its name."""
    return {each["base"]: each["verdict"] for each in claim["bases"]}


def without_an_effect(sweep: SweepWriter, base: str) -> None:
    """Makes the differences of eight seeds on a base as often positive as negative, and alike."""
    set_differences(sweep, f"{base}-a", f"{base}-b", [0.01, -0.01] * 4)
