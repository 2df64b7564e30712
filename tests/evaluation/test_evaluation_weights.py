"""`evaluate` of converted weights on a data set, against metrics computed here."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from tests.weight_files import SMALL, random_model
from xception_jax.data import load
from xception_jax.pretrained import save_keras_weights

SIZE = 71
SETTINGS = [f"model.{name}={SMALL[name]}" for name in ("width", "middle_modules")]
OF_DIGITS = ("data.name=digits", f"data.image_size={SIZE}")
CONFIG = "def get_config(): return {'evaluation.batch_size': 64}\n"


@pytest.fixture
def model(rng):
    return random_model(rng, num_classes=10)


@pytest.fixture
def evaluate(call, model, tmp_path):
    """`evaluate(*words)`: the command, on weights for ten classes and images of 71 pixels."""
    save_keras_weights(model, tmp_path / "ten.weights.h5")
    (tmp_path / "config.py").write_text(CONFIG)
    weights, config = tmp_path / "weights", tmp_path / "config.py"
    words = ("convert", tmp_path / "ten.weights.h5", weights, *SETTINGS, "--size", SIZE)
    assert call(*words)[0] == 0
    return lambda *words: call("evaluate", weights, "--config", config, *words)


def test_metrics_are_those_of_keras_preparation(evaluate, model):
    code, out, err = evaluate(*OF_DIGITS, "--json")
    assert (code, err) == (0, "")
    test = load("digits").splits["test"]
    assert len(test) % 64  # so that the last batch is filled up
    examples = [test.read(index) for index in range(len(test))]
    pixels = [
        np.asarray(image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.NEAREST))
        for image, _ in examples
    ]
    labels = np.array([label for _, label in examples])
    # Keras's preparation: values from -1 to 1.
    logits = np.asarray(jax.jit(model)(np.stack(pixels).astype(np.float32) / 127.5 - 1), np.float64)
    label_logits = logits[np.arange(len(labels)), labels]
    loss = np.mean(np.log(np.sum(np.exp(logits - label_logits[:, None]), axis=1)))
    metrics = json.loads(out)
    assert metrics["examples"] == len(labels)
    assert metrics["loss"] == pytest.approx(loss, rel=1e-4)  # float32 through 14 layers
    # Of two classes about equally probable, rounding may put either first: one image is 0.003.
    top1 = np.mean(np.argmax(logits, axis=1) == labels)
    assert metrics["top1"] == pytest.approx(top1, abs=1.5 / len(labels))


def test_what_does_not_fit_is_said(evaluate, call, tmp_path):
    for words, message in (
        (("data.name=digits",), "data.image_size=28: the weights"),
        ((*OF_DIGITS[1:], "data.name=fashion_mnist_mini", "data.augmentation=flips"), "flips"),
        ((*OF_DIGITS, "--split", "testing"), "'test'"),
        ((*OF_DIGITS, "--step", 3), "which have none"),
    ):
        code, out, err = evaluate(*words)
        assert (code, out) == (2, "")
        assert message in err
        assert len(err.splitlines()) == 1
    code, _, err = call("evaluate", tmp_path / "weights")
    assert code == 2
    assert "--config" in err
    code, _, err = call("evaluate", tmp_path, "--config", tmp_path / "config.py")
    assert code == 2
    assert "holds no converted weights" in err


def test_another_number_of_classes_is_said(call, rng, tmp_path: Path):
    save_keras_weights(random_model(rng), tmp_path / "seven.weights.h5")
    (tmp_path / "config.py").write_text(CONFIG)
    words = ("convert", tmp_path / "seven.weights.h5", tmp_path / "weights", *SETTINGS)
    assert call(*words, "--size", SIZE)[0] == 0
    code, _, err = call(
        "evaluate", tmp_path / "weights", "--config", tmp_path / "config.py", *OF_DIGITS
    )
    assert code == 2
    assert "10 classes" in err
    assert "7 classes" in err
