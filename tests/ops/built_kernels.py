"""Tests over every implementation, the kernels in C++ among them where there is a compiler."""

from collections.abc import Iterable

import pytest

from xception_jax.ops.native.building import compiler

needs_compiler = pytest.mark.skipif(compiler() is None, reason="no C++ compiler")


def with_kernels(listed: Iterable[str]) -> list:
    """Parameters for the implementations that are listed, and for "native"."""
    return [*sorted(set(listed) - {"native"}), pytest.param("native", marks=needs_compiler)]
