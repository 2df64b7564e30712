"""Checksums and sizes of the sets as their authors publish them, and the check of a copy."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from xception_jax.data.importing.archives import FIELD
from xception_jax.errors import InputError
from xception_jax.regular_files import open_for_reading

Report = Callable[[str], None]
_CHUNK = 1 << 22


@dataclass(frozen=True)
class Published:
    """A file as its authors publish it.

    Attributes:
        size: size, bytes.
        checksum: SHA-256, or MD5 where that is what there is, in hex digits.
    """

    size: int
    checksum: str


def _mnist_like(*files: Published) -> dict[str, Published]:
    stems = ("t10k-images-idx3", "t10k-labels-idx1", "train-images-idx3", "train-labels-idx1")
    return {f"{stem}-ubyte.gz": file for stem, file in zip(stems, files, strict=True)}


# SHA-256 are those of TFDS's builders, MD5 those of the sets' own pages.
PUBLISHED: dict[str, dict[str, Published]] = {
    "cifar10": {
        "cifar-10-binary.tar.gz": Published(
            170052171, "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
        ),
        "cifar-10-python.tar.gz": Published(170498071, "c58f30108f718f92721af3b95e74349a"),
    },
    "cifar100": {
        "cifar-100-binary.tar.gz": Published(
            168513733, "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec"
        ),
        "cifar-100-python.tar.gz": Published(169001437, "eb9058c3a382ffc7106e4002c42a8d85"),
    },
    "svhn_cropped": {
        "train_32x32.mat": Published(
            182040794, "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8"
        ),
        "test_32x32.mat": Published(
            64275384, "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b"
        ),
        "extra_32x32.mat": Published(
            1329278602, "a133a4beb38a00fcdda90c9489e0c04f900b660ce8a316a5e854838379a71eb3"
        ),
    },
    "mnist": _mnist_like(
        Published(1648877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
        Published(4542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
        Published(9912422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
        Published(28881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
    ),
    "fashion_mnist": _mnist_like(
        Published(4422102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
        Published(5148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
        Published(26421880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
        Published(29515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
    ),
    "kmnist": _mnist_like(
        Published(3041136, "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5"),
        Published(5120, "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c"),
        Published(18165135, "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4"),
        Published(29497, "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17"),
    ),
    "imagenette": {
        "imagenette-160.tgz": Published(
            98752094, "4bacf19aa3f2454e330ac366c98ac1e470ccc6bebca8ff63ecc7f339cb2ead11"
        ),
        "imagenette-320.tgz": Published(
            341289752, "0e3ac85d7f3fd0a63d5e27d85c68511be9ac4dae260345b6f7434a0d4fa24b3f"
        ),
        "imagenette.tgz": Published(
            1556495367, "1bd650bc16884ca88e4f0f537ed8569b1f8d7ae865d37eba8ecdd87d9cd9dcfa"
        ),
        "imagenette2-160.tgz": Published(
            99003388, "64d0c4859f35a461889e0147755a999a48b49bf38a7e0f9bd27003f10db02fe5"
        ),
        "imagenette2-320.tgz": Published(
            341663724, "569b4497c98db6dd29f335d1f109cf315fe127053cedf69010d047f0188e158c"
        ),
        "imagenette2.tgz": Published(
            1557161267, "6cbfac238434d89fe99e651496f0812ebc7a10fa62bd42d6874042bf01de4efd"
        ),
    },
    "tiny_imagenet": {
        "tiny-imagenet-200.zip": Published(248100043, "90528d7ca1a48142e341f4ef8d21d0de")
    },
    "imagenet2012": {
        "ILSVRC2012_img_train.tar": Published(
            147897477120, "b08200a27a8e34218a0e58fde36b0fe8f73bc377f4acea2d91602057c3ca45bb"
        ),
        "ILSVRC2012_img_val.tar": Published(
            6744924160, "c7e06a6c0baccf06d8dbeb6577d71efff84673a5dbdd50633ab44f8ea0456ae0"
        ),
    },
}

_OF_MNIST: dict[str, tuple[int, ...]] = {"train": (60_000,), "test": (10_000,)}
_OF_NIST: dict[str, tuple[int, ...]] = {"train": (697_932,), "test": (116_323,)}
# Numbers of images of each split, those of TFDS's catalogue and of the sets' own pages. Imagenette
# has two versions, which divide the same images.
EXAMPLES: dict[str, dict[str, tuple[int, ...]]] = {
    "cifar10": {"train": (50_000,), "test": (10_000,)},
    "cifar100": {"train": (50_000,), "test": (10_000,)},
    "svhn_cropped": {"train": (73_257,), "test": (26_032,), "extra": (531_131,)},
    "mnist": _OF_MNIST,
    "fashion_mnist": _OF_MNIST,
    "kmnist": _OF_MNIST,
    "emnist_balanced": {"train": (112_800,), "test": (18_800,)},
    "emnist_bymerge": _OF_NIST,
    "emnist_byclass": _OF_NIST,
    "emnist_letters": {"train": (124_800,), "test": (20_800,)},
    "emnist_digits": {"train": (240_000,), "test": (40_000,)},
    "emnist_mnist": _OF_MNIST,
    "imagenette": {"train": (9_469, 12_894), "validation": (3_925, 500)},
    "tiny_imagenet": {"train": (100_000,), "validation": (10_000,)},
    "imagenet2012": {"train": (1_281_167,), "validation": (50_000,)},
}


def check_counts(name: str, counts: Mapping[str, int], note: Report) -> None:
    """Notes each split that has another number of images than the published set.

    So a file that is cut is noticed also where it lies in a folder, whose files have no checksums.
    """
    for split, published in EXAMPLES[name].items():
        if (count := counts.get(split)) is not None and count not in published:
            whole = " or ".join(f"{number:,}" for number in published)
            note(f"the {split} split has {count:,} images; that of the published set has {whole}")


def check(name: str, path: Path, report: Report, note: Report) -> None:
    """Compares a file with the published one of its name.

    A file of another size is another file, such as a part of the set packed anew: that is noted.

    Args:
        name: name of the data set.
        path: the file.
        report: gets the progress of what takes long, as text.
        note: gets a sentence that people should read.

    Raises:
        InputError: the file cannot be read, or has the published one's size and other content.
    """
    published = PUBLISHED.get(name, {}).get(path.name)
    if published is None:
        return
    try:
        size = path.stat().st_size
        same = size == published.size and _checksum(path, published, report) == published.checksum
    except OSError as error:
        raise InputError(FIELD, str(path), f"cannot be read: {error.strerror}") from error
    if same:
        return
    # Distributions set the time in gzip's header to zero; gzip's own checksum finds damage.
    if size == published.size and not path.name.endswith("-ubyte.gz"):
        reason = f"is damaged: its checksum is not the published {published.checksum[:12]}…"
        raise InputError(FIELD, str(path), f"{reason}; download it again")
    note(f"{path.name} is not the published file, whose size is {published.size:,} bytes")


def _checksum(path: Path, published: Published, report: Report) -> str:
    digest = hashlib.new(
        "sha256" if len(published.checksum) == 64 else "md5", usedforsecurity=False
    )
    done = 0
    with open_for_reading(path) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            done += len(chunk)
            report(f"{path.name}: checked {done / published.size:.0%}")
    return digest.hexdigest()
