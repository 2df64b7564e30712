"""What training writes and a report reads: names of files, statuses, metrics, endpoints.

This module is a leaf: it imports nothing of the package, so that both sides can stand on it.
"""

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

# Files of a run's directory.
CONFIG = "config.json"
RUN = "run.json"
METRICS_LOG = "metrics.jsonl"
PAIRING = "pairing.json"
PREDICTIONS = "predictions.npz"
CHECKPOINTS = "checkpoints"
FAILURE = "failure.txt"
LOCK = ".lock"

INITIAL_WEIGHTS = "initial_weights_sha256"
"""Field of `run.json`: digest of the weights that a run started from; null: random values."""

# Files of a sweep's directory; its runs have directories of their own below RUNS.
SWEEP = "sweep.json"
RUNS = "runs"
REPORT = "report"
# What tuned the arms of a sweep; the tuning runs have directories of their own below TUNING_RUNS.
TUNING = "tuning.json"
TUNING_RUNS = "tuning"
# Files of an archive, a small directory from which the report of a sweep is made again; its
# sweep.json says under ARCHIVED that it is one.
ARCHIVED = "archived"
RECORDS = "records.parquet"
CURVES = "curves.parquet"

SWEEP_SCHEMA = 1
"""Version of the format of `sweep.json`."""
TUNING_SCHEMA = 1
"""Version of the format of `tuning.json`."""
PAIRING_SCHEMA = 1
"""Version of the format of `pairing.json`."""
ARCHIVE_SCHEMA = 1
"""Version of the format of an archive."""

STATUSES = ("planned", "running", "done", "diverged", "failed")
"""Statuses that `run.json` can record; a run without the file is planned."""
ENDED = ("done", "diverged")
"""Statuses of a run with nothing left to do; a failed run is tried again."""

DATA_SPLITS = ("train", "valid", "test")
"""Splits of a data set."""
SPLITS = ("train", "valid")
"""Splits that have rows in `metrics.jsonl`."""

METRICS = ("top1", "map100")
"""Headline metrics of a task; the first is that of a run which does not name one."""
METRIC_NAMES = {"top1": "top-1", "map100": "MAP@100"}

STEPS_TO_TARGET = "steps_to_target"
FINAL_MAP100 = "final_map100"
ENDPOINT_NAMES = {
    "final_top1": "final top-1",
    FINAL_MAP100: "final MAP@100",
    "curve_area": "area under the curve",
    STEPS_TO_TARGET: "steps to target",
}
"""Every endpoint a claim can have, with the name that people read."""
ENDPOINTS = tuple(ENDPOINT_NAMES)

DIRECTIONS = ("better", "worse", "equivalent", "not_worse")
"""Directions a claim can have."""
NEED_MARGIN = ("equivalent", "not_worse")
"""Directions that mean nothing without a margin."""

TESTS = ("mean", "median")
"""What a claim can be about: the mean paired difference, or the median."""

FEWEST_PAIRS = 4
"""Paired differences without which no verdict is drawn at all."""

DECIDED = ("supported", "opposite", "equivalent")
"""Verdicts that say how something is."""

SPENDING_NAMES = {"obrien_fleming": "O'Brien and Fleming's", "pocock": "Pocock's"}
"""Functions by which declared looks share the level of a test, with the names that people read."""
SPENDINGS = tuple(SPENDING_NAMES)


def data_differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, list[str]]:
    """What differs between the data of two runs, by split.

    Args:
        one: the `data` of a `run.json`.
        other: that of another. Images and labels are compared where both were fingerprinted by the
            same method, and a split where both have it.

    Returns:
        For each split that differs, which of "examples", "images", "labels" and "class names" do.
    """
    fields = ["examples"]
    if one.get("method") == other.get("method"):
        fields += ["images", "labels"]
    ours, theirs = (_mapping(record.get("splits")) for record in (one, other))
    differences = {}
    for split in DATA_SPLITS:
        mine, yours = _mapping(ours.get(split)), _mapping(theirs.get(split))
        unlike = [name for name in fields if mine and yours and mine.get(name) != yours.get(name)]
        if mine and yours and one.get("classes") != other.get("classes"):
            unlike.append("class names")
        if unlike:
            differences[split] = unlike
    return differences


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def stays_inside(path: Any) -> bool:
    """Whether a path that a file names, relative to a directory, leads to something inside it."""
    if not isinstance(path, str) or not path.isprintable():
        return False
    pure = PurePosixPath(path)
    return bool(path) and not pure.is_absolute() and ".." not in pure.parts
