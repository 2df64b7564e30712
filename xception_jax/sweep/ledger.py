"""The record of a sweep, `sweep.json`, which says what the sweep consists of.

What became of its runs it does not say: see `statuses`.
"""

import json
from collections.abc import Iterable, Mapping
from numbers import Integral
from pathlib import Path
from types import NoneType
from typing import Any, NamedTuple

from xception_jax.checksums import has_valid_checksum
from xception_jax.config import Config, read_json
from xception_jax.errors import InputError
from xception_jax.json_values import as_mapping
from xception_jax.records import (
    ARCHIVED,
    CONFIG,
    RUN,
    SWEEP,
    SWEEP_SCHEMA,
    TUNING,
    TUNING_RUNS,
    stays_inside,
)
from xception_jax.runtime import run_directory as files
from xception_jax.sweep.declarations import (
    Known,
    declared_looks,
    describe_begun,
    describe_lateness,
    divide_claims,
    fixed_seeds,
    read_known,
    with_declaration,
)
from xception_jax.sweep.experiment import Experiment, PlannedRun
from xception_jax.sweep.reconciliation import find_conflict, require_no_gap, require_pilot_first

# Fields of the runs and the packs in `sweep.json`.
_RUN = {"arm": str, "seed": int, "id": str, "directory": str}
_PACK = {"size": (int, NoneType), "runs": list}


class Recorded(NamedTuple):
    """What a directory says of its sweep before a plan is written into it.

    Attributes:
        content: content of `sweep.json`; empty: nothing is recorded yet.
        known: what is known of results.
        fixed: the recorded seeds that stay planned, see `declarations.fixed_seeds`.
    """

    content: dict[str, Any]
    known: Known
    fixed: set[int]


def require_same_sweep(
    directory: Path, experiment: Experiment, base: Config, runs: Iterable[PlannedRun]
) -> Recorded:
    """Reads a sweep's directory, and checks that it is, or can become, that of this sweep.

    Seeds, arms and claims may be added to a recorded sweep, and seeds whose runs have not begun may
    be left out while there is no result. The rest does not change: the settings of its runs, and
    the claims that were made before them.

    Args:
        directory: the directory.
        experiment: experiment of the sweep.
        base: the config from which the arms start.
        runs: runs of the sweep.

    Raises:
        InputError: the directory cannot be written, or holds a single run or another sweep; or the
            seeds would leave one out.
    """
    files.require_writable(directory)

    def refuse(reason: str) -> None:
        reason = f"holds {reason}; choose another directory"
        raise InputError("--workdir", str(directory), reason)

    if (directory / CONFIG).exists() or (directory / RUN).exists():
        refuse("a single run")
    if not (directory / SWEEP).exists():
        return Recorded({}, read_known(directory), set())
    recorded = read_ledger_to_resume(directory / SWEEP)
    if ARCHIVED in recorded:
        refuse("an archive, in which nothing is trained")
    if conflict := find_conflict(recorded, experiment, base, runs):
        refuse(f"another sweep: {conflict}")
    known = read_known(directory)
    fixed = fixed_seeds(directory, recorded, known)
    if experiment.looks and (others := fixed - set(experiment.all_seeds)):
        refuse(f"a sweep with other seeds, such as {min(others)}, than those of the looks")
    require_no_gap(recorded["experiment"].get("seeds", []), fixed, experiment)
    if known.has_results:
        require_pilot_first(recorded, fixed, experiment)
    declared = declared_looks(recorded["experiment"])
    if declared != declared_looks(experiment.describe()) and known.has_results:
        reason = "cannot change once there are results; choose another --workdir"
        near = tuple(declared.get("looks", ()))
        raise InputError("experiment.looks", experiment.looks, reason, near)
    return Recorded(recorded, known, fixed)


def write_ledger(
    directory: Path,
    experiment: Experiment,
    base: Config,
    runs: Iterable[PlannedRun],
    command: str,
    *,
    confirms: Mapping[str, Any] | None = None,
) -> list[str]:
    """Records the sweep in `directory`, which the caller has locked.

    Args:
        directory: directory of the sweep.
        experiment: experiment of the sweep.
        base: the config from which the arms start, overrides included; with the arms and the seeds
            it is all that `recorded.load_recorded` needs.
        runs: runs of the sweep.
        command: command line that the user typed.
        confirms: the sweep that this one repeats; once recorded, it stays.

    Returns:
        One line for each thing that is declared after results, or cannot be taken back, for people.

    Raises:
        InputError: see `require_same_sweep`.
    """
    runs = list(runs)
    recorded, known, fixed = require_same_sweep(directory, experiment, base, runs)
    rows = [
        {"arm": run.arm, "seed": run.seed, "id": run.id, "directory": run.directory} for run in runs
    ]
    directories, seeds = {row["directory"] for row in rows}, fixed | set(experiment.all_seeds)
    others = (row for row in recorded.get("runs", []) if row["directory"] not in directories)
    kept = [row for row in others if row["seed"] in seeds]
    described = experiment.describe()
    later = described["seeds"] if experiment.looks else []  # that a look may make unnecessary
    if rows or kept:  # there are none while a sweep is tuned
        described["seeds"] = sorted({*later, *(row["seed"] for row in [*rows, *kept])})
    declarations = with_declaration(
        recorded.get("declarations", []),
        seeds=described["seeds"],
        arms=list(described["arms"]),
        claims=described["claims"],
        known=known,
        command=command,
        looks=declared_looks(described),
    )
    described["claims"], late, checksum = divide_claims(described["claims"], recorded, known)
    content = {
        "schema": SWEEP_SCHEMA,
        "experiment": described,
        "claims_sha256": checksum,
        "post_hoc_claims": late,
        "declarations": declarations,
        "base": base.to_dict(),
        "runs": [*rows, *kept],
        "packs": recorded.get("packs", []),
        "command": command,
        **({"confirms": confirmed} if (confirmed := recorded.get("confirms") or confirms) else {}),
        "created": recorded.get("created") or files.now(),
        **files.provenance(),
    }
    if experiment.tuned:
        _restore_tuning(directory, experiment)
        # The tuning runs are where the sweep is from whose record this one started.
        is_elsewhere = not (directory / TUNING_RUNS).is_dir()
        content["tuned_elsewhere"] = bool(recorded.get("tuned_elsewhere", is_elsewhere))
    text = json.dumps(content, indent=2, default=_plain_number)
    files.write_whole(directory / SWEEP, text + "\n")
    begun = set() if known.has_results else fixed - set(experiment.all_seeds)
    return [*describe_begun(begun), *describe_lateness(recorded, content, known)]


