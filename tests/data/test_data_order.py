"""Tests of the order of examples: one permutation per epoch, on any hosts, from any step."""

from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from xception_jax.data.order import TrainOrder, evaluation_rows, permutation, random_bits, uniforms
from xception_jax.errors import InputError


def global_batch(n: int, step: int, hosts: int, batch_size: int, seed: int) -> np.ndarray:
    parts = [
        TrainOrder(n, batch_size=batch_size, seed=seed, host=host, hosts=hosts).examples(step)
        for host in range(hosts)
    ]
    return np.concatenate(parts)


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 70),
    quarter=st.integers(1, 12),
    seed=st.integers(0, 2**31 - 1),
    epoch=st.integers(0, 10**6),
)
def test_each_example_once_an_epoch(n: int, quarter: int, seed: int, epoch: int) -> None:
    batch = 4 * quarter
    first = epoch * n // batch
    steps = n // batch + 3
    stream = np.concatenate([global_batch(n, first + s, 4, batch, seed) for s in range(steps)])
    start = (-first * batch) % n
    assert sorted(stream[start : start + n]) == list(range(n))


def test_hosts_together_give_the_batch_of_one_host(rng: np.random.Generator) -> None:
    n, seed = int(rng.integers(50, 200)), int(rng.integers(2**31))
    for step in (0, 1, 7, int(rng.integers(10**9))):
        alone = global_batch(n, step, 1, 16, seed)
        for hosts in (2, 4, 16):
            np.testing.assert_array_equal(global_batch(n, step, hosts, 16, seed), alone)


def test_epochs_and_seeds_differ() -> None:
    orders = [tuple(permutation(seed, "order", epoch, 100)) for seed in (0, 1) for epoch in (0, 1)]
    assert len(set(orders)) == 4


def test_order_is_fixed_for_all_time() -> None:
    """The values come from Philox-4x64's raw output: runs must repeat with later NumPy releases."""
    philox = np.random.Philox(counter=[0, 0, 0, 3], key=[5, 0xF5299398])  # crc32(b"order")
    np.testing.assert_array_equal(random_bits(5, "order", 3, 4), philox.random_raw(4))
    assert permutation(5, "order", 3, 8).tolist() == [4, 3, 1, 5, 7, 2, 6, 0]


def test_uniforms_are_uniform() -> None:
    draws = np.concatenate([uniforms(0, "crop", position, 10) for position in range(3000)])
    assert draws.min() >= 0
    assert draws.max() < 1
    # The draws are fixed; of uniform ones this fails for one choice of 10,000.
    assert stats.kstest(draws, "uniform").pvalue > 1e-4
    assert len(np.unique(draws)) == len(draws)


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 100), local=st.integers(1, 30), hosts=st.sampled_from([1, 2, 4]))
def test_evaluation_sees_each_example_once(n: int, local: int, hosts: int) -> None:
    seen: list[int] = []
    counts = set()
    for host in range(hosts):
        rows = list(evaluation_rows(n, batch_size=local * hosts, host=host, hosts=hosts))
        counts.add(len(rows))
        for index, mask in rows:
            assert index.shape == mask.shape == (local,)
            assert index.dtype == np.int32
            assert (index[~mask] == 0).all()
            seen += index[mask].tolist()
    assert sorted(seen) == list(range(n))
    assert len(counts) == 1


def test_uneven_batch_names_the_nearest() -> None:
    with pytest.raises(InputError, match=r"train\.batch_size=10.*nearest valid value: 8"):
        TrainOrder(5, batch_size=10, seed=0, host=0, hosts=4)
    with pytest.raises(InputError, match=r"evaluation\.batch_size=3.*nearest valid value: 4"):
        list(islice(evaluation_rows(5, batch_size=3, host=0, hosts=4), 1))


def test_hosts_deal_out_every_part_of_a_batch() -> None:
    """Every part, assembled from all hosts, holds consecutive rows of the batch."""
    for step in (0, 3):
        whole = TrainOrder(50, batch_size=24, seed=1, host=0, hosts=1).examples(step)
        for hosts in (1, 2, 4):
            orders = [
                TrainOrder(50, batch_size=24, seed=1, host=host, hosts=hosts, parts=3)
                for host in range(hosts)
            ]
            shares = [order.examples(step).reshape(3, -1) for order in orders]
            np.testing.assert_array_equal(np.concatenate(shares, axis=1).reshape(-1), whole)
            np.testing.assert_array_equal(orders[-1].batch(step), whole)
    with pytest.raises(InputError, match="must be a multiple of 10"):
        TrainOrder(50, batch_size=24, seed=1, host=0, hosts=2, parts=5)
