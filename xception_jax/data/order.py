"""Which example comes when: a function of (seed, step) alone, so there is no state to save.

Training walks an endless line of positions, `position = step * batch_size + row`. Position `p` of
a split of `n` examples is example `permutation(seed, p // n)[p % n]`: every epoch is shuffled anew,
no example is dropped, and a batch may span two epochs. Hosts take consecutive rows of a batch, so
that the batch put together from all hosts is the same array for any number of them.
"""

import functools
import threading
import zlib
from collections.abc import Iterator

import numpy as np

from xception_jax.errors import InputError


def random_bits(seed: int, stream: str, index: int, count: int) -> np.ndarray:
    """`count` random uint64 that depend on (seed, stream name, index) alone.

    They are Philox's own output, which is fixed by the algorithm; what `numpy.random.Generator`
    makes of it may change between releases of NumPy, and a run must not change with it.
    """
    key = np.array([seed, zlib.crc32(stream.encode())], np.uint64)
    # The index is the counter's highest word: the stretches of two indices never overlap.
    counter = np.array([0, 0, 0, index], np.uint64)
    return np.random.Philox(counter=counter, key=key).random_raw(count)


def uniforms(seed: int, stream: str, index: int, count: int) -> np.ndarray:
    """`count` float64 in [0, 1) that depend on (seed, stream name, index) alone."""
    return (random_bits(seed, stream, index, count) >> np.uint64(11)) * 2.0**-53


def permutation(seed: int, stream: str, index: int, count: int) -> np.ndarray:
    """A random order of `range(count)`, int64 [count], from (seed, stream name, index) alone."""
    return np.argsort(random_bits(seed, stream, index, count), kind="stable")


class TrainOrder:
    """The examples that one host trains on, step by step.

    Attributes:
        local: rows of each global batch that are this host's.
    """

    def __init__(
        self, examples: int, *, batch_size: int, seed: int, host: int, hosts: int, parts: int = 1
    ) -> None:
        part = local_rows("train.batch_size", batch_size, hosts * parts)
        self.local = part * parts
        self._examples, self._batch_size = examples, batch_size
        # Of the batch; with parts, this host's rows of each.
        of_parts = np.arange(parts)[:, None] * (part * hosts)
        self._rows = (of_parts + np.arange(host * part, (host + 1) * part)).reshape(-1)
        # Threads that meet a new epoch at once should compute its permutation once, not each.
        # Three epochs: prefetching threads look one epoch ahead of the one being consumed.
        self._lock = threading.Lock()
        self._epoch = functools.lru_cache(maxsize=3)(
            lambda epoch: permutation(seed, "order", epoch, examples)
        )

    def positions(self, step: int) -> np.ndarray:
        """Positions of this host's rows of the global batch of `step`, int64 [local]."""
        return step * self._batch_size + self._rows

    def examples(self, step: int) -> np.ndarray:
        """Indices into the split of this host's rows of `step`'s batch, int32 [local]."""
        return self._at(self.positions(step))

    def batch(self, step: int) -> np.ndarray:
        """Indices into the split of the whole batch of `step`, int32 [batch_size]."""
        return self._at(np.arange(self._batch_size, dtype=np.int64) + step * self._batch_size)

    def _at(self, positions: np.ndarray) -> np.ndarray:
        epochs, offsets = np.divmod(positions, self._examples)
        chosen = np.empty(len(positions), np.int32)
        for epoch in np.unique(epochs):
            rows = epochs == epoch
            with self._lock:
                order = self._epoch(int(epoch))
            chosen[rows] = order[offsets[rows]]
        return chosen


def evaluation_rows(
    examples: int, *, batch_size: int, host: int, hosts: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """This host's rows of each evaluation batch, every example once, in the split's order.

    All hosts get the same number of batches, as collective computation needs.

    Yields:
        index int32 [local] and mask bool [local]; a padded row has index 0 and mask False.

    Raises:
        InputError: the batch cannot be dealt out evenly to the hosts.
    """
    local = local_rows("evaluation.batch_size", batch_size, hosts)
    for first in range(0, examples, batch_size):
        index = np.arange(local, dtype=np.int32) + np.int32(first + host * local)
        mask = index < examples
        yield np.where(mask, index, 0).astype(np.int32), mask


def local_rows(field: str, batch_size: int, hosts: int) -> int:
    """Rows of a global batch that each of `hosts` holds.

    Raises:
        InputError: they do not divide evenly.
    """
    if batch_size < 1 or batch_size % hosts:
        nearest = max(hosts, batch_size // hosts * hosts)
        reason = f"must be a multiple of {hosts}, the parts it is dealt out in to the hosts"
        raise InputError(field, batch_size, reason, nearest)
    return batch_size // hosts
