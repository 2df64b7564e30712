"""What a sweep recorded of the tuning of its arms, which happened before the verdict's runs."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xception_jax.json_values import as_list, as_mapping, as_real, as_text, as_whole
from xception_jax.regular_files import read_regular
from xception_jax.statistics.results import Sweep

TUNING = "tuning.json"
_MOST = 1 << 26  # bytes


@dataclass(frozen=True)
class TuningRecord:
    """The choice of some settings for each arm.

    Attributes:
        settings: names of the settings, with all values that were tried.
        seeds: number of seeds of each value.
        epochs: epochs of a tuning run; None: those of the verdict's runs.
        runs: number of tuning runs.
        chosen: for each arm what was chosen.
        at_edge: arms whose choice lies at an edge of what was tried.
    """

    settings: Mapping[str, tuple[str, ...]]
    seeds: int | None
    epochs: float | None
    runs: int
    chosen: Mapping[str, Mapping[str, Any]]
    at_edge: tuple[str, ...]


def read_tuning(sweep: Sweep) -> TuningRecord | None:
    """The record in `sweep.json`, or beside it; None where nothing says that arms were tuned."""
    content = as_mapping(as_mapping(sweep.record.get("experiment")).get("tuned"))
    if not content:
        try:
            content = as_mapping(json.loads(read_regular(sweep.directory / TUNING, _MOST)))
        except (OSError, ValueError, RecursionError):
            return None
    declared = as_mapping(content.get("tune"))
    names = [as_text(name) for name in as_list(declared.get("settings"))]
    grid = as_list(content.get("grid")) or as_list(declared.get("values"))
    arms = {
        as_text(arm): as_mapping(entry) for arm, entry in as_mapping(content.get("arms")).items()
    }
    if not names or not arms:
        return None
    values = [tuple(map(as_text, as_list(each))) for each in grid]
    return TuningRecord(
        settings=dict(zip(names, values, strict=False)),
        seeds=as_whole(declared.get("seeds")),
        epochs=as_real(declared.get("epochs")),
        runs=len(as_list(content.get("runs"))),
        chosen={arm: as_mapping(entry.get("chosen")) for arm, entry in arms.items()},
        at_edge=tuple(arm for arm, entry in arms.items() if entry.get("at_edge")),
    )
