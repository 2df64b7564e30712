"""Storing a data set as TFDS does, in array_record files, without TensorFlow."""

import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from xception_jax.data.builders import preparation_lock

# The name of an example, which decides its place in the stored order; its image; its label.
StoredExample = tuple[int | str, io.BytesIO, int]


@dataclass(frozen=True)
class Description:
    """What a stored data set says of itself.

    Attributes:
        name: name of the data set.
        version: version of the data set, such as `1.2.3`.
        text: description, for TFDS.
        homepage: address of the data set's home page, for TFDS.
        class_names: names of the classes, in label order.
        licence: licence of the images, where their authors state one.
    """

    name: str
    version: str
    text: str
    homepage: str
    class_names: tuple[str, ...]
    licence: str | None = None


@dataclass(frozen=True)
class ArraySet:
    """A data set in memory, whose images are stored as PNG.

    Attributes:
        description: what the stored set says of itself.
        splits: images uint8 [n, height, width, channels] and labels [n] of each TFDS split.
    """

    description: Description
    splits: Mapping[str, tuple[np.ndarray, np.ndarray]]

    encoding = "png"

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(height, width, channels) of all images."""
        images, _ = next(iter(self.splits.values()))
        return images.shape[1:]

    @property
    def counts(self) -> Mapping[str, int]:
        """Number of examples of each split."""
        return {split: len(labels) for split, (_, labels) in self.splits.items()}

    def examples(self, split: str) -> Iterator[StoredExample]:
        """Yields the examples of a split, numbered."""
        for index, (image, label) in enumerate(zip(*self.splits[split], strict=True)):
            yield index, _png(image), int(label)


@dataclass(frozen=True)
class EncodedSet:
    """A data set of image files, which are stored as they are.

    Attributes:
        description: what the stored set says of itself.
        splits: for each TFDS split a function that reads its examples anew.
        counts: number of examples of each split.
    """

    description: Description
    splits: Mapping[str, Callable[[], Iterator[StoredExample]]]
    counts: Mapping[str, int]

    encoding = "jpeg"
    image_shape = (None, None, 3)

    def examples(self, split: str) -> Iterator[StoredExample]:
        """Yields the examples of a split."""
        return self.splits[split]()


def store(
    content: ArraySet | EncodedSet,
    directory: str | None,
    report: Callable[[str], None] = lambda _: None,
) -> Path:
    """Stores a data set, unless that version is stored already.

    Args:
        content: the data set to store.
        directory: directory of all prepared data sets; None: TFDS's default.
        report: gets the progress, as text, often.

    Returns:
        The directory of the prepared data set.

    Raises:
        InputError: the directory cannot be written.
    """
    with preparation_lock(content.description.name, directory) as root:
        builder = _builder_class(content, report)(data_dir=str(root), file_format="array_record")
        # It often runs in the middle of another progress display.
        tfds.disable_progress_bar()
        try:
            builder.download_and_prepare()
        finally:
            tfds.enable_progress_bar()
        return Path(builder.data_path)


def _builder_class(content: ArraySet | EncodedSet, report: Callable[[str], None]) -> Any:
    # Registered names must be unique in a process, and TFDS registers its own fashion_mnist.
    described = content.description
    with tfds.core.registered.skip_registration():

        class Builder(tfds.core.GeneratorBasedBuilder):
            """The data set in the form that TFDS requires."""

            name = described.name
            VERSION = tfds.core.Version(described.version)

            def _log_download_bytes(self) -> None:
                """Prints nothing: nothing is downloaded, and the caller reports the progress."""

            def _log_download_done(self) -> None:
                """Prints nothing: the caller says where the data set is."""

            def _info(self) -> Any:
                image = tfds.features.Image(
                    shape=content.image_shape, encoding_format=content.encoding
                )
                label = tfds.features.ClassLabel(names=list(described.class_names))
                return tfds.core.DatasetInfo(
                    builder=self,
                    description=described.text,
                    homepage=described.homepage,
                    license=described.licence,
                    features=tfds.features.FeaturesDict({"image": image, "label": label}),
                    supervised_keys=("image", "label"),
                )

            def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
                del dl_manager
                return {split: self._generate_examples(split) for split in content.splits}

            def _generate_examples(self, split: str) -> Iterator[tuple[int | str, dict[str, Any]]]:
                total = f"{content.counts[split]:,}"
                for number, (name, image, label) in enumerate(content.examples(split), start=1):
                    report(f"{split}: {number:,} of {total} images read")
                    yield name, {"image": image, "label": label}
                report(f"{split}: {total} images are put in order")

    return Builder


def _png(image: np.ndarray) -> io.BytesIO:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(buffer, "PNG")
    buffer.seek(0)
    return buffer
