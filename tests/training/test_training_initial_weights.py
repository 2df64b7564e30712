"""Fine-tuning: a run that starts from converted weights, with another number of classes."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx
from PIL import Image

from xception_jax.config import resolve
from xception_jax.errors import InputError
from xception_jax.models import create_model, functionalize, save_keras_weights
from xception_jax.training import Labels, train
from xception_jax.training.checkpoint import read_state
from xception_jax.training.setup import make_step_spec, open_data
from xception_jax.training.sharding import make_mesh

SHALLOW: dict[str, Any] = {"middle_modules": 0, "width": 0.1}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Two classes of random colour images."""
    rng = np.random.default_rng()
    for split, count in (("train", 12), ("test", 4)):
        for name in ("cats", "dogs"):
            folder = tmp_path / "images" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 256, (71, 71, 3), np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    return tmp_path / "images"


def settings(images: Path, weights: Path):
    return resolve(
        {
            "data": {"name": "folder", "directory": str(images), "image_size": 71},
            "model": {"name": "xception", **SHALLOW},
            "optimizer": {"learning_rate": 0.0, "weight_decay": 0.0},
            "train": {"batch_size": 8, "epochs": 1.0, "initial_weights": str(weights)},
            "wandb": {"mode": "disabled"},
        }
    )


@pytest.mark.slow
def test_a_run_starts_from_the_weights_but_for_the_classifier(tmp_path: Path, images: Path):
    model = create_model("xception", num_classes=7, **SHALLOW, rngs=nnx.Rngs(5))
    save_keras_weights(model, tmp_path / "there.weights.h5")
    config = settings(images, tmp_path / "there.weights.h5")
    said: list[str] = []
    # At a learning rate of zero the last parameters are the first.
    train(config, tmp_path / "run", labels=Labels("fine"), warn=said.append)
    pipeline, mesh = open_data(config), make_mesh()
    program = make_step_spec(config, pipeline.info)
    shapes = jax.eval_shape(lambda: program.init(0))
    _, state = read_state(tmp_path / "run" / "checkpoints", shapes, mesh, None)
    _, parameters, _ = functionalize(model)
    for path, value in state.parameters.items():
        if path.startswith("classifier"):
            assert value.shape[-1] == 2
        else:
            np.testing.assert_array_equal(value, parameters[path], err_msg=path)
        # A weighted mean of equal numbers, rounded by 6e-8 in every step.
        np.testing.assert_allclose(state.averages[path], value, rtol=1e-6, err_msg=path)
    assert [line for line in said if "classifier/kernel" in line]


def test_weights_that_are_not_there_are_named_before_any_work(tmp_path: Path, images: Path):
    config = settings(images, tmp_path / "nothing.weights.h5")
    with pytest.raises(InputError, match=r"train\.initial_weights=.*no such file"):
        train(config, tmp_path / "run", labels=Labels("fine"))
    assert not (tmp_path / "run").exists()
