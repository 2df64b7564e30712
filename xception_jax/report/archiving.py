"""Writes an archive: a small directory from which the report of a sweep is made again.

It holds what the report reads, without checkpoints, images and what is of one machine; see
`archive`. Before it takes its place it is read again, and must say the same as the sweep.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from xception_jax.errors import InputError
from xception_jax.json_values import as_list, as_mapping
from xception_jax.records import (
    ARCHIVE_SCHEMA,
    ARCHIVED,
    CURVES,
    RECORDS,
    SWEEP,
    TUNING,
    stays_inside,
)
from xception_jax.report.archive import RECORD_SCHEMA
from xception_jax.report.evaluation import Evaluation, as_parquet, evaluate
from xception_jax.report.placing import place_files
from xception_jax.report.reading import open_source, read_directory
from xception_jax.report.redaction import without_machine
from xception_jax.report.sources import RunFiles, Source, read_record
from xception_jax.report.tables import results_frame
from xception_jax.statistics.results import Sweep

FIELD = "--archive"
_WORDS = ("sentence", "grade_reasons")  # of verdicts, in which a path may stand


def require_place(target: Path, sweep: Sweep) -> None:
    """Checks that an archive of a sweep can be written to `target`.

    It can where there is nothing yet, or an archive of a sweep of the same name.

    Raises:
        InputError: it cannot, or what was read is a single run.
    """
    if sweep.is_single_run:
        reason = "is for a sweep, and this is the directory of a single run"
        raise InputError(FIELD, str(target), f"{reason}: {sweep.directory}")
    try:
        is_free = not target.exists() or (target.is_dir() and not any(target.iterdir()))
    except OSError as error:
        raise InputError(FIELD, str(target), f"is no path: {error.strerror}") from error
    if is_free:
        return
    record = read_record(target / SWEEP, []) if target.is_dir() else None
    name = as_mapping((record or {}).get("experiment")).get("name")
    mine = as_mapping(sweep.record.get("experiment")).get("name")
    if record is None or ARCHIVED not in record or name != mine:
        reason = "holds something else than an archive of this sweep; choose another directory"
        raise InputError(FIELD, str(target), reason)


def write_archive(directory: Path, target: Path) -> tuple[Path, ...]:
    """Writes an archive of the sweep in `directory`; of a sweep in progress, as it is now.

    Args:
        directory: directory of a sweep, or of an archive.
        target: directory of the new archive. Files in it that are not of an archive stay.

    Returns:
        Paths of its files.

    Raises:
        InputError: see `read_directory` and `require_place`; or the archive cannot be written, or
            would say something else than the sweep.
    """
    sweep = read_directory(directory)
    require_place(target, sweep)
    try:
        target.absolute().parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            dir=target.absolute().parent, prefix=f".{target.name}."
        ) as partial:
            draft = Path(partial) / Path(os.path.realpath(target)).name
            contents = _sources(sweep)
            place_files(draft, contents, field=FIELD)
            archived = evaluate(read_directory(draft))
            _require_same(evaluate(sweep), archived, target)
            results = _results(archived)
            if target.exists():
                if TUNING not in contents:  # one of before would be read as of this sweep
                    (target / TUNING).unlink(missing_ok=True)
                return place_files(target, results | contents, field=FIELD)
            place_files(draft, results, field=FIELD)
            draft.rename(target)
    except OSError as error:
        reason = f"cannot be written: {error.strerror or error}"
        raise InputError(FIELD, str(target), reason) from error
    return tuple(target / name for name in [*results, *contents])


def _sources(sweep: Sweep) -> dict[str, bytes]:
    """The files from which the others are made; `sweep.json`, which names them all, is the last."""
    contents = {
        RECORDS: as_parquet(_records(sweep, open_source(sweep.directory, sweep.record))),
        CURVES: as_parquet(sweep.curves),
    }
    if sweep.tuning is not None:
        contents[TUNING] = _as_json(without_machine(sweep.tuning))
    runs = [run for run in as_list(sweep.record.get("runs")) if isinstance(run, dict)]
    listed = [run for run in runs if stays_inside(run.get("directory"))]
    archived = {
        "schema": ARCHIVE_SCHEMA,
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()},
        **without_machine({"notes": list(sweep.notes)}),
    }
    record = without_machine({**sweep.record, "runs": listed})
    contents[SWEEP] = _as_json({**record, ARCHIVED: archived})
    return contents


def _records(sweep: Sweep, source: Source) -> pl.DataFrame:
    """One row for each run that left anything, whether a verdict is of it or not."""
    listed = {run.directory: run for run in sweep.runs}
    tuning = (run.directory for run in sweep.tuning_runs)
    names = dict.fromkeys([*listed, *tuning, *source.directories()])
    rows = []
    for name in names:
        files = source.files(name, [])
        if files == RunFiles():
            continue
        row: dict[str, Any] = {"directory": name, **dict(_texts(files))}
        predictions = source.predictions(listed[name]) if name in listed else None
        if predictions is not None:
            row |= {
                "split": predictions.split,
                "correct": np.packbits(predictions.correct).tobytes(),
                "examples": predictions.correct.size,
                "indices": predictions.examples,
                "label_share": predictions.label_share,
            }
        rows.append(row)
    return pl.DataFrame(rows, schema=RECORD_SCHEMA)


def _texts(files: RunFiles) -> Iterator[tuple[str, str | None]]:
    """The columns of `records.parquet` that hold JSON."""
    for name, value in vars(files).items():
        content = without_machine(list(value) if isinstance(value, tuple) else value)
        yield name, None if value is None else json.dumps(content, separators=(",", ":"))


def _results(archived: Evaluation) -> dict[str, bytes]:
    """The files that people read or compare without making the page again."""
    return {
        "results.parquet": as_parquet(results_frame(archived.summary)),
        "verdicts.json": archived.verdicts_file(),
        "checklist.md": archived.checklist_file(),
    }


def _require_same(original: Evaluation, archived: Evaluation, target: Path) -> None:
    """Raises `InputError` if the verdicts of an archive are not those of the sweep."""
    ours, theirs = (_without_words(result.verdicts) for result in (original, archived))
    if unlike := [name for name in ours if ours[name] != theirs[name]]:
        reason = f"would not say the same as {original.sweep.directory} ({', '.join(unlike)})"
        raise InputError(FIELD, str(target), f"{reason}; does another process work there?")


def _without_words(content: Any) -> Any:
    """Verdicts without their words."""
    if isinstance(content, dict):
        return {k: _without_words(value) for k, value in content.items() if k not in _WORDS}
    return [_without_words(value) for value in content] if isinstance(content, list) else content


def _as_json(record: Any) -> bytes:
    return (json.dumps(record, indent=2) + "\n").encode()
