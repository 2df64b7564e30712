"""Loading a data set by its name: what that imports, which names are refused, and the digits."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data.contents import contents, sorted_pairs
from tests.programs import run_program
from xception_jax.data import builders, load
from xception_jax.errors import InputError


def test_reading_needs_no_tensorflow(prepared: str, tmp_path: Path) -> None:
    """The `tensorflow` on the path is a stub that ends the process when it is imported."""
    (tmp_path / "tensorflow").mkdir()
    (tmp_path / "tensorflow" / "__init__.py").write_text("raise SystemExit('tensorflow!')")
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = run_program("read_image", prepared, PYTHONPATH=path)
    assert (done.stdout, done.returncode) == ("(28, 28)\n", 0), done.stderr


def test_import_is_light() -> None:
    heavy = ("jax", "grain", "tensorflow_datasets", "PIL", "sklearn")
    done = run_program("find_imports", "xception_jax.data", *heavy)
    assert done.stdout == "\n", done.stderr


def test_names_that_do_not_work_say_what_does(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data\.name='cifer10': unknown.*'cifar10'"):
        load("cifer10", directory=str(tmp_path))
    with pytest.raises(InputError, match=r"not prepared in .*`xception-jax data prepare cifar10`"):
        load("cifar10", directory=str(tmp_path))
    with pytest.raises(InputError, match=r"prepare fashion_mnist --from DIR`"):
        load("fashion_mnist", directory=str(tmp_path))
    with pytest.raises(InputError, match="must have the form"):
        load("../secret", directory=str(tmp_path))


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("imagenette/160px-v2", "imagenette/160px-v2`"),  # archives have no configurations
        ("imagenette", "imagenette` (with --from DIR if you have its archive)"),
        ("tiny_imagenet", "tiny_imagenet --from DIR`"),
    ],
)
def test_how_a_set_is_prepared_is_said_as_it_works(name: str, command: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        load(name, directory=str(tmp_path))
    advice = f"run `xception-jax data prepare {command}"
    assert caught.value.reason == f"is not prepared in {tmp_path}; {advice}"


@pytest.mark.parametrize("key", ["image_key", "label_key", "train_split"])
def test_the_shipped_set_has_no_features_or_splits_to_choose(key: str) -> None:
    chosen: Any = {key: "x"}
    with pytest.raises(InputError, match=rf"^data\.{key}='x': is only for prepared sets, not for"):
        load("fashion_mnist_mini", **chosen)


@pytest.mark.parametrize("name", ["digits", "fashion_mnist_mosaic"])
def test_nothing_is_fetched_for_a_set_that_is_installed(name: str) -> None:
    """A sweep's bases may share a directory in a store that some of their sets need."""
    assert len(load(name, directory="memory://nowhere/data").splits) == 3


def test_digits_are_scikit_learns() -> None:
    from sklearn.datasets import load_digits

    source = load("digits")
    assert sum(len(split) for split in source.splits.values()) == 1797
    pairs = [pair for split in source.splits for pair in contents(source, split)]
    digits = load_digits()
    pixels = np.round(digits.images / 16 * 255).astype(np.uint8)
    assert sorted(pairs) == sorted_pairs(pixels, digits.target)


@pytest.mark.parametrize("version", ["", ":1.0.0"])
def test_of_several_prepared_configurations_one_is_to_be_named(tmp_path, version):
    for config in ("large", "small"):
        (tmp_path / "pets" / config / "1.0.0").mkdir(parents=True)
        (tmp_path / "pets" / config / "1.0.0" / "dataset_info.json").touch()
        (tmp_path / "pets" / config / "1.0.0" / "features.json").touch()
    with pytest.raises(InputError) as caught:
        load(f"pets{version}", directory=str(tmp_path))
    names = [f"pets/{config}{version}" for config in ("large", "small")]
    assert f"several configurations, {', '.join(names)}: name one" in str(caught.value)
    assert caught.value.nearest == names[0]
    assert builders.find(names[1], str(tmp_path)) == tmp_path / "pets" / "small" / "1.0.0"
