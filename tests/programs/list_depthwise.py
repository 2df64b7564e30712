"""Prints the implementations of the depthwise convolution that a process finds."""

from xception_jax.ops import DEPTHWISE_IMPLEMENTATIONS

if __name__ == "__main__":
    print(*DEPTHWISE_IMPLEMENTATIONS)
