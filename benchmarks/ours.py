"""The variants of this project, through its public functions; each returns a `Work`."""

import os
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.cases import KEEP_MEMORY, Work
from benchmarks.operations import repeating
from xception_jax.commands.process import take_cores
from xception_jax.config import resolve
from xception_jax.data import DatasetInfo
from xception_jax.models import model_function
from xception_jax.ops import dispatch
from xception_jax.runtime.allocator import keep_memory
from xception_jax.training.compile import compile_train_steps, initial_state, shapes_of
from xception_jax.training.setup import make_step_spec
from xception_jax.training.sharding import Layout, make_mesh, replicate
from xception_jax.training.state import hyperparameters

# The step that every framework does here: no more than SGD with momentum.
PLAIN_STEP: dict[str, Any] = {
    "optimizer.schedule": "constant",
    "optimizer.learning_rate": 0.01,
    "optimizer.weight_decay": 0.0,
    "train.average_decay": 0.0,
    "wandb.mode": "disabled",
}


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
    slots: int | None = None,
    steps: int = 1,
    tiles: bool = True,
) -> Work:
    """Whole training steps of one run, or of a pack.

    Args:
        model: settings of the config's group `model`.
        size: height and width of the images, pixels.
        batch: images a step and run.
        channels: of the images.
        classes: how many.
        slots: runs in the pack; None: one run, alone.
        steps: that the device takes at a time.
        tiles: whether `auto` may compute convolutions in tiles; else XLA's own operation does.
    """
    if not tiles:
        _without_tiles()
    settings = {f"model.{name}": value for name, value in model.items()}
    _prepare(packs=slots is not None)
    config = resolve(PLAIN_STEP, settings, {"train.batch_size": batch, "data.image_size": size})
    names = tuple(map(str, range(classes)))
    examples = {"train": 100 * batch, "valid": batch}
    info = DatasetInfo("made up", names, (size, size, channels), examples)
    layout = Layout(make_mesh(slots=slots), slots)
    program = make_step_spec(config, info)
    runs = slots or 1
    leading = (steps,) if slots is None else (steps, slots)
    rows = {
        name: np.broadcast_to(values, (*leading, *values.shape))
        for name, values in made_up_images(batch, size, channels, classes).items()
    }
    batches = layout.put(rows, layout.steps_spec)
    start = time.perf_counter()
    step = compile_train_steps(program, layout, shapes_of({}), shapes_of(batches))
    compile_seconds = round(time.perf_counter() - start, 2)
    state = layout.stack([initial_state(program, seed) for seed in range(runs)])
    active = layout.stack([np.bool_(True)] * runs)
    hparams = layout.stack([hyperparameters(config)] * runs)
    count = replicate(jnp.int32(steps), layout.mesh)

    def run(times: int) -> None:
        nonlocal state
        for _ in range(times):
            state, _ = step(state, active, {}, batches, count, hparams)
        jax.block_until_ready(state)

    notes = _notes(program.model.parameters) | _temporaries(step)
    return Work(run, batch * runs * steps, notes | {"compile_seconds": compile_seconds})


def inference(
    *,
    model: dict[str, Any],
    size: int,
    batch: int,
    channels: int = 3,
    classes: int = 1000,
    folded: bool,
) -> Work:
    """Logits of a batch, batch normalization by its moving statistics or folded beforehand."""
    _prepare(packs=False)
    settings = dict(model)
    function = model_function(
        settings.pop("name"), num_classes=classes, in_channels=channels, **settings
    )
    parameters, batch_stats = function.init(jax.random.key(0))
    notes = _notes(function.parameters)
    if folded:
        from xception_jax.pretrained.folding import fold

        function, parameters, batch_stats = fold(function, parameters, batch_stats)
    images = made_up_images(batch, size, channels, classes)["image"].astype(np.float32) / 127.5 - 1
    apply = jax.jit(lambda p, s, x: function.apply(p, s, x, train=False)[0])
    arguments = jax.device_put((parameters, batch_stats, jnp.asarray(images)))
    return Work(repeating(apply, arguments), batch, notes)


def _without_tiles() -> None:
    """Removes "tiles", also for packs, from this process's rules of what `auto` means."""
    # Programs are looked up by the code they are made from, which does not tell of this.
    jax.config.update("jax_compilation_cache_dir", None)
    left_out = ("tiles", "unpacked")
    dispatch.RULES = tuple(r for r in dispatch.RULES if r.implementation not in left_out)


def _prepare(*, packs: bool) -> None:
    """Prepares the process as the command line does; malloc is set as the variant asks."""
    if KEEP_MEMORY.items() <= os.environ.items():
        keep_memory()
    if packs:
        take_cores()


def _notes(leaves: Any) -> dict[str, Any]:
    return {"parameters": sum(int(np.prod(leaf.shape)) for leaf in leaves)}


def _temporaries(compiled: jax.stages.Compiled) -> dict[str, Any]:
    analysis = compiled.memory_analysis()
    bytes_ = getattr(analysis, "temp_size_in_bytes", None)
    return {} if bytes_ is None else {"temporaries_mb": round(bytes_ / 1e6, 1)}
