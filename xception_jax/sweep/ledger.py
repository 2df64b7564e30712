"""The record of a sweep: what it consists of, and how each run stands.

`sweep.json` says what the sweep is; how a run stands is read from the run's own directory, so
there is no second truth that could disagree with it.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xception_jax.checksums import digest, has_valid_checksum
from xception_jax.config import Config, read_json
from xception_jax.errors import InputError
from xception_jax.records import CONFIG, RUN, SWEEP, SWEEP_SCHEMA, stays_inside
from xception_jax.runtime import run_directory as files
from xception_jax.runtime.lock import is_locked
from xception_jax.sweep.experiment import Experiment, PlannedRun


@dataclass(frozen=True)
class RunStatus:
    """How a run stands.

    Attributes:
        status: as in `run.json`, or "interrupted": it says running, but no process holds it; or
            "unreadable": the file is damaged.
        reason: why, where there is something to say.
        record: `run.json`.
    """

    arm: str
    seed: int
    status: str
    reason: str | None
    record: dict[str, Any]


def require_home(
    directory: Path, experiment: Experiment, runs: Iterable[PlannedRun]
) -> dict[str, Any]:
    """Checks that `directory` is, or can become, the home of this sweep.

    Seeds, arms and claims may be added to a recorded sweep. What it has recorded stays as it is:
    the settings of its runs, and the claims that were made before them.

    Returns:
        What `sweep.json` holds; empty: nothing is recorded yet.

    Raises:
        InputError: it cannot be written, or holds a single run or another sweep.
    """
    files.require_writable(directory)

    def refuse(reason: str) -> None:
        reason = f"holds {reason}; choose another directory"
        raise InputError("--workdir", str(directory), reason)

    if (directory / CONFIG).exists() or (directory / RUN).exists():
        refuse("a single run")
    if not (directory / SWEEP).exists():
        return {}
    there = read_ledger(directory / SWEEP)
    name = there["experiment"].get("name")
    if name != experiment.name:
        refuse(f"another sweep: its experiment is {name!r}, not {experiment.name!r}")
    recorded = {(row["arm"], row["seed"]): row["id"] for row in there["runs"]}
    base = there["experiment"].get("base")
    for run in runs:
        if recorded.get((run.arm, run.seed), run.id) != run.id:
            if base != experiment.base:
                refuse(f"another sweep: its base config is {base!r}, not {experiment.base!r}")
            refuse(f"another sweep: its {run.arm!r} with seed {run.seed} has other settings")
    if missing := {arm for arm, _ in recorded} - set(experiment.arms):
        refuse(f"another sweep: it has the arm {min(missing)!r}")
    return there


def write_ledger(
    directory: Path,
    experiment: Experiment,
    base: Config,
    runs: Iterable[PlannedRun],
    command: str,
) -> None:
    """Records the sweep in `directory`, which the caller has locked.

    Args:
        directory: of the sweep.
        experiment: that the runs belong to.
        base: every setting as it is where an arm says nothing else, overrides included; with the
            arms and the seeds it is all that `recorded.load_recorded` needs.
        runs: of the sweep.
        command: what the person typed.

    Raises:
        InputError: see `require_home`.
    """
    runs = list(runs)
    there = require_home(directory, experiment, runs)
    rows = [
        {"arm": run.arm, "seed": run.seed, "id": run.id, "directory": run.directory} for run in runs
    ]
    listed = {row["directory"] for row in rows}
    kept = [row for row in there.get("runs", []) if row["directory"] not in listed]
    described = experiment.describe()
    described["seeds"] = sorted({row["seed"] for row in [*rows, *kept]})
    described["claims"], claims = _claims(directory, described["claims"], there)
    content = {
        "schema": SWEEP_SCHEMA,
        "experiment": described,
        **claims,
        "base": base.to_dict(),
        "runs": [*rows, *kept],
        "packs": there.get("packs", []),
        "command": command,
        "created": there.get("created") or files.now(),
        **files.provenance(),
    }
    files.write_whole(directory / SWEEP, json.dumps(content, indent=2) + "\n")


def _claims(
    directory: Path, claims: list[dict[str, Any]], there: dict[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """The claims made before the runs, and beside them their hash and the later ones.

    Once a run has begun no recorded claim is taken away, and what is new or changed is post hoc.
    The hash stays as it was recorded, so that an edit of `sweep.json` shows.
    """
    if not there or all(run.status == "planned" for run in read_statuses(directory)):
        return claims, {"claims_sha256": digest(claims), "post_hoc_claims": []}
    recorded = there["experiment"].get("claims", [])
    late = there.get("post_hoc_claims", [])
    new = [claim for claim in claims if claim not in recorded and claim not in late]
    recorded_hash = there.get("claims_sha256") or digest(recorded)
    return recorded, {"claims_sha256": recorded_hash, "post_hoc_claims": [*late, *new]}


def read_ledger(path: Path) -> dict[str, Any]:
    """`sweep.json`, with what is relied on in its place.

    Raises:
        InputError: it is damaged.
    """
    content = read_json(path)
    rows = content.get("runs")
    kinds = {"arm": str, "seed": int, "id": str, "directory": str}
    if (
        isinstance(content.get("experiment"), dict)
        and isinstance(rows, list)
        and all(isinstance(row, dict) for row in rows)
        and all(isinstance(row.get(key), kind) for row in rows for key, kind in kinds.items())
    ):
        if outside := [row for row in rows if not stays_inside(row["directory"])]:
            raise InputError(
                "directory", outside[0]["directory"], f"is outside of the sweep, {path}"
            )
        return content
    raise InputError("file", str(path), "is not the record of a sweep")


def read_packs(directory: Path) -> list[dict[str, Any]]:
    """The packs that `record_packs` has recorded, oldest first."""
    packs: list[dict[str, Any]] = read_ledger(directory / SWEEP).get("packs", [])
    return packs


def record_packs(directory: Path, rows: Iterable[dict[str, Any]]) -> list[int]:
    """Adds packs to the record, before their runs begin; the caller has locked `directory`.

    Returns:
        the place of each in the record, where it stays.
    """
    content = read_ledger(directory / SWEEP)
    packs = content.setdefault("packs", [])
    places = {(row["size"], *row["runs"]): place for place, row in enumerate(packs)}
    numbers = []
    for row in rows:
        number = places.setdefault((row["size"], *row["runs"]), len(packs))
        if number == len(packs):
            packs.append(row)
        numbers.append(number)
    files.write_whole(directory / SWEEP, json.dumps(content, indent=2) + "\n")
    return numbers


def read_statuses(directory: Path) -> list[RunStatus]:
    """How every run of the sweep (or the one run) in `directory` stands.

    Raises:
        InputError: there is neither a sweep nor a run; `sweep.json` is damaged.
    """
    if (directory / SWEEP).exists():
        rows = read_ledger(directory / SWEEP)["runs"]
        return [_status(row["arm"], row["seed"], directory / row["directory"]) for row in rows]
    if (directory / RUN).exists():
        record = files.read_run(directory)
        return [_status(record.get("arm") or record.get("name", "-"), record["seed"], directory)]
    if not directory.is_dir():
        raise InputError("directory", str(directory), "no such directory")
    raise InputError("directory", str(directory), "holds neither sweep.json nor run.json")


def _status(arm: str, seed: int, directory: Path) -> RunStatus:
    try:
        record = files.read_run(directory)
    except InputError as error:
        return RunStatus(arm, seed, "unreadable", str(error), {})
    status, reason = record["status"], record.get("reason")
    if not has_valid_checksum(record):
        reason = f"{reason}; " * bool(reason) + "run.json was changed after the run wrote it"
    if status == "running" and not is_locked(directory):
        status, reason = "interrupted", "the same command goes on with it"
    return RunStatus(arm, seed, status, reason, record)
