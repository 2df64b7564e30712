"""Prints the size of the first training image of the data that were prepared there."""

import sys

from xception_jax.data import load

if __name__ == "__main__":
    source = load("fashion_mnist_mini", directory=sys.argv[1])
    print(source.splits["train"].read(0)[0].size)
