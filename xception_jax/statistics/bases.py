"""The part of a sweep on one of its bases: what is judged and drawn as a sweep of its own."""

from dataclasses import replace

import polars as pl

from xception_jax.json_values import as_mapping, as_text
from xception_jax.statistics.results import Base, Sweep


def on_base(sweep: Sweep, base: Base) -> Sweep:
    """The sweep with the arms and runs of one base, and with the whole record.

    Its headline metric, its target and its chance level are then those of the base's data.
    """
    names = [arm for arm in base.arms.values() if arm in sweep.arms]
    kept = [at for at, run in enumerate(sweep.runs) if run.arm in names]
    whole = sweep.curves.schema["run"]
    numbers = pl.DataFrame(
        {"run": kept, "number": range(len(kept))}, schema={"run": whole, "number": whole}
    )
    curves = sweep.curves.join(numbers, on="run", maintain_order="left")
    return replace(
        sweep,
        arms={arm: sweep.arms[arm] for arm in names},
        runs=tuple(sweep.runs[at] for at in kept),
        curves=curves.with_columns(run="number").drop("number"),
        base=base,
        whole=sweep,
    )


def parts_of(sweep: Sweep) -> tuple[Sweep, ...]:
    """The part on each base, or the sweep itself where there is one base."""
    return tuple(on_base(sweep, base) for base in sweep.bases) or (sweep,)


def describe_bases(sweep: Sweep) -> str:
    """The bases in a line, such as `mini: configs/mini.py; wide: …`; empty for a single one."""
    if not sweep.bases:
        return ""
    paths = as_mapping(as_mapping(sweep.record.get("experiment")).get("base"))
    return "; ".join(f"{base.name}: {as_text(paths.get(base.name))}" for base in sweep.bases)
