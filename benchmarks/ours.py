"""What is measured of this project, through its public functions; each returns a `Work`.

`allocator`: whether the process is set up as the command line sets its own up.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.cases import Work
from benchmarks.operations import repeating
from xception_jax.config import resolve
from xception_jax.data import DatasetInfo
from xception_jax.models import model_function
from xception_jax.training.mesh import make_mesh, replicate, shard_batch
from xception_jax.training.setup import make_program
from xception_jax.training.step import Program, compile_train_step, shapes_of

# The step that every framework does here: no more than SGD with momentum.
PLAIN_STEP: dict[str, Any] = {
    "optimizer.schedule": "constant",
    "optimizer.learning_rate": 0.01,
    "optimizer.weight_decay": 0.0,
    "train.average_decay": 0.0,
    "wandb.mode": "disabled",
}


def program_of(
    model: dict[str, Any], *, size: int, channels: int, classes: int, batch: int
) -> Program:
    """The training program of a model on images that are made up.

    Args:
        model: settings of the config's group `model`.
        size: height and width, pixels.
        channels: of the images.
        classes: how many.
        batch: images a step.
    """
    settings = {f"model.{name}": value for name, value in model.items()}
    config = resolve(PLAIN_STEP, settings, {"train.batch_size": batch, "data.image_size": size})
    names = tuple(map(str, range(classes)))
    examples = {"train": 100 * batch, "valid": batch}
    info = DatasetInfo("made up", names, (size, size, channels), examples)
    return make_program(config, info, make_mesh())


def made_up_images(batch: int, size: int, channels: int, classes: int) -> dict[str, np.ndarray]:
    """`image` uint8 [batch, size, size, channels] and `label` int32 [batch], always the same."""
    rng = np.random.default_rng(0)
    return {
        "image": rng.integers(0, 256, (batch, size, size, channels), dtype=np.uint8),
        "label": rng.integers(0, classes, batch).astype(np.int32),
    }


def train_step(
    *,
    model: dict[str, Any],
    size: int,
    batch: int,
    channels: int = 3,
    classes: int = 1000,
    runs: int = 1,
) -> Work:
    """Whole training steps, `runs` of them in turn for as many models of one program."""
    mesh = make_mesh()
    program = program_of(model, size=size, channels=channels, classes=classes, batch=batch)
    images = shard_batch(made_up_images(batch, size, channels, classes), mesh)
    step = compile_train_step(program, mesh, shapes_of({}), shapes_of(images))
    states = [replicate(program.init(seed), mesh) for seed in range(runs)]
    seeds = [replicate(jnp.int32(seed), mesh) for seed in range(runs)]

    def run(times: int) -> None:
        outcome: Any = None
        for _ in range(times):
            for index in range(runs):
                states[index], outcome = step(states[index], {}, images, seeds[index])
        jax.block_until_ready((states, outcome))

    return Work(run, batch * runs, _notes(program.model.parameters) | _temporaries(step))


def inference(
    *, model: dict[str, Any], size: int, batch: int, channels: int = 3, classes: int = 1000
) -> Work:
    """Logits of a batch, batch normalization by its moving statistics."""
    settings = dict(model)
    function = model_function(
        settings.pop("name"), num_classes=classes, in_channels=channels, **settings
    )
    parameters, statistics = function.init(jax.random.key(0))
    images = made_up_images(batch, size, channels, classes)["image"].astype(np.float32) / 127.5 - 1
    apply = jax.jit(lambda p, s, x: function.apply(p, s, x, train=False)[0])
    arguments = jax.device_put((parameters, statistics, jnp.asarray(images)))
    return Work(repeating(apply, arguments), batch, _notes(function.parameters))


def _notes(leaves: Any) -> dict[str, Any]:
    return {"parameters": sum(int(np.prod(leaf.shape)) for leaf in leaves)}


def _temporaries(compiled: jax.stages.Compiled) -> dict[str, Any]:
    analysis = compiled.memory_analysis()
    bytes_ = getattr(analysis, "temp_size_in_bytes", None)
    return {} if bytes_ is None else {"temporaries_mb": round(bytes_ / 1e6, 1)}
