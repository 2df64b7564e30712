"""`metrics.jsonl`: the curve of a run, one JSON object a line, the truth that W&B mirrors.

A row is `{"step": int, "epoch": float, "split": "train" | "valid", "loss": float, ...}`, and steps
increase within a split. Every line is valid JSON and loads in any other reader. JSON has no NaN
or infinity, so such a value is written as null and named beside it:
`{"step": 7, ..., "loss": null, "non_finite": {"loss": "NaN"}}`; `read_metrics` restores it.

A kill in the middle of a write leaves a line without its newline. Readers leave such a last line
out and a writer cuts it off; damage anywhere else is an error, never a shorter curve.
"""

import contextlib
import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from xception_jax.errors import InputError
from xception_jax.records import SPLITS

_LEADING = ("step", "epoch", "split")
_NON_FINITE = "non_finite"


class MetricsLog:
    """Appends rows to a `metrics.jsonl`, opened or created on construction.

    Opening a file cuts a torn last line off and learns the last step of every split, so that
    writing goes on where the file ends. One log per file at a time.

    Raises:
        InputError: the file cannot be read, or is damaged elsewhere than in a torn last line.
        OSError: the file cannot be created or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._last_step: dict[str, int] = {}
        self._scratch = path.with_name(path.name + ".tmp")
        self._scratch.unlink(missing_ok=True)  # of a truncation that was killed
        lines = _read_lines(path) if path.exists() else []
        self._learn(_parse(lines, path))
        self._file = _open_for_append(path)
        os.ftruncate(self._file, sum(map(len, lines)))

    def write(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Appends `row`. When this returns, a kill of the process no longer loses it.

        Args:
            row: `step`, `epoch`, `split` and any number of numbers, texts, booleans or None;
                scalars of NumPy and JAX count as numbers.

        Returns:
            The row in plain Python values.

        Raises:
            ValueError: the row is not of that form, or its step does not come after the last one
                of its split. Nothing is written.
            OSError: the file system refused (full, gone). Nothing of the row stays in the file.
        """
        plain = {key: _plain(key, value) for key, value in row.items()}
        split, step = _place(plain)
        if step <= self.last_step(split):
            last = self.last_step(split)
            raise ValueError(f"step {step} of split {split!r} does not come after step {last}")
        line = _encode(plain)
        size = os.fstat(self._file).st_size
        try:
            # One write, so that a kill tears at most the last line.
            if os.write(self._file, line) != len(line):
                raise OSError(f"{self.path}: the file system took only a part of a row")
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, size)
            raise
        self._last_step[split] = step
        return plain

    def truncate_after(self, step: int) -> None:
        """Drops the rows after `step`: a run resumed from the checkpoint of `step` rewrites them.

        The new file replaces the old one at once: a kill leaves either, never a mixture.

        Raises:
            InputError: the file cannot be read, or is damaged.
            OSError: the new file cannot be written. The old one is as it was.
        """
        lines = _read_lines(self.path)
        rows = _parse(lines, self.path)
        kept = [index for index, row in enumerate(rows) if row["step"] <= step]
        if len(kept) < len(rows):
            with self._scratch.open("wb") as file:
                file.write(b"".join(lines[index] for index in kept))
                file.flush()
                os.fsync(file.fileno())
            self._scratch.replace(self.path)
            os.close(self._file)
            self._file = _open_for_append(self.path)
        self._learn(rows[index] for index in kept)

    def last_step(self, split: str) -> int:
        """The last step written for `split`; -1 where there is none."""
        return self._last_step.get(split, -1)

    def sync(self) -> None:
        """Makes every row written survive a loss of power, not only of the process.

        To be called before a checkpoint is committed: a checkpoint must never be ahead of the
        rows that led to it, because a resume does not write those again.
        """
        os.fsync(self._file)

    def close(self) -> None:
        """Syncs and closes the file. A closed log can be closed again, not written."""
        if self._file >= 0:
            self.sync()
            os.close(self._file)
            self._file = -1

    def _learn(self, rows: Iterable[Mapping[str, Any]]) -> None:
        self._last_step = {row["split"]: row["step"] for row in rows}


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The rows of a `metrics.jsonl`, also of one that is being written.

    Raises:
        InputError: the file is missing or cannot be read, or a line other than a torn last one is
            damaged; the message names the file and the line's number.
    """
    return _parse(_read_lines(path), path)


def read_lines(path: Path, step: int) -> bytes:
    """The lines of a `metrics.jsonl` up to a step, as they are in the file, or up to damage.

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
    """The complete lines of a file, each with its newline: what follows the last one is torn."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError("metrics", str(path), f"cannot be read: {error.strerror}") from error
    return [line + b"\n" for line in content.split(b"\n")[:-1]]


def _open_for_append(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)


def _plain(key: str, value: Any) -> Any:
    """`value` as one of JSON's own scalars, or a ValueError that names `key`."""
    if not isinstance(value, (str, bool, int, float, type(None))) and hasattr(value, "item"):
        with contextlib.suppress(TypeError, ValueError):  # an array of several values has no item
            value = value.item()
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)  # np.float64 is a float, but json must not meet a subclass
    if value is not None:
        shown = f"a {type(value).__name__}"
        raise ValueError(f"{key!r} must be a number, text or None, and is {shown}")
    return None


def _place(row: Mapping[str, Any]) -> tuple[str, int]:
    """The split and step of a row in plain values, checked."""
    if missing := [key for key in _LEADING if key not in row]:
        raise ValueError(f"a row needs {', '.join(missing)}")
    if _NON_FINITE in row:
        raise ValueError(f"{_NON_FINITE!r} is no name for a metric: the log uses it itself")
    split, step = row["split"], row["step"]
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, and is {split!r}")
    if type(step) is not int or step < 0:
        raise ValueError(f"step must be an integer from 0 on, and is {step!r}")
    return split, step


def _encode(row: dict[str, Any]) -> bytes:
    """A row in plain values as its line: `step`, `epoch`, `split`, then the rest by name."""
    ordered = {key: row[key] for key in (*_LEADING, *sorted(row.keys() - set(_LEADING)))}
    odd = {key: v for key, v in ordered.items() if isinstance(v, float) and not math.isfinite(v)}
    if odd:
        ordered |= dict.fromkeys(odd)
        ordered[_NON_FINITE] = {key: _name_non_finite(value) for key, value in odd.items()}
    return json.dumps(ordered, allow_nan=False).encode() + b"\n"


def _name_non_finite(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def _parse(lines: list[bytes], path: Path) -> list[dict[str, Any]]:
    """The rows of `lines`, which were read from `path`, checked as they were when written."""
    rows: list[dict[str, Any]] = []
    last_step: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            for key, text in row.pop(_NON_FINITE, {}).items():
                row[key] = float(text)
            split, step = _place(row)
            if step <= last_step.get(split, -1):
                raise ValueError(f"step {step} of split {split!r} comes a second time or late")
        except (ValueError, AttributeError, TypeError) as error:
            reason = f"line {number} is damaged: {error}"
            raise InputError("metrics", str(path), reason) from error
        last_step[split] = step
        rows.append(row)
    return rows
