"""Reads the files of a sweep or a run, whatever state they are in.

Nothing here trusts a file: a run may be planned, running or dead, a file may be missing, its last
line torn, its numbers not finite. What cannot be read is left out and said so in `Sweep.notes`.
"""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from xception_jax.config import flatten
from xception_jax.config.schema import SETTINGS
from xception_jax.errors import InputError
from xception_jax.json_values import (
    as_list,
    as_mapping,
    as_real,
    as_text,
    as_whole,
    first_known,
    parse_json,
)
from xception_jax.records import (
    ARCHIVED,
    INITIAL_WEIGHTS,
    METRICS,
    METRICS_LOG,
    RUN,
    RUNS,
    SWEEP,
    SWEEP_SCHEMA,
    TUNING,
    stays_inside,
)
from xception_jax.regular_files import directory_problem, read_regular
from xception_jax.report.archive import Archive
from xception_jax.report.sources import (
    MAX_RECORD,
    RunDirectories,
    Source,
    read_record,
)
from xception_jax.statistics.compute import packed_runs, spent_by
from xception_jax.statistics.results import SHOWN_STATUSES, UNREADABLE, OtherRun, Run, Sweep

# Settings that a config.json from before they existed does not have: they were as by default.
_DEFAULTS = {
    name: known.default for name, known in SETTINGS.items() if known.identity == "unless_default"
}


def read_directory(directory: Path) -> Sweep:
    """Reads the directory of a sweep, the archive of one, or the directory of one run.

    Raises:
        InputError: the directory holds neither, or its `sweep.json` cannot be used.
    """
    directory = Path(directory)
    if (problem := directory_problem(directory)) is not None:
        raise InputError("directory", str(directory), problem, _sweep_near(directory))
    if (directory / SWEEP).is_file():
        return _read_sweep(directory)
    if (directory / RUN).is_file() or (directory / METRICS_LOG).is_file():
        return _read_single(directory)
    raise InputError(
        "directory",
        str(directory),
        "holds neither sweep.json nor run.json; "
        "give the --workdir of `xception-jax sweep` or `xception-jax train`",
        _sweep_near(directory),
    )


def _sweep_near(directory: Path) -> str | None:
    """A sweep up to two levels above `directory`, or one below: the usual slips."""
    try:
        around = [*directory.absolute().parents[:2], *sorted(directory.glob("*/"))]
    except OSError:
        return None
    return next((str(path) for path in around if _holds_sweep(path)), None)


def _holds_sweep(directory: Path) -> bool:
    with suppress(OSError):  # nobody is sent where this user may not enter
        return (directory / SWEEP).is_file()
    return False


def open_source(directory: Path, sweep: Mapping[str, Any]) -> Source:
    """Where the files of a sweep's runs are.

    Args:
        directory: directory of the sweep.
        sweep: the content of its `sweep.json`.

    Raises:
        InputError: the sweep is an archive, and its files are damaged.
    """
    return Archive(directory, sweep) if ARCHIVED in sweep else RunDirectories(directory)


