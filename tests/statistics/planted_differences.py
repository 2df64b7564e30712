"""Final accuracies at chosen differences, put into synthetic sweeps."""

import json
from collections.abc import Sequence
from functools import partial
from typing import Any

from tests.synthetic_sweep import SweepWriter, edit_run


def set_differences(
    sweep: SweepWriter, arm: str, baseline: str, differences: Sequence[float]
) -> None:
    """Makes an arm end at another one plus these differences, one for each of the first seeds."""
    for seed, difference in zip(sweep.seeds, differences, strict=False):
        other = json.loads((sweep.run_directory(baseline, seed) / "run.json").read_text())
        top1 = other["result"]["top1"] + difference
        edit_run(sweep.run_directory(arm, seed), partial(set_top1, top1))


def set_top1(value: float, record: dict[str, Any]) -> None:
    record["result"]["top1"] = value
