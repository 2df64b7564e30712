"""The sign-flip test by its definition, all sign patterns at once: an oracle for the statistics."""

import numpy as np


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
