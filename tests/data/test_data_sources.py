"""Loading a data set by its name: what that imports, which names are refused, and the digits."""

import os
from pathlib import Path

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