def _read_sweep(directory: Path) -> Sweep:
    sweep = _read_description(directory / SWEEP)
    source = open_source(directory, sweep)
    experiment = sweep["experiment"]
    # What was left out of the sweep is left out of its archive, which says so in its place.
    notes = [as_text(note) for note in as_list(as_mapping(sweep.get(ARCHIVED)).get("notes"))]
    listed = [entry for entry in as_list(sweep.get("runs")) if isinstance(entry, dict)]
    outside = [entry for entry in listed if not stays_inside(entry.get("directory"))]
    notes += [f"left out: {as_text(entry)} is not inside of the sweep" for entry in outside]
    listed = [entry for entry in listed if entry not in outside]
    runs = [_read_run(entry, source, notes) for entry in listed]
    notes += _data_notes(runs)
    known = {run.directory for run in runs}
    unlisted = [name for name in source.directories() if name not in known]
    others = tuple(_other(name, source) for name in unlisted)
    # A run that has not begun is of a seed that was planned and then was not: it holds nothing.
    strangers = [
        name
        for name, other in zip(unlisted, others, strict=True)
        if name.startswith(f"{RUNS}/") and other.record.get("status") != "planned"
    ]
    if strangers:
        notes.append(f"left out, because sweep.json does not list them: {', '.join(strangers)}")
    tuning = read_record(directory / TUNING, notes)
    rows = as_list(as_mapping(experiment.get("tuned") or tuning).get("runs"))
    tuning_runs = _tuning_runs(rows, source, notes)
    declared = as_mapping(experiment.get("arms"))
    arms = {as_text(arm): as_mapping(overrides) for arm, overrides in declared.items()}
    return Sweep(
        directory=directory,
        name=as_text(experiment.get("name")) or directory.resolve().name,
        hypothesis=as_text(experiment.get("hypothesis")),
        reference=as_text(experiment.get("reference")),
        arms=arms | {run.arm: {} for run in runs if run.arm not in arms},
        runs=tuple(runs),
        curves=source.curves(runs, notes),
        command=as_text(sweep.get("command")) or None,
        created=as_text(sweep.get("created")) or None,
        commit=as_text(sweep.get("commit")) or None,
        versions=_versions(sweep.get("versions")),
        is_single_run=False,
        notes=tuple(dict.fromkeys(notes)),
        read_predictions=source.predictions,
        record=sweep,
        tuning=tuning,
        tuning_runs=tuning_runs,
        others=others,
    )


def _read_description(path: Path) -> dict[str, Any]:
    """The content of `sweep.json`, with a description of the experiment in it."""
    try:
        sweep = parse_json(read_regular(path, MAX_RECORD))
    except (OSError, ValueError) as error:
        raise InputError(SWEEP, str(path), f"cannot be read: {error}") from error
    if not isinstance(sweep, dict) or not isinstance(sweep.get("experiment"), dict):
        raise InputError(SWEEP, str(path), "does not describe an experiment")
    if sweep.get("schema") != SWEEP_SCHEMA:
        reason = f"of {path}: this version of xception-jax reads no other than {SWEEP_SCHEMA}"
        raise InputError("schema", sweep.get("schema"), reason, SWEEP_SCHEMA)
    return sweep


def _tuning_runs(rows: list[Any], source: Source, notes: list[str]) -> tuple[Run, ...]:
    """The runs that a tuning lists, those apart that are not inside of the sweep."""
    listed = [row for row in rows if isinstance(row, dict) and stays_inside(row.get("directory"))]
    return tuple(_read_run(row, source, notes) for row in listed)


def _other(name: str, source: Source) -> OtherRun:
    kind = "superseded" if name.startswith(f"{RUNS}/") else "tuning"
    return OtherRun(kind, source.record(name))


def _read_single(directory: Path) -> Sweep:
    notes: list[str] = []
    source = RunDirectories(directory)
    run = _read_run({"directory": "."}, source, notes)
    notes += _data_notes([run])
    return Sweep(
        directory=directory,
        name=directory.resolve().name,
        hypothesis="",
        reference="",
        arms={run.arm: {}},
        runs=(run,),
        curves=source.curves([run], notes),
        command=None,
        created=run.started,
        commit=run.commit,
        versions=run.versions,
        is_single_run=True,
        notes=tuple(notes),
        read_predictions=source.predictions,
    )


