"""Running the named benchmarks and writing what they measured: what `python -m benchmarks` does.

Where JAX finds a GPU the same cases are measured there, larger, in float32 and bfloat16. None of
that has been run yet.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import (
    experiments,
    growth,
    inference,
    operations,
    packing,
    pipelines,
    record,
    startup,
    sweeps,
    train_step,
    verdict,
)
from benchmarks.cases import Settings
from benchmarks.rounds import measure
from xception_jax.errors import InputError, nearest_name, require_choice

BENCHMARKS: dict[str, Any] = {
    "operations": operations,
    "train_step": train_step,
    "inference": inference,
    "packing": packing,
    "experiments": experiments,
    "pipelines": pipelines,
    "startup": startup,
    "sweep": sweeps,
    "verdict": verdict,
    "growth": growth,
}


def run(
    names: list[str],
    *,
    quick: bool,
    output: Path,
    rounds: int | None,
    only: str,
    variants: Sequence[str] = (),
    command: str,
    console: Console,
) -> int:
    """Runs benchmarks and writes a JSON file, an SVG and a PNG of each into `output`.

    Args:
        names: of benchmarks; none: all.
        quick: see `cases.Settings`.
        output: a directory.
        rounds: of every case; None: 2 if quick, else 11, or 5 where a round takes seconds.
        only: a part of the names of the cases to run.
        variants: parts of the names of the variants to run; none: all.
        command: for the record.
        console: for people.

    Returns:
        1 if a benchmark had nothing to measure, else 0.

    Raises:
        InputError: no such benchmark, or no such case; or no directory to write into.
    """
    for name in names:
        require_choice("NAME", name, BENCHMARKS)
    device = record.device()
    settings = Settings(quick=quick, gpu=device[0] == "gpu")
    every = {name: list(BENCHMARKS[name].cases(settings)) for name in names or BENCHMARKS}
    chosen = {
        name: [_with(c, variants) for c in cases if only in c.name] for name, cases in every.items()
    }
    if not any(case.variants for cases in chosen.values() for case in cases):
        if any(chosen.values()):
            raise InputError("--variant", list(variants), "is in the name of no variant")
        near = nearest_name(only, [case.name for cases in every.values() for case in cases])
        raise InputError("--case", only, "is in the name of no case", near)
    record.make_directory(output)
    empty = False
    for name, cases in chosen.items():
        written: dict[str, Any] = {"benchmark": name, "quick": quick}
        written |= record.describe(command, device) | {"cases": []}
        for case in cases:
            count = rounds or (2 if quick else 5 if case.once else 11)
            measured = _measure(case, count, quick, console.print)
            written["cases"].append(measured)
            console.print(record.table(measured))
            console.print()
            record.write(output, name, written)  # what there is, should the rest be interrupted
        empty |= not any(case["variants"] for case in written["cases"])
        if cases:
            console.print(f"{name}: {output / name}.json, .svg and .png\n")
    return int(empty)


def _with(case: Any, texts: Sequence[str]) -> Any:
    """The case with those of its variants that have one of the texts in their name."""
    kept = (v for v in case.variants if not texts or any(text in v.name for text in texts))
    return replace(case, variants=tuple(kept))


def _measure(case: Any, rounds: int, quick: bool, tell: Callable[[str], None]) -> dict[str, Any]:
    tell(f"{case.name}: {len(case.variants)} variants, {rounds} rounds")
    return measure(case, rounds=rounds, round_seconds=0.0 if quick else 1.0, tell=tell)
