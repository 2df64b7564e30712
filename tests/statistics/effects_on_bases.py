"""Claims about effects on several bases, and what the reports of them say."""

import json
from collections.abc import Mapping
from typing import Any

from tests.synthetic_sweep import SweepWriter, edit_run
from xception_jax.sweep import Claim

BETTER = Claim("a", "b")
EFFECT = {"a": 0.05, "b": 0.0}
REVERSE = {"a": -0.05, "b": 0.0}


def verdicts_of(claim: Mapping[str, Any]) -> dict[str, str]:
    """The verdict on each base, by its name."""
    return {each["base"]: each["verdict"] for each in claim["bases"]}


def without_an_effect(sweep: SweepWriter, base: str) -> None:
    """Makes the differences on a base as often positive as negative, and alike in size."""
    for seed in sweep.seeds:
        value = json.loads((sweep.run_directory(f"{base}-b", seed) / "run.json").read_text())
        top1 = value["result"]["top1"] + 0.01 * (-1) ** seed

        def change(record: dict[str, Any], top1: float = top1) -> None:
            record["result"]["top1"] = top1

        edit_run(sweep.run_directory(f"{base}-a", seed), change)
