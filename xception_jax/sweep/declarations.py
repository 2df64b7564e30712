"""The declarations of a sweep: which seeds and claims it had, and what was known of its results.

`sweep.json` keeps them for ever, oldest first. `statistics.declared` reads them: claims count as
declared before the runs only if no run had begun, and seeds as planned only if there was no result.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from xception_jax.checksums import digest, with_checksum
from xception_jax.json_values import as_list, as_mapping
from xception_jax.lock import is_locked
from xception_jax.records import ENDED, METRICS_LOG, REPORT, RUN, RUNS
from xception_jax.regular_files import read_regular
from xception_jax.runtime.run_directory import now


@dataclass(frozen=True)
class Known:
    """The results that a sweep's directory shows at one moment, so that someone may know them.

    Attributes:
        begun: number of runs that have begun.
        results: number of runs that have logged a row or ended, so that someone can have seen it.
        reported: whether a report with a curve lies there, whatever has become of its runs.
    """

    begun: int = 0
    results: int = 0
    reported: bool = False

    @property
    def has_begun(self) -> bool:
        """Whether a run has begun, though it may be gone."""
        return self.begun > 0 or self.reported

    @property
    def has_results(self) -> bool:
        """Whether someone can have seen a result."""
        return self.results > 0 or self.reported


def read_known(directory: Path) -> Known:
    """Reads what is known of a sweep, also from runs that `sweep.json` does not list."""
    runs = [_begun_and_seen(run_dir) for run_dir in directory.glob(f"{RUNS}/*/")]
    begun, results = (sum(flags) for flags in zip(*runs, strict=True)) if runs else (0, 0)
    return Known(begun, results, _has_rows(directory / REPORT / "curves.csv"))


def fixed_seeds(directory: Path, recorded: Mapping[str, Any], known: Known) -> set[int]:
    """The recorded seeds that no new declaration can take back.

    Once someone can have seen a result these are all of them. Before, they are those of runs that
    have begun, or that a process has locked to begin them: such a run may give a result at any
    time, and leaving its seed out would then be a choice.

    Args:
        directory: directory of the sweep.
        recorded: content of `sweep.json`; empty: there is none.
        known: what is known of the sweep's results.
    """
    rows = recorded.get("runs", [])
    if known.has_results:
        return {*recorded.get("experiment", {}).get("seeds", []), *(row["seed"] for row in rows)}
    run_dirs = ((row["seed"], directory / row["directory"]) for row in rows)
    return {seed for seed, run_dir in run_dirs if is_locked(run_dir) or _begun_and_seen(run_dir)[0]}


def _begun_and_seen(run_dir: Path) -> tuple[bool, bool]:
    """Whether a run has begun, and whether someone can have seen a result of it."""
    status, has_logged = _status(run_dir), _has_content(run_dir / METRICS_LOG)
    has_result = has_logged or status in ENDED
    return has_result or status not in (None, "planned"), has_result


def _status(run_dir: Path) -> Any:
    """The status in `run.json`; None without the file, and empty where it cannot be understood."""
    try:
        record = json.loads(read_regular(run_dir / RUN))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError):
        return ""
    return record.get("status", "") if isinstance(record, dict) else ""


def _has_rows(table: Path) -> bool:
    """Whether a CSV file has more than a line of names; true of what cannot be read."""
    try:
        return read_regular(table).count(b"\n") > 1
    except FileNotFoundError:
        return False
    except OSError:
        return True


def _has_content(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def identify_sweep(recorded: Mapping[str, Any]) -> str:
    """A digest that tells a sweep from any other, of the same experiment too; it never changes.

    Args:
        recorded: content of `sweep.json`.
    """
    first = next(iter(as_list(recorded.get("declarations"))), None)
    name = as_mapping(recorded.get("experiment")).get("name")
    return digest([name, recorded.get("created"), as_mapping(first).get("sha256")])


def with_declaration(
    history: Sequence[Mapping[str, Any]],
    *,
    seeds: Sequence[int],
    arms: Sequence[str],
    claims: Sequence[Mapping[str, Any]],
    known: Known,
    command: str,
    at: str | None = None,
    looks: Mapping[str, Any] | None = None,
) -> list[Mapping[str, Any]]:
    """The declarations with a new one at the end, unless the last one declares the same.

    Each one carries a checksum of itself and that of the one before, so that an edit shows.

    Args:
        history: the declarations so far, oldest first.
        seeds: all seeds of the sweep.
        arms: names of all its arms.
        claims: its claims as plain data.
        known: what is known of its results.
        command: command line that declares it.
        at: time of the declaration, ISO 8601; None: now.
        looks: "looks" and "spending" of the experiment, where it has looks.
    """
    content = {"seeds": list(seeds), "arms": list(arms), "claims": list(claims), **(looks or {})}
    last = history[-1] if history else {}
    names = {*content, "looks", "spending"}
    if all(last.get(name) == content.get(name) for name in names):
        return list(history)
    entry = {
        "at": at or now(),
        "command": command,
        **content,
        "known": asdict(known),
        "previous": last.get("sha256"),
    }
    return [*history, with_checksum(entry)]


def declared_looks(described: Mapping[str, Any]) -> dict[str, Any]:
    """The declared looks of an experiment, and how they share the level; empty: it has none."""
    return {name: described[name] for name in ("looks", "spending") if name in described}


def divide_claims(
    claims: list[dict[str, Any]], recorded: Mapping[str, Any], known: Known
) -> tuple[list[Any], list[Any], str]:
    """The claims made before the runs, the later ones, and the digest of the former.

    Once a run has begun no recorded claim is removed, and a new or changed one is post hoc; all are
    where no record says what was claimed when it began. The digest stays as it was recorded, so
    that an edit of `sweep.json` shows.

    Args:
        claims: the claims of the experiment as it is now.
        recorded: content of `sweep.json`; empty: there is none.
        known: what is known of the sweep's results.
    """
    if not known.has_begun:
        return claims, [], digest(claims)
    before_runs = recorded.get("experiment", {}).get("claims", [])
    late = recorded.get("post_hoc_claims", [])
    new = [claim for claim in claims if claim not in before_runs and claim not in late]
    return before_runs, [*late, *new], recorded.get("claims_sha256") or digest(before_runs)


def describe_begun(begun: Collection[int]) -> list[str]:
    """A line on seeds that are asked for no more, and stay planned; none where there are none.

    Args:
        begun: the seeds.
    """
    if not begun:
        return []
    subject = "1 seed stays" if len(begun) == 1 else f"{len(begun)} seeds stay"
    which = ", ".join(map(str, sorted(begun)))
    return [
        f"{subject} planned, since runs of {'it' if len(begun) == 1 else 'them'} have begun: "
        f"{which}; for fewer seeds choose another --workdir"
    ]


def describe_lateness(
    recorded: Mapping[str, Any], content: Mapping[str, Any], known: Known
) -> list[str]:
    """One line for each thing that the new `sweep.json` has and that comes after results.

    Args:
        recorded: content of `sweep.json` so far; empty: there is none.
        content: its new content.
        known: what is known of the sweep's results.
    """
    if not recorded and known.has_begun:
        return [
            "sweep.json is made again from runs that had begun: its claims count as post hoc"
            + ", and its seeds as added after results" * known.has_results
        ]
    lines = []
    late = len(content["post_hoc_claims"]) - len(recorded.get("post_hoc_claims", []))
    if recorded and late > 0:
        subject = "1 claim was" if late == 1 else f"{late} claims were"
        lines.append(f"{subject} made or changed after the runs had begun: post hoc")
    old = recorded.get("experiment", {}).get("seeds", [])
    added = [seed for seed in content["experiment"]["seeds"] if seed not in old]
    if recorded and added and known.has_results:
        subject = "1 seed is" if len(added) == 1 else f"{len(added)} seeds are"
        lines.append(
            f"{subject} added to the {len(old)} declared before there were results: verdicts that "
            "use them say so, and have grade C at most"
        )
    return lines
