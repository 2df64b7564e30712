"""`evaluate` of converted weights on a data set, against metrics computed here."""

import json
from itertools import pairwise
from pathlib import Path

import jax
import keras
import numpy as np
import pytest
from PIL import Image

from tests.data.contents import example
from tests.weight_files import SMALL, random_model
from xception_jax.data import load
from xception_jax.errors import InputError
from xception_jax.evaluation import weights as module
from xception_jax.models.functional import functionalize
from xception_jax.pretrained import save_keras_weights
from xception_jax.pretrained.class_names import class_positions

SIZE = 71
SETTINGS = [f"model.{name}={SMALL[name]}" for name in ("width", "middle_modules")]
OF_DIGITS = ("data.name=digits", f"data.image_size={SIZE}")
TOLERANCE = 1e-5  # float32's 6e-8 through 14 layers and a softmax
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


def test_metrics_are_those_of_the_models_own_logits(evaluate, model, tmp_path):
    """Losses by NumPy and Keras, from logits of pixels that are prepared here."""
    code, out, err = evaluate(*OF_DIGITS, "--json")
    assert (code, err) == (0, "")
    test = load("digits").splits["test"]
    assert len(test) % 64  # so that the last batch is filled up
    examples = [example(test, index) for index in range(len(test))]
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
    assert metrics["loss"] == pytest.approx(loss, rel=TOLERANCE)
    # A head that ends in a sigmoid: Keras's loss for it, a mean over classes where ours is a sum.
    description = json.loads((tmp_path / "weights" / "weights.json").read_text())
    description["probabilities"] = "sigmoid"
    (tmp_path / "weights" / "weights.json").write_text(json.dumps(description))
    code, out, err = evaluate(*OF_DIGITS, "--json")
    assert (code, err) == (0, "")
    independent = json.loads(out)
    of_keras = keras.losses.BinaryCrossentropy(from_logits=True)(np.eye(10)[labels], logits)
    assert independent.pop("loss") == pytest.approx(10 * float(of_keras), rel=TOLERANCE)
    assert independent.items() <= metrics.items()
    # Of two classes about equally probable, rounding may put either first: one image is 0.003.
    top1 = np.mean(np.argmax(logits, axis=1) == labels)
    assert metrics["top1"] == pytest.approx(top1, abs=1.5 / len(labels))


def test_batches_do_not_pile_up_before_the_device(evaluate, monkeypatch):
    """Two at most: no third one is read before the first of them is done."""
    told, read, wait = [], module._batches, jax.block_until_ready

    def reading(*arguments):
        for images, labels in read(*arguments):
            told.append(("read", labels.tolist()))
            yield images, labels

    def waiting(parts):
        told.extend(("done", part["label"].tolist()) for part in wait(parts))
        return parts

    monkeypatch.setattr(module, "_batches", reading)
    monkeypatch.setattr(jax, "block_until_ready", waiting)
    assert evaluate(*OF_DIGITS)[0] == 0
    batches = [labels for what, labels in told if what == "read"]
    assert len(batches) > 2
    expected = [("read", batches[0])]
    for before, batch in pairwise(batches):
        expected += [("read", batch), ("done", before)]
    assert told == expected


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


def test_classes_are_matched_by_name(call, rng, tmp_path, model):
    """Weights whose classes stand in another order say the same of the images."""
    save_keras_weights(model, tmp_path / "ten.weights.h5")
    (tmp_path / "config.py").write_text(CONFIG)
    names = load("digits").class_names
    order = rng.permutation(len(names))
    shuffled = random_model(rng, num_classes=10)
    _, parameters, statistics = functionalize(model)
    values = {
        path: value[..., order] if path.startswith("classifier/") else value
        for path, value in parameters.items()
    }
    function, _, _ = functionalize(shuffled)
    save_keras_weights(function.bind(values, statistics), tmp_path / "shuffled.weights.h5")
    said = []
    for stem, own in (("ten", names), ("shuffled", [names[place] for place in order])):
        (tmp_path / "names").write_text("\n".join(own))
        home = tmp_path / stem
        words = (*SETTINGS, "--size", SIZE, "--class-names", tmp_path / "names")
        assert call("convert", tmp_path / f"{stem}.weights.h5", home, *words)[0] == 0
        words = ("--config", tmp_path / "config.py", *OF_DIGITS, "--json")
        code, out, err = call("evaluate", home, *words)
        assert (code, err) == (0, "")
        said.append(json.loads(out))
    assert {each.pop("split") for each in said} == {"test"}
    assert said[0] == pytest.approx(said[1], rel=TOLERANCE)  # sums over classes in another order


def test_classes_that_cannot_be_matched_are_said():
    assert [*class_positions(("b", "c", "a"), ("a", "b", "c"), "set")] == [2, 0, 1]
    with pytest.raises(InputError, match=r"'cats' is none of the weights'.*'cat'"):
        class_positions(("cat", "dog"), ("cats", "dog"), "set")
    folders = tuple(sorted(map(str, range(12))))
    with pytest.raises(InputError, match=r"numbers in the order of text \(0, 1, 10, 11, …\)"):
        class_positions(None, folders, "set")
    assert [*class_positions(None, ("ant", "bee"), "set")] == [0, 1]
    mapped = class_positions(tuple(map(str, range(12))), folders, "set")
    assert [*mapped] == [int(name) for name in folders]


@pytest.mark.parametrize(
    "names",
    [
        [str(number) for number in range(1, 8)],
        [f"{number:03}" for number in range(1, 103)],
        ["7"],
        ["ant", "10", "2"],
    ],
)
def test_classes_in_the_order_of_their_numbers_are_those_of_weights_without_names(names):
    """They need not begin at 0, and such folders are in this order as text, too."""
    assert [*class_positions(None, tuple(names), "set")] == [*range(len(names))]


def test_numbers_from_1_in_the_order_of_text_are_said():
    with pytest.raises(InputError, match=r"in the order of text \(1, 10, 2, …\)") as caught:
        class_positions(None, ("1", "10", "2"), "set")
    assert "\n" not in str(caught.value)
