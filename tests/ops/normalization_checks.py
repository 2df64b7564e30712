"""Batch normalization by its definition, in float64."""

import numpy as np

EPSILON = 1e-3


def exact_norm(x, scale, bias, gradient):
    """Computes values, statistics and gradients by the textbook formulas, in float64."""
    x, scale, bias, gradient = (np.asarray(a, np.float64) for a in (x, scale, bias, gradient))
    axes = tuple(range(x.ndim - 1))
    mean, variance = x.mean(axes), x.var(axes)
    inverse = 1 / np.sqrt(variance + EPSILON)
    standard = (x - mean) * inverse
    for_scale, for_bias = (gradient * standard).sum(axes), gradient.sum(axes)
    count = x[..., 0].size
    for_x = scale * inverse * (gradient - for_bias / count - standard * for_scale / count)
    return standard * scale + bias, mean, variance, for_x, for_scale, for_bias
