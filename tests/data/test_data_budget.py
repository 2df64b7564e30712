"""The budget of memory that all threads share to decode images."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest

from tests.data.fabricate import encode
from xception_jax.data.budget import Budget
from xception_jax.data.images import decode_and


def test_images_of_all_threads_share_a_budget(rng: np.random.Generator) -> None:
    """Images wait where they would exceed the budget together; a larger one has all of it alone."""
    budget, most, lock, active = Budget(100), [0], threading.Lock(), []

    def work(amount: int) -> None:
        with budget.taking(amount):
            with lock:
                active.append(amount)
                most[0] = max(most[0], sum(min(each, 100) for each in active))
            time.sleep(0.001)
            with lock:
                active.remove(amount)

    amounts = [int(amount) for amount in rng.choice([1, 30, 70, 500], 60)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, amounts))
    assert most[0] <= 100
    together = threading.Barrier(2, timeout=60)

    def meet(amount: int) -> None:
        with budget.taking(amount):
            together.wait()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(meet, (30, 70)))
    with pytest.raises(ZeroDivisionError), budget.taking(100):
        _ = 1 / 0
    with budget.taking(100):  # given back
        pass


def test_an_image_is_used_within_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []

    class Noting(Budget):
        @contextmanager
        def taking(self, amount: int) -> Iterator[None]:
            taken.append(amount)
            yield
            taken.append(-amount)

    monkeypatch.setattr("xception_jax.data.images._budget", Noting(1))
    content = encode(np.zeros((20, 30, 3), np.uint8))
    assert decode_and(lambda image: (image.size, list(taken)), content, 3, "x") == (
        (30, 20),
        [20 * 30 * 11],
    )
    assert sum(taken) == 0
