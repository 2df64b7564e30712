"""The order of examples: a function of (seed, step) alone, so that there is no state to save.

Training reads an endless sequence of positions, `position = step * batch_size + row`. Position `p`
in a split of `n` examples holds example `permutation(seed, p // n)[p % n]`: every epoch is shuffled
anew, no example is dropped, and a batch may span two epochs. Each host takes consecutive rows of a
batch, so that the batch assembled from all hosts is the same array for any number of hosts.
"""

import functools
import threading
import zlib
from collections.abc import Iterator

import numpy as np

from xception_jax.errors import InputError


def random_bits(seed: int, stream: str, index: int, count: int) -> np.ndarray:
    """Returns `count` random uint64 numbers that depend on (seed, stream, index) alone.

    They are the raw output of Philox, which the algorithm defines. What `numpy.random.Generator`
    makes of it may change between releases of NumPy, and a run must not change with it.
    """
    key = np.array([seed, zlib.crc32(stream.encode())], np.uint64)
    # The index is the counter's highest word: the ranges of two indices never overlap.
    counter = np.array([0, 0, 0, index], np.uint64)
    return np.random.Philox(counter=counter, key=key).random_raw(count)


def uniforms(seed: int, stream: str, index: int, count: int) -> np.ndarray:
    """Returns `count` float64 numbers in [0, 1) that depend on (seed, stream, index) alone."""
    return (random_bits(seed, stream, index, count) >> np.uint64(11)) * 2.0**-53


def permutation(seed: int, stream: str, index: int, count: int) -> np.ndarray:
    """Returns a random order of `range(count)`, int64, that depends on the arguments alone."""
    return np.argsort(random_bits(seed, stream, index, count), kind="stable")


class TrainOrder:
    """The order in which one host reads its training examples, step by step."""

    def __init__(
        self, examples: int, *, batch_size: int, seed: int, host: int, hosts: int, parts: int = 1
    ) -> None:
        share = local_rows("train.batch_size", batch_size, hosts * parts)
        self._examples, self._batch_size = examples, batch_size
        # This host's rows of the global batch: consecutive ones in each part.
        part_starts = np.arange(parts)[:, None] * (share * hosts)
        self._rows = (part_starts + host * share + np.arange(share)).reshape(-1)
        # The lock makes threads that reach a new epoch together compute its permutation only once.
        # Three epochs are kept: prefetching threads look one epoch ahead of the one being consumed.
        self._lock = threading.Lock()
        self._epoch = functools.lru_cache(maxsize=3)(
            lambda epoch: permutation(seed, "order", epoch, examples)
        )

    def positions(self, step: int) -> np.ndarray:
        """Returns the positions of this host's rows of the batch of `step`, int64 [rows]."""
        return step * self._batch_size + self._rows

    def examples(self, step: int) -> np.ndarray:
        """Returns the example indices of this host's rows of the batch of `step`, int32 [rows]."""
        return self._examples_at(self.positions(step))

    def batch(self, step: int) -> np.ndarray:
        """Returns the example indices of the whole batch of `step`, int32 [batch_size]."""
        first = step * self._batch_size
        return self._examples_at(np.arange(first, first + self._batch_size))

    def _examples_at(self, positions: np.ndarray) -> np.ndarray:
        epochs, offsets = np.divmod(positions, self._examples)
        indices = np.empty(len(positions), np.int32)
        for epoch in np.unique(epochs):
            rows = epochs == epoch
            with self._lock:
                order = self._epoch(int(epoch))
            indices[rows] = order[offsets[rows]]
        return indices


def evaluation_rows(
    examples: int, *, batch_size: int, host: int, hosts: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields this host's rows of each evaluation batch: every example once, in the split's order.

    All hosts get the same number of batches, as collective computations need.

    Yields:
        Indices int32 [rows] and mask bool [rows]; a padding row has index 0 and mask False.

    Raises:
        InputError: the batch does not divide evenly over the hosts.
    """
    local = local_rows("evaluation.batch_size", batch_size, hosts)
    for first in range(0, examples, batch_size):
        index = np.arange(local, dtype=np.int32) + np.int32(first + host * local)
        mask = index < examples
        yield np.where(mask, index, 0).astype(np.int32), mask


def local_rows(field: str, batch_size: int, hosts: int) -> int:
    """Returns the number of rows of a global batch that each of `hosts` holds.

    Raises:
        InputError: the batch does not divide evenly.
    """
    if batch_size < 1 or batch_size % hosts:
        nearest = max(hosts, batch_size // hosts * hosts)
        reason = f"must be a multiple of {hosts}, the number of equal parts it is split into"
        raise InputError(field, batch_size, reason, nearest)
    return batch_size // hosts
