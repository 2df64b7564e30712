"""Reference operations: direct loops over pixels and taps in float64 NumPy."""

from collections.abc import Iterator

import numpy as np

Array = np.ndarray


def windows(
    image: tuple[int, ...], window: tuple[int, ...], strides: int, padding: str
) -> Iterator[tuple[tuple[int, int], tuple[int, int], tuple[int, int]]]:
    """Yields (row, column) of the output, the tap and the input, for all taps inside the image."""
    height, width = image
    (rows, top), (columns, left) = (
        extent(n, k, strides, padding) for n, k in zip((height, width), window, strict=True)
    )
    for i in range(rows):
        for j in range(columns):
            for a in range(window[0]):
                for b in range(window[1]):
                    y, x = i * strides + a - top, j * strides + b - left
                    if 0 <= y < height and 0 <= x < width:
                        yield (i, j), (a, b), (y, x)


def extent(size: int, window: int, strides: int, padding: str) -> tuple[int, int]:
    """Returns (output size, padding before).

    "SAME" and "VALID" are as TensorFlow defines them, "SYMMETRIC" is PyTorch's half a window.
    """
    if padding == "VALID":
        return -(-(size - window + 1) // strides), 0
    if padding == "SYMMETRIC":
        before = window // 2
        return extent(size + 2 * before, window, strides, "VALID")[0], before
    out = -(-size // strides)
    return out, max((out - 1) * strides + window - size, 0) // 2


def output_shape(x: Array, window: tuple[int, ...], strides: int, padding: str) -> tuple[int, ...]:
    height, width = (
        extent(n, k, strides, padding)[0] for n, k in zip(x.shape[1:3], window, strict=True)
    )
    return x.shape[0], height, width


def depthwise(x: Array, kernel: Array, strides: int, padding: str) -> Array:
    out = np.zeros((*output_shape(x, kernel.shape[:2], strides, padding), x.shape[-1]))
    for o, t, p in windows(x.shape[1:3], kernel.shape[:2], strides, padding):
        out[:, *o] += x[:, *p].astype(np.float64) * kernel[*t, 0]
    return out


def depthwise_gradients(
    x: Array, kernel: Array, gradient: Array, strides: int, padding: str
) -> tuple[Array, Array]:
    """Computes the gradients of sum(output * gradient) with respect to x and kernel."""
    for_x, for_kernel = np.zeros(x.shape), np.zeros(kernel.shape)
    for o, t, p in windows(x.shape[1:3], kernel.shape[:2], strides, padding):
        for_x[:, *p] += gradient[:, *o].astype(np.float64) * kernel[*t, 0]
        for_kernel[*t, 0] += np.sum(gradient[:, *o].astype(np.float64) * x[:, *p], axis=0)
    return for_x, for_kernel


def convolution(x: Array, kernel: Array, strides: int, padding: str, groups: int) -> Array:
    out = np.zeros((*output_shape(x, kernel.shape[:2], strides, padding), kernel.shape[-1]))
    inputs, outputs = kernel.shape[2], kernel.shape[3] // groups
    for o, t, p in windows(x.shape[1:3], kernel.shape[:2], strides, padding):
        for g in range(groups):
            read = slice(g * inputs, (g + 1) * inputs)
            write = slice(g * outputs, (g + 1) * outputs)
            out[:, *o, write] += x[:, *p, read].astype(np.float64) @ kernel[*t, :, write]
    return out


def convolution_gradients(
    x: Array, kernel: Array, gradient: Array, strides: int, padding: str, *, groups: int = 1
) -> tuple[Array, Array]:
    """Computes the gradients of sum(output * gradient) with respect to x and kernel."""
    for_x, for_kernel = np.zeros(x.shape), np.zeros(kernel.shape)
    inputs, outputs = kernel.shape[2], kernel.shape[3] // groups
    for o, t, p in windows(x.shape[1:3], kernel.shape[:2], strides, padding):
        for g in range(groups):
            read = slice(g * inputs, (g + 1) * inputs)
            write = slice(g * outputs, (g + 1) * outputs)
            slope = gradient[:, *o, write].astype(np.float64)
            for_x[:, *p, read] += slope @ kernel[*t, :, write].T
            for_kernel[*t, :, write] += x[:, *p, read].T.astype(np.float64) @ slope
    return for_x, for_kernel


def max_pool(x: Array, window: int, strides: int, padding: str) -> tuple[Array, Array]:
    """Returns the maxima, and the flat (row-major) index of the first input pixel with each."""
    shape = (*output_shape(x, (window, window), strides, padding), x.shape[-1])
    best, winner = np.full(shape, -np.inf), np.full(shape, -1)
    for o, _, (row, column) in windows(x.shape[1:3], (window, window), strides, padding):
        value, previous = x[:, row, column].astype(np.float64), best[:, *o]
        is_first_nan = np.isnan(value) & ~np.isnan(previous)
        better = (value > previous) | is_first_nan | (winner[:, *o] < 0)
        best[:, *o] = np.where(better, value, previous)
        winner[:, *o] = np.where(better, row * x.shape[2] + column, winner[:, *o])
    return best, winner


def max_pool_gradient(x: Array, winner: Array, gradient: Array) -> Array:
    """Computes the gradient of sum(output * gradient) with respect to x."""
    flat = np.zeros((x.shape[0], x.shape[1] * x.shape[2], x.shape[3]))
    for b, i, j, c in np.ndindex(*winner.shape):
        flat[b, winner[b, i, j, c], c] += gradient[b, i, j, c]
    return flat.reshape(x.shape)
