"""Prints the size of the first training image of the data that were prepared there."""

import sys

from xception_jax.data import load
from xception_jax.data.images import CorruptImage

if __name__ == "__main__":
    source = load("fashion_mnist_mini", directory=sys.argv[1])
    (example,) = source.splits["train"].read_many([0], lambda image, _: image.size)
    assert not isinstance(example, CorruptImage)
    print(example[0])
