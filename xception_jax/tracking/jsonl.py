"""`metrics.jsonl`: the metrics of a run, one JSON object per line, which W&B only mirrors.

A row is `{"step": int, "epoch": float, "split": "train" | "valid", "loss": float, ...}`, and steps
increase within a split. Every line is valid JSON that any reader can load. Because JSON has neither
NaN nor infinity, such a value is written as null and named in an entry of its own:
`{"step": 7, ..., "loss": null, "non_finite": {"loss": "NaN"}}`; `read_metrics` restores it.

If the process is killed during a write, the last line lacks its newline. Readers skip such a line
and writers cut it off. Damage anywhere else is an error, never a shorter curve.
"""

import contextlib
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xception_jax.errors import InputError, shortened
from xception_jax.json_values import as_real
from xception_jax.records import SPLITS
from xception_jax.regular_files import open_regular, read_regular

_LEADING = ("step", "epoch", "split")
_NON_FINITE = "non_finite"


class MetricsLog:
    """Appends rows to a `metrics.jsonl`, which the constructor opens or creates.

    The constructor cuts off an incomplete last line and reads the last step of every split, so that
    writing continues where the file ends. There must be only one log per file at a time.

    Raises:
        InputError: the file cannot be read, or is damaged other than by an incomplete last line.
        OSError: the file cannot be created or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = _read_lines(path) if path.exists() else []
        self._last_step = {row["split"]: row["step"] for row in _parse(lines, path)}
        self._file = _open_for_append(path)
        os.ftruncate(self._file, sum(map(len, lines)))

    def write(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Appends a row. Once this returns, killing the process no longer loses the row.

        Args:
            row: `step`, `epoch`, `split` and any other numbers, strings, booleans or None;
                scalars of NumPy and JAX count as numbers.

        Returns:
            The row with plain Python values.

        Raises:
            ValueError: the row is malformed, or its step does not come after the last one of its
                split. Nothing is written.
            OSError: the file system failed (full, gone). No part of the row stays in the file.
        """
        plain = {key: _to_python(key, value) for key, value in row.items()}
        split, step = _checked_split_and_step(plain)
        if step <= self.last_step(split):
            last = self.last_step(split)
            raise ValueError(f"step {step} of split {split!r} does not come after step {last}")
        line = _encode(plain)
        size = os.fstat(self._file).st_size
        try:
            # One write, so that a kill tears at most the last line.
            if os.write(self._file, line) != len(line):
                raise OSError(f"{self.path}: the file system wrote only a part of a row")
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, size)
            raise
        self._last_step[split] = step
        return plain

    def last_step(self, split: str) -> int:
        """Returns the last step written for `split`, or -1 if there is none."""
        return self._last_step.get(split, -1)

    def sync(self) -> None:
        """Makes all rows survive a loss of power, not only of the process.

        Call it before a checkpoint is committed: a checkpoint must never be ahead of the rows that
        led to it, because a resumed run does not write those again.
        """
        os.fsync(self._file)

    def close(self) -> None:
        """Syncs and closes the file. A closed log can be closed again, but not written."""
        if self._file >= 0:
            self.sync()
            os.close(self._file)
            self._file = -1


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Reads the rows of a `metrics.jsonl`, which may still be written to.

    Raises:
        InputError: the file is missing or cannot be read, or a line other than an incomplete last
            one is damaged; the message names the file and the line number.
    """
    return _parse(_read_lines(path), path)


def parse_row(line: bytes) -> dict[str, Any]:
    """Parses one line of a `metrics.jsonl`, and checks it as `MetricsLog.write` does.

    Raises:
        ValueError: the line is not JSON, or not a row.
    """
    try:
        row = json.loads(line)
        for key, text in row.pop(_NON_FINITE, {}).items():
            row[key] = float(text)
    except (AttributeError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(str(error)) from error
    _checked_split_and_step(row)
    return {key: _to_python(key, value) for key, value in row.items()}


def read_lines(path: Path, step: int) -> bytes:
    """Reads the lines of a `metrics.jsonl` up to a step, or up to the first damaged line.

    Raises:
        InputError: the file is missing or cannot be read.
    """
    kept: list[bytes] = []
    for line in _read_lines(path):
        try:
            (row,) = _parse([line], path)
        except InputError:
            break
        if row["step"] <= step:
            kept.append(line)
    return b"".join(kept)


def _read_lines(path: Path) -> list[bytes]:
    """Reads the complete lines of a file, with their newlines; skips an incomplete last one."""
    try:
        content = read_regular(path)
    except OSError as error:
        raise InputError("metrics", str(path), f"cannot be read: {error.strerror}") from error
    return [line + b"\n" for line in content.split(b"\n")[:-1]]


def _open_for_append(path: Path) -> int:
    return open_regular(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW)


def _to_python(key: str, value: Any) -> Any:
    """Converts `value` to a scalar that JSON has; raises a ValueError naming `key` otherwise."""
    if not isinstance(value, (str, bool, int, float, type(None))) and hasattr(value, "item"):
        with contextlib.suppress(TypeError, ValueError):  # an array of several values has no item
            value = value.item()
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)  # np.float64 is a float, but json must not get a subclass
    if value is not None:
        name = type(value).__name__
        raise ValueError(f"{key!r} must be a number, text or None, and is a {name}")
    return None


def _checked_split_and_step(row: Mapping[str, Any]) -> tuple[str, int]:
    """Returns a row's split and step; raises ValueError if its leading entries are invalid."""
    if missing := [key for key in _LEADING if key not in row]:
        raise ValueError(f"a row needs {', '.join(missing)}")
    if _NON_FINITE in row:
        raise ValueError(f"a metric cannot be called {_NON_FINITE!r}: the log uses that name")
    split, step = row["split"], row["step"]
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, and is {split!r}")
    if type(step) is not int or not 0 <= step < 2**63:
        raise ValueError(f"step must be an integer from 0 on, and is {shortened(repr(step))}")
    if as_real(row["epoch"]) is None:
        raise ValueError(f"epoch must be a finite number, and is {shortened(repr(row['epoch']))}")
    return split, step


def _encode(row: dict[str, Any]) -> bytes:
    """Encodes a row as a line: `step`, `epoch` and `split` first, then the rest sorted by name."""
    ordered = {key: row[key] for key in (*_LEADING, *sorted(row.keys() - set(_LEADING)))}
    non_finite = {
        key: json.dumps(value)  # NaN, Infinity or -Infinity
        for key, value in ordered.items()
        if isinstance(value, float) and not math.isfinite(value)
    }
    if non_finite:
        ordered |= dict.fromkeys(non_finite)
        ordered[_NON_FINITE] = non_finite
    return json.dumps(ordered, allow_nan=False).encode() + b"\n"


def _parse(lines: list[bytes], path: Path) -> list[dict[str, Any]]:
    """Parses lines read from `path` into rows, and checks them as `MetricsLog.write` does."""
    rows: list[dict[str, Any]] = []
    last_step: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        try:
            row = parse_row(line)
            split, step = row["split"], row["step"]
            if step <= last_step.get(split, -1):
                raise ValueError(f"step {step} of split {split!r} is repeated or out of order")
        except ValueError as error:
            reason = f"line {number} is damaged: {error}"
            raise InputError("metrics", str(path), reason) from error
        last_step[split] = step
        rows.append(row)
    return rows
