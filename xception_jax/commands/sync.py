"""`sync`: rebuild W&B's files of a sweep or a run from its local logs."""

import shlex
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xception_jax.commands.console import Directory, console, warn
from xception_jax.errors import InputError
from xception_jax.json_values import as_text
from xception_jax.records import ARCHIVED, CONFIG, RUN, RUNS, TUNING_RUNS
from xception_jax.remote import require_local

if TYPE_CHECKING:
    from xception_jax.report import ReportResult
    from xception_jax.statistics.json_types import ClaimVerdict
    from xception_jax.statistics.results import Sweep


def sync(directory: Directory) -> int:
    """Rebuild W&B's offline runs from the local logs, with the verdicts and the figures.

    Each run, those of a tuning too, becomes one W&B run, however often it was interrupted, and the
    report of a sweep one more. Nothing is uploaded; the last line shows the command for that. Exits
    with 1 if a run is left out, such as one that is still training, or if W&B's files cannot be
    made.

    Example: `xception-jax sync results/nonlinearity`
    """
    require_local("directory", directory, "copy it to this machine first: W&B sends from there")
    from rich.progress import track

    from xception_jax.lock import locked
    from xception_jax.regular_files import inside
    from xception_jax.report import write_report
    from xception_jax.report.reading import read_directory

    sweep = read_directory(directory)
    if ARCHIVED in sweep.record:
        reason = "is an archive; W&B's files are made of the logs in the sweep's own directory"
        raise InputError("directory", str(directory), reason)
    begun = [run for run in sweep.runs if run.status != "planned"]
    if not begun:
        raise InputError("directory", str(directory), "none of its runs has begun")
    tuning = [run for run in sweep.tuning_runs if run.status != "planned"]
    problems: list[str] = []
    with locked(directory):
        written = write_report(directory)
        on_bases = {base.name: base.arms for base in sweep.bases}
        values = _values(written.verdicts["claims"], on_bases)
        mirrored = [*begun, *tuning]
        for run in track(mirrored, "runs", console=console, disable=not console.is_terminal):
            run_dir = inside(directory, run.directory)
            if run.status == "unreadable":
                problems.append(f"left out: {run_dir / 'run.json'} does not say how the run stands")
            else:
                # The directory of a single run is locked already.
                lock = nullcontext() if sweep.is_single_run else _locked_run(run_dir)
                _mirror_run(run_dir, values[run.arm, run.seed], lock, problems)
        if not sweep.is_single_run:
            _mirror_report(sweep, written, problems)
    for problem in problems:
        warn(problem)
    root = shlex.quote(str(directory))
    of_runs = () if sweep.is_single_run else (RUNS, TUNING_RUNS) if tuning else (RUNS,)
    folders = [*(f"{root}/{name}/*" for name in of_runs), root]
    files = " ".join(f"{folder}/wandb/offline-run-*" for folder in folders)
    console.print(f"W&B's offline runs are made; next: wandb sync {files}")
    return 1 if problems else 0


@contextmanager
def _locked_run(run_dir: Path) -> Iterator[None]:
    """Locks a run's directory, which the worker of a launcher may have, whose sweep is not locked.

    Raises:
        InputError: a process trains the run, and writes the files that would be made anew.
    """
    from xception_jax.lock import is_locked, locked

    if is_locked(run_dir):  # at once, also where `locked` would wait for another host
        raise InputError("directory", str(run_dir), "is in use by a process that trains the run")
    with locked(run_dir, field="directory"):
        yield


def _mirror_run(
    run_dir: Path,
    values: Mapping[str, Any],
    lock: AbstractContextManager[None],
    problems: list[str],
) -> None:
    from xception_jax.config import read_json
    from xception_jax.tracking import mirror_run

    try:
        with lock:
            record, config = read_json(run_dir / RUN), read_json(run_dir / CONFIG)
            mirror_run(run_dir, record, config, values, warn=problems.append)
    except InputError as error:
        problems.append(f"left out: {error}")


def _mirror_report(sweep: "Sweep", written: "ReportResult", problems: list[str]) -> None:
    from xception_jax.sweep.declarations import identify_sweep
    from xception_jax.tracking import PROJECT, mirror_report

    settings = sweep.runs[0].settings
    mirror_report(
        sweep.directory,
        sweep.name,
        sweep.record["experiment"],
        _summary(written.verdicts["claims"]),
        sweep_id=identify_sweep(sweep.record),
        project=as_text(settings.get("wandb.project")) or PROJECT,
        entity=as_text(settings.get("wandb.entity")) or None,
        images={path.stem: path for path in written.paths if path.suffix == ".png"},
        warn=problems.append,
    )


def _values(
    claims: "Sequence[ClaimVerdict]", on_bases: Mapping[str, Mapping[str, str]]
) -> dict[tuple[str, int | None], dict[str, Any]]:
    """The values of each run in the claims, by (arm, seed): `claim 1/final_top1`, and verdicts.

    A contrast of more arms than two has no value for each of them, and so is left out.
    """
    values: dict[tuple[str, int | None], dict[str, Any]] = defaultdict(dict)
    for number, judged in enumerate(claims, 1):
        claim = judged["claim"]
        if "kind" in claim or claim.get("versus"):
            continue
        parts: list[tuple[ClaimVerdict, Mapping[str, str]]]
        parts = [(part, on_bases[part["base"]]) for part in judged.get("bases", ())]
        for part, arms in parts or [(judged, {})]:
            for endpoint in part["endpoints"]:
                for row in endpoint["per_seed"]:
                    sides = (claim["arm"], row["arm"]), (claim["baseline"], row["baseline"])
                    for arm, value in sides:
                        run = values[arms.get(arm, arm), row["seed"]]
                        run[f"claim {number}/{endpoint['endpoint']}"] = value
                        run[f"claim {number}/verdict"] = part["verdict"]
    return values


def _summary(claims: "Sequence[ClaimVerdict]") -> dict[str, Any]:
    """The verdicts as flat names and values, which become columns in W&B."""
    summary: dict[str, Any] = {}
    for number, judged in enumerate(claims, 1):
        claim = f"claim {number}"
        summary[f"{claim}/title"] = judged["title"]
        summary[f"{claim}/verdict"] = judged["verdict"]
        summary[f"{claim}/sentence"] = judged["sentence"]
        summary[f"{claim}/grade"] = judged["grade"]
        for endpoint in judged["endpoints"]:
            name = endpoint["endpoint"]
            summary[f"{claim}/{name}/effect"] = endpoint["effect"]
            summary[f"{claim}/{name}/p"] = endpoint["p"]
            summary[f"{claim}/{name}/p_adjusted"] = endpoint["p_adjusted"]
    return summary