def _read_run(entry: Mapping[str, Any], source: Source, notes: list[str]) -> Run:
    """The run that `entry` of sweep.json lists; a run without files is a planned one."""
    directory = as_text(entry.get("directory"))
    files = source.files(directory, notes)
    notes += [f"{line}: the run is not used" for line in files.changed]
    known, config = ({}, {}) if files.changed else (files.record or {}, files.config or {})
    status = as_text(known.get("status")) or ("planned" if files.record is None else UNREADABLE)
    if status not in SHOWN_STATUSES:
        notes.append(f"{directory}/{RUN}: unknown status {status!r}")
        status = UNREADABLE
    examples, result = as_mapping(known.get("examples")), as_mapping(known.get("result"))
    settings = (_DEFAULTS | flatten(config)) if config else {}
    data, train = as_mapping(config.get("data")), as_mapping(config.get("train"))
    return Run(
        arm=as_text(entry.get("arm")) or as_text(known.get("arm")) or "run",
        seed=as_whole(first_known(entry.get("seed"), known.get("seed"), config.get("seed"))),
        id=as_text(entry.get("id")) or as_text(known.get("id")),
        directory=directory,
        status=status,
        reason=as_text(known.get("reason")) or "; ".join(files.changed) or None,
        dataset=as_text(data.get("name")) or None,
        model=as_text(as_mapping(config.get("model")).get("name")) or None,
        steps=as_whole(known.get("steps")),
        epochs=as_real(first_known(known.get("epochs"), train.get("epochs"))),
        batch_size=as_whole(train.get("batch_size")),
        train_examples=as_whole(examples.get("train")),
        valid_examples=as_whole(examples.get("valid")),
        test_examples=as_whole(first_known(result.get("examples"), examples.get("test"))),
        classes=as_whole(known.get("classes")),
        parameters=as_whole(known.get("parameters")),
        test_loss=as_real(result.get("loss")),
        test_top1=as_real(result.get("top1")),
        test_top5=as_real(result.get("top5")),
        test_map100=as_real(result.get("map100")),
        result_split=as_text(result.get("split")) or None,
        metric=_metric(known, result),
        macs=as_whole(known.get("macs")),
        started=as_text(known.get("started")) or None,
        ended=as_text(known.get("ended")) or None,
        commit=as_text(known.get("commit")) or None,
        settings=settings,
        determining={name: settings[name] for name in settings if _determines_result(name)},
        pairing=files.pairing,
        data=as_mapping(known.get("data")),
        code=as_mapping(known.get("code")),
        initial_weights_sha256=as_text(known.get(INITIAL_WEIGHTS)) or None,
        claims_sha256=as_text(known.get("claims_sha256")) or None,
        **_machine(known),
        spent=spent_by(known),
        skipped_images=len(skipped)
        if isinstance(skipped := known.get("skipped_images"), list)
        else None,
    )


def _machine(known: Mapping[str, Any]) -> dict[str, Any]:
    """Where and how fast a run trained: fields of `Run`."""
    return {
        "images_per_second": as_real(known.get("images_per_second")),
        "compile_seconds": as_real(known.get("compile_seconds")),
        "pack": packed_runs(known),
        "pack_runs": tuple(map(as_text, as_list(as_mapping(known.get("pack")).get("runs")))),
        "devices": tuple(as_text(device) for device in as_list(known.get("devices"))),
        "depthwise_implementation": as_text(known.get("depthwise_implementation")) or None,
        "batch_norm_implementation": as_text(known.get("batch_norm_implementation")) or None,
        "deterministic": flag if isinstance(flag := known.get("deterministic"), bool) else None,
        "versions": _versions(known.get("versions")),
        "options": as_mapping(known.get("options")),
    }


def _determines_result(name: str) -> bool:
    """Whether a setting can change a result; one that this version does not know counts."""
    return name != "seed" and (name not in SETTINGS or bool(SETTINGS[name].identity))


def _metric(known: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    """The headline metric a run records, or in older runs the one that its result has."""
    name = as_text(known.get("metric")) or ("map100" if "map100" in result else METRICS[0])
    return name if name in METRICS else METRICS[0]


def _data_notes(runs: list[Run]) -> list[str]:
    """The notes of the runs on their data, once each."""
    notes = [as_text(note) for run in runs for note in as_list(run.data.get("notes"))]
    return [f"data: {note}" for note in dict.fromkeys(notes)]


def _versions(value: object) -> tuple[tuple[str, str], ...]:
    return tuple((as_text(name), as_text(number)) for name, number in as_mapping(value).items())
