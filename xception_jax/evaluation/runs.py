"""Evaluation of a checkpoint of an existing run."""

from contextlib import closing
from pathlib import Path
from typing import Any

from xception_jax.config import read_json, resolve, run_id
from xception_jax.errors import InputError, require_choice
from xception_jax.records import CHECKPOINTS, CONFIG, DATA_SPLITS, RUN
from xception_jax.runtime import run_directory as files
from xception_jax.training.checkpoint import read_state
from xception_jax.training.evaluate import Evaluator
from xception_jax.training.same_data import require_same_data
from xception_jax.training.setup import evaluation_batch_size, make_step_spec, open_data
from xception_jax.training.sharding import Layout, make_mesh
from xception_jax.training.state import hyperparameters


def evaluate_run(directory: Path, *, split: str, step: int | None) -> dict[str, Any]:
    """Evaluates a checkpoint of a run exactly as training does.

    Args:
        directory: directory of the run; nothing in it is changed.
        split: "train", "valid" or "test".
        step: step of the checkpoint; None for the newest.

    Returns:
        A dictionary of "step", "split", "examples" and the metrics.

    Raises:
        InputError: the run, checkpoint or split does not exist, a file is damaged, or the data are
            not those that the run began with.
    """
    require_choice("--split", split, DATA_SPLITS)
    config, record = resolve(read_json(directory / CONFIG)), files.read_run(directory)
    if record.get("id") not in (None, run_id(config)):
        reason = f"does not hold the settings of the run in {RUN}: one of them was changed"
        raise InputError("file", str(directory / CONFIG), reason)
    layout = Layout(make_mesh())
    batch_size = evaluation_batch_size(config, layout)
    with closing(open_data(config)) as pipeline:
        require_same_data([config], [record], [pipeline])
        step_spec = make_step_spec(config, pipeline.info)
        shapes = step_spec.shapes()
        step, state = read_state(directory / CHECKPOINTS, shapes, layout.mesh, step)
        hparams = layout.stack([hyperparameters(config)])
        (evaluation,) = Evaluator(step_spec, layout, hparams, pipeline, batch_size)(state, split)
    examples = len(evaluation.examples["index"])
    return {"step": step, "split": split, "examples": examples, **evaluation.metrics()}
