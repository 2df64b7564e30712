"""`evaluate`: a run's checkpoint on a split of its data."""

import json
from pathlib import Path
from typing import Annotated

import typer

from xception_jax.commands.console import console
from xception_jax.commands.process import prepare_jax


def evaluate(
    directory: Annotated[Path, typer.Argument(help="Of a run.")],
    *,
    split: Annotated[str, typer.Option(help="train, valid or test.")] = "test",
    step: Annotated[
        int | None, typer.Option(min=1, help="Of the checkpoint; default: the newest.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead.")] = False,
) -> int:
    """Evaluate a checkpoint of a run, on the averaged weights where the run keeps them.

    Example: `xception-jax evaluate results/mini --split valid`
    """
    prepare_jax()
    from xception_jax.training.reevaluation import evaluate_run

    result = evaluate_run(directory, split=split, step=step)
    if as_json:
        console.print(json.dumps(result))
        return 0
    numbers = ", ".join(
        f"{name} {value:.4f}" for name, value in result.items() if isinstance(value, float)
    )
    console.print(f"step {result['step']}, {result['examples']:,} {split} images: {numbers}")
    return 0
