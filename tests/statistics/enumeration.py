"""The sign-flip test by its definition, all sign patterns at once: an oracle for the statistics."""

import itertools
import math

import numpy as np
from scipy import stats


def sign_flip_p_values(samples: np.ndarray, *, one_sided: bool = False) -> np.ndarray:
    """The p-value of every row of samples, by counting its 2^n sign patterns."""
    n = samples.shape[1]
    signs = 1.0 - 2.0 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
    p_values = []
    for block in np.array_split(samples, -(-len(samples) * 2**n // 4_000_000)):
        sums, observed = block @ signs.T, block.sum(axis=1, keepdims=True)
        slack = 1e-9 * np.abs(block).sum(axis=1, keepdims=True)
        if not one_sided:
            sums, observed = np.abs(sums), np.abs(observed)
        p_values.append(np.mean(sums >= observed - slack, axis=1))
    return np.concatenate(p_values)


def pocock_p(size: int, last: int) -> float:
    """Two-sided p, at Pocock's first look, of differences that all have one sign."""
    return float(2 * 0.5**size / np.log1p((np.e - 1) * size / last))


def rejected_patterns(
    values: np.ndarray, sizes: tuple[int, ...], spending: str, level: float
) -> np.ndarray:
    """Which of the 2^n sign patterns of the values is rejected by each look; (looks, patterns)."""
    signs = np.array(list(itertools.product((1.0, -1.0), repeat=values.size)))
    rejected, by_look = np.zeros(len(signs), bool), []
    before = 0.0
    for size in sizes:
        sums = np.round(signs[:, :size] @ np.abs(values[:size]), 9)
        share = size / sizes[-1]
        if spending == "pocock":
            now = level * math.log(1 + (math.e - 1) * share)
        else:
            now = 2 * stats.norm.sf(stats.norm.isf(level / 2) / math.sqrt(share))
        for bound in np.unique(sums):
            crossing = (sums >= bound) & ~rejected
            if crossing.mean() <= (now - before) * (1 + 1e-9):
                rejected = rejected | crossing
                break
        before = now
        by_look.append(rejected)
    return np.array(by_look)
