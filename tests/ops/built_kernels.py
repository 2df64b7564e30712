"""Parameters for tests of all implementations, with the C++ kernels if there is a compiler."""

from collections.abc import Iterable

import pytest

from xception_jax.ops.native.building import compiler

needs_compiler = pytest.mark.skipif(compiler() is None, reason="no C++ compiler")


def with_kernels(implementations: Iterable[str]) -> list:
    """Returns test parameters for the given implementations and for "native"."""
    return [
        *sorted(set(implementations) - {"native"}),
        pytest.param("native", marks=needs_compiler),
    ]
