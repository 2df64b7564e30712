"""Importing published data sets from their archives, without TensorFlow.

Each reader takes the archive as its authors publish it, or the folder that it unpacks to. Nothing
in an archive is run, and nothing of it is written to the disk but the images that are stored.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xception_jax.data import shipped
from xception_jax.data.idx import find_idx, read_labelled_images
from xception_jax.data.importing.archives import FIELD
from xception_jax.data.importing.cifar import read_cifar
from xception_jax.data.importing.published import Report, check, check_counts
from xception_jax.data.importing.svhn import read_svhn
from xception_jax.data.importing.trees import read_tree
from xception_jax.data.storing import ArraySet, Description, EncodedSet
from xception_jax.errors import InputError

VERSION = "1.0.0"


@dataclass(frozen=True)
class Importable:
    """A data set that can be imported.

    Attributes:
        files: what its archives are called, in words.
        homepage: address of its home page.
        licence: licence of its images, where that page states one.
    """

    files: str
    homepage: str
    licence: str | None = None


_DIGITS = tuple("0123456789")
_CAPITALS = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
# In these sets small letters that look like their capitals are of the same class.
_BALANCED = _DIGITS + _CAPITALS + tuple("abdefghnqrt")
_KUZUSHIJI = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
_IDX_CLASSES = {
    "mnist": _DIGITS,
    "fashion_mnist": shipped.CLASS_NAMES,
    "kmnist": _KUZUSHIJI,
    "emnist_balanced": _BALANCED,
    "emnist_bymerge": _BALANCED,
    "emnist_byclass": _DIGITS + _CAPITALS + tuple("abcdefghijklmnopqrstuvwxyz"),
    "emnist_letters": _CAPITALS,
    "emnist_digits": _DIGITS,
    "emnist_mnist": _DIGITS,
}
_EMNIST = "emnist_"
_IDX = "the idx files"
_TREES = ("imagenette", "tiny_imagenet", "imagenet2012")
_CIFAR = "https://www.cs.toronto.edu/~kriz/cifar.html"
IMPORTABLE = {
    "fashion_mnist": Importable(
        _IDX, "https://github.com/zalandoresearch/fashion-mnist", shipped.LICENCE
    ),
    "mnist": Importable(_IDX, "http://yann.lecun.com/exdb/mnist/"),
    "kmnist": Importable(_IDX, "http://codh.rois.ac.jp/kmnist/index.html.en", "CC BY-SA 4.0"),
    **{
        name: Importable(
            f"the four idx files {name.replace('_', '-')}-…",
            "https://www.nist.gov/itl/products-and-services/emnist-dataset",
        )
        for name in _IDX_CLASSES
        if name.startswith(_EMNIST)
    },
    "cifar10": Importable("cifar-10-binary.tar.gz or cifar-10-python.tar.gz", _CIFAR),
    "cifar100": Importable("cifar-100-binary.tar.gz or cifar-100-python.tar.gz", _CIFAR),
    "svhn_cropped": Importable(
        "train_32x32.mat and test_32x32.mat", "http://ufldl.stanford.edu/housenumbers/"
    ),
    "imagenette": Importable(
        "imagenette2.tgz, or a smaller one", "https://github.com/fastai/imagenette"
    ),
    "tiny_imagenet": Importable("tiny-imagenet-200.zip", "http://cs231n.stanford.edu/"),
    "imagenet2012": Importable(
        "ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar", "https://image-net.org/"
    ),
}
"""The data sets that can be imported, by name."""


def import_set(name: str, path: Path, report: Report, note: Report) -> ArraySet | EncodedSet:
    """Reads a published data set from its archive.

    Args:
        name: a name in `IMPORTABLE`.
        path: the archive, the folder that it unpacks to, or a folder that holds either.
        report: gets the progress, as text, often.
        note: gets a sentence that people should read.

    Raises:
        InputError: files are missing, damaged or not to be trusted.
    """
    content = _read(name, path, report, note)
    check_counts(name, content.counts, note)
    return content


def _read(name: str, path: Path, report: Report, note: Report) -> ArraySet | EncodedSet:
    homepage, licence = IMPORTABLE[name].homepage, IMPORTABLE[name].licence
    text = f"{name}, imported from {IMPORTABLE[name].files}."
    if name in _TREES:
        tree = read_tree(name, path, report, note)
        described = Description(name, VERSION, text, homepage, tree.class_names, licence)
        return EncodedSet(described, tree.splits, tree.counts)
    if name in _IDX_CLASSES:
        class_names, splits = _IDX_CLASSES[name], _read_idx(name, path, report, note)
    elif name == "svhn_cropped":
        class_names, splits = read_svhn(path, report, note)
    else:
        class_names, splits = read_cifar(name, path, report, note)
    described = Description(name, VERSION, text, homepage, class_names, licence)
    return ArraySet(described, splits)


def _read_idx(
    name: str, path: Path, report: Report, note: Report
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    splits = {}
    classes = len(_IDX_CLASSES[name])
    stems = {"train": "train", "test": "t10k"}
    if name.startswith(_EMNIST):
        stems = {split: f"{name.replace('_', '-')}-{split}" for split in stems}
    for split, stem in stems.items():
        images, labels = read_labelled_images(path, stem)
        for kind in ("images-idx3-ubyte", "labels-idx1-ubyte"):
            check(name, find_idx(path, f"{stem}-{kind}"), report, note)
        if name.startswith(_EMNIST):  # its images lie on their side, and its letters begin with 1
            images = np.ascontiguousarray(images.swapaxes(1, 2))
            labels = labels - 1 if name == "emnist_letters" else labels
        splits[split] = images, labels
        if labels.size == 0 or labels.min() < 0 or labels.max() >= classes:
            reason = f"the {split} labels are empty or not all below {classes}"
            raise InputError(FIELD, str(path), reason)
    return splits