def _plain_number(value: Any) -> float:
    """A setting of an arm whose type JSON does not know: NumPy's numbers are valid ones, too."""
    return int(value) if isinstance(value, Integral) else float(value)


def _restore_tuning(directory: Path, experiment: Experiment) -> None:
    """Writes the choice that the experiment has as `tuning.json`, where that does not hold it.

    The tuning was in another directory, the file cannot be read, or a tuning of arms that are no
    more left it incomplete.
    """
    try:
        beside = read_json(directory / TUNING)
    except InputError:
        is_lost = True
    else:
        is_left = beside.get("complete") is False and has_valid_checksum(beside)
        is_lost = is_left and not experiment.untuned
    if is_lost:
        text = json.dumps(experiment.tuned, indent=2) + "\n"
        files.write_whole(directory / TUNING, text)


def read_ledger(path: Path, *, all_inside: bool = True) -> dict[str, Any]:
    """The content of `sweep.json`, of which the experiment and the rows of the runs are checked.

    Args:
        path: path of the file.
        all_inside: whether a run outside of the sweep is refused.

    Raises:
        InputError: the file is damaged, of another version, or a run is outside of the sweep.
    """
    content = read_json(path)
    rows = content.get("runs")
    if (
        not isinstance(content.get("experiment"), dict)
        or not isinstance(rows, list)
        or not all(_has_kinds(row, _RUN) for row in rows)
    ):
        raise InputError("file", str(path), "is not the record of a sweep")
    if (version := content.get("schema")) != SWEEP_SCHEMA:
        reason = f"of {path}: this version of xception-jax reads no other than {SWEEP_SCHEMA}"
        raise InputError("schema", version, reason, SWEEP_SCHEMA)
    if all_inside:
        _require_inside(path, [row["directory"] for row in rows])
    return content


def read_ledger_to_resume(path: Path) -> dict[str, Any]:
    """The content of `sweep.json`, of which every field is checked that training relies on.

    Raises:
        InputError: see `read_ledger`; or packs, declarations, claims, seeds or looks are damaged.
    """
    content = read_ledger(path)
    experiment, packs = content["experiment"], content.get("packs", [])
    fields: list[tuple[str, dict[str, Any], type]] = [
        (name, content, dict) for name in ("packs", "declarations", "post_hoc_claims")
    ]
    fields += [("claims", experiment, dict), ("seeds", experiment, int), ("looks", experiment, int)]
    for name, parent, kind in fields:
        values = parent.get(name, [])
        valid = isinstance(values, list) and all(isinstance(entry, kind) for entry in values)
        if not valid or (name == "packs" and not all(_has_kinds(pack, _PACK) for pack in packs)):
            raise InputError("file", str(path), f"is not the record of a sweep, by its {name}")
    _require_inside(path, [name for pack in packs for name in pack["runs"]])
    return content


def _has_kinds(row: Any, kinds: Mapping[str, Any]) -> bool:
    """Whether a row is an object whose fields have these types."""
    return isinstance(row, dict) and all(isinstance(row.get(name), kinds[name]) for name in kinds)


def _require_inside(path: Path, directories: Iterable[Any]) -> None:
    for name in directories:
        if not stays_inside(name):
            raise InputError("directory", name, f"is outside of the sweep, {path}")


def read_base_paths(directory: Path) -> dict[str, Any]:
    """The paths of several bases of a recorded sweep by name; empty where there is one."""
    if not (directory / SWEEP).exists():
        return {}
    return as_mapping(read_ledger(directory / SWEEP, all_inside=False)["experiment"].get("base"))


def read_packs(directory: Path) -> list[dict[str, Any]]:
    """The packs that `record_packs` recorded, oldest first."""
    packs: list[dict[str, Any]] = read_ledger_to_resume(directory / SWEEP).get("packs", [])
    return packs


def record_packs(directory: Path, rows: Iterable[dict[str, Any]]) -> list[int]:
    """Adds packs to the record, before their runs begin; the caller has locked `directory`.

    Returns:
        The index of each pack in the record, which never changes.
    """
    content = read_ledger_to_resume(directory / SWEEP)
    packs = content.setdefault("packs", [])
    indices = {(row["size"], *row["runs"]): index for index, row in enumerate(packs)}
    row_indices = []
    for row in rows:
        index = indices.setdefault((row["size"], *row["runs"]), len(packs))
        if index == len(packs):
            packs.append(row)
        row_indices.append(index)
    files.write_whole(directory / SWEEP, json.dumps(content, indent=2) + "\n")
    return row_indices
