"""Reads the `metrics.jsonl` of runs, which may be torn, repeated or not finite, into one frame."""

import io
import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from xception_jax.errors import InputError
from xception_jax.json_values import as_real, as_text, as_whole
from xception_jax.records import METRICS_LOG
from xception_jax.regular_files import read_regular

_LOG_SCHEMA = pl.Schema(
    {
        "step": pl.Int64(),
        "epoch": pl.Float64(),
        "split": pl.String(),
        "loss": pl.Float64(),
        "top1": pl.Float64(),
        "top5": pl.Float64(),
        "learning_rate": pl.Float64(),
        "seconds": pl.Float64(),
        "map100": pl.Float64(),
    }
)
CURVE_SCHEMA = pl.Schema(
    {"run": pl.Int64(), "arm": pl.String(), "seed": pl.Int64(), **dict(_LOG_SCHEMA)}
)
"""`run` is the index of the run in the sweep."""
_MOST = 1 << 32  # bytes of all logs: a file without content takes no space on a disk
_NOT_FINITE = re.compile(rb":\s*(?:NaN|-?Infinity)\b")


def read_curves(
    runs: Sequence[tuple[Path | None, str, int | None]], notes: list[str]
) -> tuple[pl.DataFrame, list[int]]:
    """Reads the logs of many runs.

    Args:
        runs: directory, arm and seed of each run; without a directory it has no log.
        notes: gets a line for each log that cannot be read.

    Returns:
        All rows, `CURVE_SCHEMA`, in the order of run, split and step, null where a value is
        missing or not finite; and for each run how many of its rows were broken or repeated. Of
        repeated rows the last one counts.

    Raises:
        InputError: the logs are too large together.
    """
    paths = [directory and directory / METRICS_LOG for directory, _, _ in runs]
    contents = _contents(paths, notes)
    rows, lost = _parse_together(contents) or _parse_each(contents)
    kept = arrange_rows(rows, [(arm, seed) for _, arm, seed in runs])
    before = dict(rows.group_by("run").len().iter_rows())
    after = dict(kept.group_by("run").len().iter_rows())
    lost = [n + before.get(run, 0) - after.get(run, 0) for run, n in enumerate(lost)]
    return kept, lost


def arrange_rows(rows: pl.DataFrame, runs: Sequence[tuple[str, int | None]]) -> pl.DataFrame:
    """The rows of logs as `read_curves` returns them.

    Args:
        rows: the columns of a log, and `run`, in any order.
        runs: arm and seed of each run.
    """
    runs_schema = {"run": pl.Int64(), "arm": pl.String(), "seed": pl.Int64()}
    names = [(index, arm, seed) for index, (arm, seed) in enumerate(runs)]
    named = pl.DataFrame(names, schema=runs_schema, orient="row")
    rows = rows.join(named, on="run", how="inner", maintain_order="left")
    finite = [  # and no larger than float32 can be
        pl.when(pl.col(name).abs() < 1e40).then(pl.col(name)).alias(name)
        for name, kind in _LOG_SCHEMA.items()
        if kind == pl.Float64
    ]
    whole = rows.with_columns(finite).drop_nulls(["step", "split"])
    ordered = whole.sort("run", "split", "step", maintain_order=True)
    comes_again = pl.all_horizontal(
        (pl.col(name) == pl.col(name).shift(-1)).fill_null(False)
        for name in ("run", "split", "step")
    )
    return ordered.filter(~comes_again).select(list(CURVE_SCHEMA))


def _contents(paths: Sequence[Path | None], notes: list[str]) -> list[bytes]:
    """The content of each log; empty where there is none, or it cannot be read, as is noted."""
    contents, left = [], _MOST
    for path in paths:
        contents.append(b"")
        if path is None:
            continue
        try:
            contents[-1] = read_regular(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            name = as_text(f"{path.parent.name}/{path.name}")
            notes.append(f"{name}: cannot be read: {as_text(error.strerror or error)}")
        left -= len(contents[-1])
        if left < 0:
            raise InputError(METRICS_LOG, str(path), f"the logs have over {_MOST:,} bytes together")
    return contents


def _parse_together(contents: Sequence[bytes]) -> tuple[pl.DataFrame, list[int]] | None:
    """All logs at once, several times as fast as one by one; None where any needs a closer look."""
    whole = [content for content in contents if content]
    if any(not content.endswith(b"\n") or b"NaN" in content for content in whole):
        return None
    counts = [content.count(b"\n") for content in contents]
    try:
        rows = pl.read_ndjson(io.BytesIO(b"".join(whole)), schema=_LOG_SCHEMA)
    except pl.exceptions.PolarsError:
        return None
    if rows.height != sum(counts):
        return None
    run = np.repeat(np.arange(len(contents), dtype=np.int64), counts)
    return rows.with_columns(run=pl.Series(run)), [0] * len(contents)


def _parse_each(contents: Sequence[bytes]) -> tuple[pl.DataFrame, list[int]]:
    frames, lost = [pl.DataFrame(schema=_LOG_SCHEMA).with_columns(run=pl.lit(0, pl.Int64()))], []
    for index, content in enumerate(contents):
        rows, broken = _parse_log(content)
        frames.append(rows.with_columns(run=pl.lit(index, pl.Int64())))
        lost.append(broken)
    return pl.concat(frames), lost


def _parse_log(content: bytes) -> tuple[pl.DataFrame, int]:
    """The rows of one log as they come, and the number of lines that are none.

    A torn last line is what a running or killed run leaves, and does not count.
    """
    whole, _, tail = content.rpartition(b"\n")
    rows, lost = _parse(whole)
    if tail.strip():  # a last line without its end is used if it happens to be whole
        rows = pl.concat([rows, _parse(tail)[0]])
    return rows, lost


def _parse(content: bytes) -> tuple[pl.DataFrame, int]:
    """Rows of JSON lines and the number of lines that are none: fast if all are well, else slow."""
    if b"NaN" in content or b"Infinity" in content:  # Python writes them, JSON has no such words
        content = _NOT_FINITE.sub(b": null", content)
    if not content.strip():
        return pl.DataFrame(schema=_LOG_SCHEMA), 0
    try:
        return pl.read_ndjson(io.BytesIO(content), schema=_LOG_SCHEMA), 0
    except pl.exceptions.PolarsError:
        pass
    rows, lost = [], 0
    for line in filter(bytes.strip, content.split(b"\n")):
        try:
            row = json.loads(line)
            values: dict[str, object] = {name: as_real(row.get(name)) for name in _LOG_SCHEMA}
            values |= {"step": as_whole(row["step"]), "split": as_text(row["split"])}
        except (ValueError, KeyError, AttributeError, RecursionError):
            lost += 1
        else:
            rows.append(values)
    return pl.DataFrame(rows, schema=_LOG_SCHEMA), lost
