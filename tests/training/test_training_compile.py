"""Tests of programs that are compiled at the same time."""

import threading
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from xception_jax.training.compile import compile_together
from xception_jax.training.sharding import Layout, make_mesh

COMPILED = jax.jit(lambda x: x).lower(1.0).compile()


@pytest.fixture
def layout() -> Layout:
    return Layout(make_mesh())


def test_programs_are_compiled_at_the_same_time(layout):
    both = threading.Barrier(2)

    def first():
        both.wait(10)
        return COMPILED

    assert compile_together(layout, first, lambda: both.wait(10)) is COMPILED


@pytest.mark.parametrize("number", [0, 1])
def test_an_error_of_any_is_raised(layout, number):
    def fail():
        raise MemoryError("no room")

    functions = [lambda: COMPILED, lambda: COMPILED]
    functions[number] = fail
    with pytest.raises(MemoryError, match="no room"):
        compile_together(layout, *functions)


def test_on_an_accelerator_the_others_wait_until_they_are_needed(layout):
    gpu = SimpleNamespace(devices=np.array([[SimpleNamespace(platform="gpu")]]))
    object.__setattr__(layout, "mesh", gpu)
    called = []
    assert compile_together(layout, lambda: COMPILED, lambda: called.append(1)) is COMPILED
    assert not called
