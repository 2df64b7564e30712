"""Reads an archive: a small directory from which the report of a sweep is made again.

`sweep.json` says that it is one, and holds the digests of its other files. What each run recorded
is a row of `records.parquet`, and all logs together are `curves.parquet`. `archiving` writes them.
"""

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from xception_jax.errors import InputError, one_line
from xception_jax.json_values import as_list, as_mapping, as_real, as_text
from xception_jax.records import (
    ARCHIVE_SCHEMA,
    ARCHIVED,
    CONFIG,
    CURVES,
    PAIRING,
    RECORDS,
    RUN,
    RUNS,
    TUNING,
    TUNING_RUNS,
)
from xception_jax.regular_files import read_regular
from xception_jax.report.logs import CURVE_SCHEMA, arrange_rows
from xception_jax.report.parquet_sizes import require_bounded
from xception_jax.report.sources import RunFiles, parse_record
from xception_jax.statistics.predictions import Predictions, digest_of_labels
from xception_jax.statistics.results import Run

RECORD_SCHEMA = pl.Schema(
    {
        "directory": pl.String(),
        "record": pl.String(),
        "config": pl.String(),
        "pairing": pl.String(),
        "changed": pl.String(),
        "split": pl.String(),
        "correct": pl.Binary(),
        "examples": pl.Int64(),
        "indices": pl.String(),
        "label_share": pl.Float64(),
    }
)
"""Columns of `records.parquet`: the fields of `RunFiles` as JSON; then those of `Predictions`, with
`correct` as the bits of as many `examples`, and the digest of their indices as `indices`."""

_MOST = 1 << 26  # bytes of a file
_MOST_UNPACKED = 1 << 29  # bytes
_MOST_RUNS = 1 << 17
_MOST_ROWS = 1 << 22  # of all logs


class Archive:
    """The source of an archived sweep; see `sources.Source`.

    Args:
        root: directory of the archive.
        sweep: the content of its `sweep.json`.

    Raises:
        InputError: a file is missing, is not the one that was archived, or is not what it should
            be.
    """

    def __init__(self, root: Path, sweep: Mapping[str, Any]) -> None:
        archived = as_mapping(sweep.get(ARCHIVED))
        if (version := archived.get("schema")) != ARCHIVE_SCHEMA:
            reason = f"of the archive {root}: this version of xception-jax reads no other than"
            raise InputError("schema", version, f"{reason} {ARCHIVE_SCHEMA}", ARCHIVE_SCHEMA)
        files = as_mapping(archived.get("files"))
        if TUNING in files:
            _read(root / TUNING, files[TUNING])
        elif (root / TUNING).exists():
            reason = "is not one that the sweep.json of the archive lists; delete it"
            raise InputError(TUNING, str(root / TUNING), reason)
        records = _read_table(root / RECORDS, files.get(RECORDS), RECORD_SCHEMA, _MOST_RUNS)
        self._rows = {as_text(row["directory"]): row for row in records.iter_rows(named=True)}
        self._curves = _read_table(root / CURVES, files.get(CURVES), CURVE_SCHEMA, _MOST_ROWS)

    def directories(self) -> list[str]:
        """See `Source`."""
        names = sorted(name for name, row in self._rows.items() if row["record"] is not None)
        return [
            name for below in (RUNS, TUNING_RUNS) for name in names if name.startswith(f"{below}/")
        ]

    def record(self, directory: str) -> dict[str, Any]:
        """See `Source`."""
        return self.files(directory, []).record or {}

    def files(self, directory: str, notes: list[str]) -> RunFiles:
        """See `Source`."""
        row = self._rows.get(directory)
        if row is None:
            return RunFiles()
        folder = Path(directory).name

        def parsed(column: str, name: str) -> dict[str, Any] | None:
            content = row[column]
            return None if content is None else parse_record(content, f"{folder}/{name}", notes)

        return RunFiles(
            record=parsed("record", RUN),
            config=parsed("config", CONFIG),
            pairing=parsed("pairing", PAIRING),
            changed=_lines(row["changed"]),
        )

    def curves(self, runs: Sequence[Run], notes: list[str]) -> pl.DataFrame:  # noqa: ARG002
        """See `Source`."""
        rows = self._curves.drop("arm", "seed")
        return arrange_rows(rows, [(run.arm, run.seed) for run in runs])

    def predictions(self, run: Run) -> Predictions | None:
        """See `Source`."""
        row = self._rows.get(run.directory)
        if row is None or row["correct"] is None or row["examples"] is None:
            return None
        packed, examples = np.frombuffer(row["correct"], np.uint8), row["examples"]
        if not 0 < examples <= 8 * packed.size:
            return None
        split = as_text(row["split"])
        return Predictions(
            correct=np.unpackbits(packed, count=examples).astype(bool),
            examples=row["indices"],
            label_share=as_real(row["label_share"]),
            split=split,
            labels=digest_of_labels(run.data, split),
        )


def _read(path: Path, digest: Any) -> bytes:
    """The content of a file of the archive, which has the digest that `sweep.json` says."""
    try:
        content = read_regular(path, _MOST)
    except OSError as error:
        reason = f"of the archive cannot be read: {error.strerror or error}"
        raise InputError(path.name, str(path), reason) from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise InputError(path.name, str(path), "is not the file that was archived: it was changed")
    return content


def _read_table(path: Path, digest: Any, schema: pl.Schema, most: int) -> pl.DataFrame:
    """The table in a file of the archive, with these columns and at most so many rows."""
    content = _read(path, digest)
    try:
        require_bounded(content, rows=most, unpacked=_MOST_UNPACKED)
        table = pl.scan_parquet(io.BytesIO(content))
        columns = table.collect_schema()
        frame = table.collect() if columns == schema else pl.DataFrame(schema=schema)
        _require_short_texts(frame)
    # Polars panics at some damage, and its panics are no `Exception`.
    except (Exception, pl.exceptions.PanicException) as error:
        reason = f"is not a table of an archive ({one_line(error)})"
        raise InputError(path.name, str(path), reason) from error
    if columns != schema:
        unlike = {*columns.items()} ^ {*schema.items()}
        names = ", ".join(name for name in (*schema, *columns) if name in dict(unlike))
        raise InputError(path.name, str(path), f"has other columns than an archive: {names}")
    return frame


def _require_short_texts(frame: pl.DataFrame) -> None:
    """Raises `ValueError` for texts that are small in a dictionary, and too large one by one."""
    texts = frame.select(pl.col(pl.String, pl.Binary).cast(pl.Binary).bin.size().sum())
    total = sum(value or 0 for value in texts.row(0))
    if total > _MOST_UNPACKED:
        raise ValueError(f"its texts have {total:,} bytes; the limit is {_MOST_UNPACKED:,}")


def _lines(content: str | None) -> tuple[str, ...]:
    """The lines that a cell holds as a JSON list; none where it holds no list."""
    try:
        return tuple(map(as_text, as_list(json.loads(content or "[]"))))
    except (ValueError, RecursionError):
        return ()
