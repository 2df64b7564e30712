"""Fine-tuning: a run that starts from converted weights, with another number of classes."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx
from PIL import Image

from tests.interrupting import stop_after
from tests.same_run import assert_same_run
from xception_jax.config import Config, resolve
from xception_jax.data import DatasetInfo
from xception_jax.errors import InputError
from xception_jax.models import create_model, functionalize, save_keras_weights
from xception_jax.pretrained.directory import write_weights
from xception_jax.pretrained.importing import import_file
from xception_jax.runtime import hosts
from xception_jax.training import Interrupted, RunNames, train
from xception_jax.training.checkpoint import read_state
from xception_jax.training.initial_weights import read_initial_weights
from xception_jax.training.setup import make_model, make_step_spec, open_data
from xception_jax.training.sharding import make_mesh

SHALLOW: dict[str, Any] = {"middle_modules": 0, "width": 0.1}


@pytest.fixture
def images(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Two classes of random colour images."""
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
    train(config, tmp_path / "run", names=RunNames("fine"), warn=said.append)
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


# -- resuming, on the shrunk config ----------------------------------------------------------------


@pytest.fixture
def weights(shrunk, tmp_path: Path) -> Path:
    """A file of Keras with random values for the model of the shrunk config."""
    config = shrunk()
    return save(config, open_data(config).info, tmp_path / "there.weights.h5", seed=5)


def save(config: Config, info: DatasetInfo, path: Path, seed: int) -> Path:
    function = make_model(config, info)
    values = function.init(jax.random.key(seed))
    save_keras_weights(function.bind(*values), path)
    return path


def interrupted(run, home: Path, weights: Path, steps: int = 5) -> Path:
    with pytest.raises(Interrupted):
        run(home, f"train.initial_weights={weights}", stop=stop_after(steps))
    return home


def test_a_run_goes_on_without_the_weights_that_it_began_with(run, weights, tmp_path):
    word = f"train.initial_weights={weights}"
    assert run(tmp_path / "whole", word)["status"] == "done"
    home = interrupted(run, tmp_path / "run", weights)
    weights.unlink()
    record = run(home, word)
    assert (record["status"], record["resumed_from"]) == ("done", [5])
    assert_same_run(tmp_path / "whole", home)
    digests = {
        json.loads((directory / "run.json").read_text())["initial_weights_sha256"]
        for directory in (tmp_path / "whole", home)
    }
    assert len(digests) == 1
    assert digests != {None}


def test_a_run_goes_on_from_no_other_weights(run, weights, shrunk, tmp_path):
    home, word = interrupted(run, tmp_path / "run", weights), f"train.initial_weights={weights}"
    before, original = (home / "run.json").read_text(), weights.read_bytes()
    weights.unlink()
    save(shrunk(), open_data(shrunk()).info, weights, seed=6)
    with pytest.raises(InputError, match=r"train\.initial_weights=.*not what the run began with"):
        run(home, word)
    assert (home / "run.json").read_text() == before
    # Before its first checkpoint it needs them.
    shutil.rmtree(home / "checkpoints")
    weights.unlink()
    with pytest.raises(InputError, match=r"train\.initial_weights=.*is gone, and there is no"):
        run(home, word)
    weights.write_bytes(original)
    assert run(home, word)["status"] == "done"


def test_the_digest_is_of_the_values_and_not_of_the_files(shrunk, tmp_path):
    """Orbax writes other files each time that the same weights are converted."""
    config = shrunk()
    info = replace(open_data(config).info, image_shape=(8, 8, 3))
    weights = save(config, info, tmp_path / "there.weights.h5", seed=5)
    words = ["model.width=0.25", "model.middle_modules=0"]
    first = import_file(weights, model="xception_tiny", overrides=words, size=8)
    changed = {name: value + 1e-6 for name, value in first.batch_stats.items()}
    written = {"one": first, "two": first, "other": replace(first, batch_stats=changed)}
    for name, converted in written.items():
        write_weights(tmp_path / name, converted)
    digests = []
    for path in (weights, *(tmp_path / name for name in written)):
        train_config = replace(config.train, initial_weights=str(path))
        read = read_initial_weights([replace(config, train=train_config)], info, [])
        assert read is not None
        digests.append(read.sha256)
    assert len(set(digests[:3])) == 1
    assert digests[3] != digests[0]


def test_weights_that_differ_between_hosts_are_refused(weights, shrunk, monkeypatch):
    """What the other process has is put in by hand: here there is only one."""
    config = shrunk(f"train.initial_weights={weights}")
    info = open_data(config).info
    monkeypatch.setattr(hosts, "gather", lambda digest: [digest, None, digest])
    assert read_initial_weights([config], info, []) is not None
    monkeypatch.setattr(hosts, "gather", lambda digest: [digest, "f" * 64])
    with pytest.raises(InputError, match=r"train\.initial_weights=.*processes 0 and 1: SHA-256"):
        read_initial_weights([config], info, [])


def test_weights_that_are_not_there_are_named_before_any_work(tmp_path: Path, images: Path):
    config = settings(images, tmp_path / "nothing.weights.h5")
    with pytest.raises(InputError, match=r"train\.initial_weights=.*no such file"):
        train(config, tmp_path / "run", names=RunNames("fine"))
    assert not (tmp_path / "run").exists()
