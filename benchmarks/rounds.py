"""Measures the variants of a case in turns, round by round, each in a process of its own."""

import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import numpy as np

from benchmarks.cases import Case, Variant
from xception_jax.cache import cache_directory

ROOT = Path(__file__).resolve().parents[1]
_SECONDS_TO_END = 20


class Failed(Exception):
    """A variant that could not be built or did not get through a round; says why."""


class Worker:
    """A process that holds one variant ready; see `worker`."""

    def __init__(self, variant: Variant, *, round_seconds: float, once: bool) -> None:
        missing = [name for name in variant.needs if find_spec(name) is None]
        if missing:
            raise Failed(f"{', '.join(missing)} is not installed")
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=os.environ | _environment() | {"PYTHONPATH": path} | dict(variant.environment),
        )
        asked = {
            "target": variant.target,
            "arguments": dict(variant.arguments),
            "round_seconds": round_seconds,
            "once": once,
        }
        try:
            self.ready = self._ask(json.dumps(asked))
        except Failed:
            self.close()
            raise

    def round(self) -> dict[str, Any]:
        """`seconds` that one time of the work took, the mean of a round; `peak_memory_mb`."""
        return self._ask("round")

    def close(self) -> None:
        """Ends the process, which removes what it wrote."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._errors.close()

    def _ask(self, line: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):  # the process has ended: what it said last is read below
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        said = self._process.stdout.readline()
        if not said:
            self._errors.seek(0)
            last = self._errors.read().decode(errors="replace").strip().splitlines()[-1:]
            raise Failed(f"the process ended: {' '.join(last) or self._process.wait()}")
        answer: dict[str, Any] = json.loads(said)
        if "failed" in answer:
            raise Failed(answer["failed"])
        return answer


def _environment() -> dict[str, str]:
    """What every worker starts with.

    Programs are compiled once and found by the other variants and the next call; what runs is the
    same. `startup` and `sweep`, which measure compilation, have caches of their own.
    """
    return {
        "JAX_COMPILATION_CACHE_DIR": str(cache_directory() / "benchmarks"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        # Else the first of several processes on one GPU takes three quarters of its memory.
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    }


@dataclass
class Measured:
    """A variant, what its worker said of itself, and the seconds of each round."""

    variant: Variant
    ready: dict[str, Any]
    seconds: list[float] = field(default_factory=list)
    peak_memory_mb: float | None = None


def measure(
    case: Case, *, rounds: int, round_seconds: float, tell: Callable[[str], None]
) -> dict[str, Any]:
    """The case's record: see `summarize`.

    Every variant does its first round, then every one its second: what slows the machine for a
    while slows all of them, and cancels in the ratio of a round. Each round is in an order of its
    own, the same in every call: one that always came after the same other would be slowed by what
    that leaves of the caches.
    """
    left_out: list[dict[str, str]] = []
    with ExitStack() as stack:
        running: list[tuple[Worker, Measured]] = []

        def leave_out(variant: Variant, error: Failed) -> None:
            left_out.append({"name": variant.name, "reason": str(error)})
            tell(f"  {variant.name}: left out: {error}")

        for variant in case.variants:
            try:
                worker = Worker(variant, round_seconds=round_seconds, once=case.once)
            except Failed as error:
                leave_out(variant, error)
                continue
            stack.callback(worker.close)
            running.append((worker, Measured(variant, worker.ready)))
        for number in range(rounds):
            for entry in random.Random(number).sample(running, len(running)):
                worker, measured = entry
                try:
                    answer = worker.round()
                except Failed as error:
                    leave_out(measured.variant, error)
                    running.remove(entry)
                    continue
                measured.seconds.append(answer["seconds"])
                measured.peak_memory_mb = answer["peak_memory_mb"]
    return summarize(case, [measured for _, measured in running], left_out)


def summarize(
    case: Case, measured: list[Measured], left_out: list[dict[str, str]]
) -> dict[str, Any]:
    """A case as JSON: of every variant each round, the median and the quartiles, and ratios.

    A ratio is made of the two times of one round, and its median and quartiles are taken over the
    rounds: `ratio` is how many times as fast as the reference the variant is, `subject_ratio` how
    many times as fast as the variant the subject is.
    """
    record: dict[str, Any] = {"name": case.name, "unit": case.unit, "left_out": left_out}
    if not measured:
        return record | {"subject": None, "reference": None, "variants": []}
    subject = measured[0]
    reference = next((e for e in measured if e.variant.name == case.reference), subject)

    def speeds(entry: Measured) -> np.ndarray:
        return entry.ready["amount"] / np.array(entry.seconds)

    variants = [
        {
            "name": entry.variant.name,
            "value": spread(np.array(entry.seconds) if case.unit == "s" else speeds(entry)),
            "ratio": spread(speeds(entry) / speeds(reference)),
            "subject_ratio": spread(speeds(subject) / speeds(entry)),
            "seconds": [round(seconds, 9) for seconds in entry.seconds],
            "peak_memory_mb": entry.peak_memory_mb,
            "environment": dict(entry.variant.environment),
            **entry.ready,
        }
        for entry in measured
    ]
    names = {"subject": subject.variant.name, "reference": reference.variant.name}
    return record | names | {"variants": variants}


def spread(values: np.ndarray) -> dict[str, float]:
    """Median, quartiles and number of rounds."""
    low, middle, high = (float(q) for q in np.quantile(values, [0.25, 0.5, 0.75]))
    return {"median": middle, "low": low, "high": high, "n": len(values)}
