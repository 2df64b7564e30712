"""`evaluate`: metrics of a checkpoint or of converted weights on a split of the data."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from xception_jax.commands.console import Overrides, console, directory_argument
from xception_jax.commands.process import prepare_jax, require_devices
from xception_jax.errors import InputError
from xception_jax.json_values import as_real
from xception_jax.regular_files import FILE, directory_problem, kind_of
from xception_jax.remote import copied


def evaluate(
    directory: Annotated[Path, directory_argument("Directory of a run, or of converted weights.")],
    overrides: Overrides = None,
    *,
    config: Annotated[
        Path | None, typer.Option(help="With converted weights: config file that names the data.")
    ] = None,
    split: Annotated[str, typer.Option(help="Split of the data: train, valid or test.")] = "test",
    step: Annotated[
        int | None, typer.Option(min=1, help="Step of the checkpoint; default: the newest.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Evaluate a checkpoint of a run, with averaged weights if the run keeps them.

    Example: `xception-jax evaluate results/mini --split valid`

    Converted weights are evaluated on the data of a config, preprocessed as their source expects.

    Example: `xception-jax evaluate weights/xception --config configs/imagenet.py`
    """
    prepare_jax()
    require_devices()
    with copied(directory, checkpoints=True) as local:
        result = _evaluate(local, config, overrides, split, step)
    if as_json:
        # JSON has no infinite numbers.
        values = {k: as_real(v) if isinstance(v, float) else v for k, v in result.items()}
        console.print(json.dumps(values, allow_nan=False))
        return 0
    numbers = ", ".join(
        f"{name} {value:.4f}" for name, value in result.items() if isinstance(value, float)
    )
    at_step = f"step {result['step']}, " if "step" in result else ""
    console.print(f"{at_step}{result['examples']:,} {split} images: {numbers}")
    return 0


def _evaluate(
    directory: Path,
    config: Path | None,
    overrides: list[str] | None,
    split: str,
    step: int | None,
) -> dict[str, Any]:
    from xception_jax.pretrained.directory import DESCRIPTION

    if (problem := directory_problem(directory)) is not None:
        raise InputError("directory", str(directory), problem)
    if kind_of("directory", directory / DESCRIPTION) == FILE:
        return _of_weights(directory, config, overrides or [], split, step)
    if config or overrides:
        given = str(config) if config else overrides[0]  # type: ignore[index]
        reason = f"{directory} holds no converted weights, and a run is evaluated on its own data"
        raise InputError("--config" if config else "override", given, reason)
    from xception_jax.evaluation.runs import evaluate_run

    return evaluate_run(directory, split=split, step=step)


def _of_weights(
    directory: Path, config: Path | None, overrides: list[str], split: str, step: int | None
) -> dict[str, Any]:
    from xception_jax.config import load_config, resolve
    from xception_jax.evaluation.weights import evaluate_weights

    if config is None:
        reason = f"{directory} holds converted weights: say on which data, as in configs/"
        raise InputError("--config", None, reason)
    if step is not None:
        raise InputError("--step", step, f"{directory} holds converted weights, which have none")
    return evaluate_weights(
        directory, resolve(load_config(config), overrides=overrides), split=split
    )
