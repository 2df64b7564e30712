"""Tests of every batch normalization, against float64 NumPy and float64 XLA."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax import lax

from tests.ops.built_kernels import with_kernels
from tests.ops.convolution_checks import few
from tests.ops.normalization_checks import EPSILON, exact_norm
from xception_jax.errors import InputError
from xception_jax.ops import NORM_IMPLEMENTATIONS, batch_norm

pytestmark = pytest.mark.usefixtures("kernels")
every_implementation = pytest.mark.parametrize("implementation", with_kernels(NORM_IMPLEMENTATIONS))


def values_and_gradients(implementation, x, scale, bias, gradient):
    def normalize(x, scale, bias):
        out, *statistics = batch_norm(
            x, scale, bias, epsilon=EPSILON, implementation=implementation
        )
        return out, statistics

    out, pull, statistics = jax.vjp(normalize, x, scale, bias, has_aux=True)
    return out, *statistics, *pull(gradient)


@every_implementation
@few
@given(
    shape=st.tuples(st.integers(2, 5), st.integers(1, 5), st.integers(1, 5), st.integers(1, 6)),
    dtype=st.sampled_from(["float32", "bfloat16"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_values_and_gradients_are_the_textbooks(implementation, shape, dtype, seed):
    rng = np.random.default_rng(seed)
    x, gradient = (jnp.asarray(rng.normal(size=shape), dtype) for _ in range(2))
    scale, bias = (jnp.asarray(rng.normal(size=shape[-1]), jnp.float32) for _ in range(2))
    ours = jax.jit(partial(values_and_gradients, implementation))(x, scale, bias, gradient)
    right = exact_norm(x, scale, bias, gradient)
    assert [a.dtype for a in ours] == [dtype, *("float32",) * 2, dtype, *("float32",) * 2]
    # The variance may be as small as epsilon: 1 / deviation multiplies float32's 6e-8 of numbers of
    # size 3 (its cube, in the slope of x), but neither statistics nor the slope of the bias are
    # divided by it. bfloat16 rounds what is returned in it, to 4e-3 of it.
    inverse = 1 / np.sqrt(right[2] + EPSILON)
    kept = 0.0 if dtype == "float32" else 4e-3
    for name, mine, wanted in zip(
        ("out", "mean", "variance", "x", "scale", "bias"), ours, right, strict=True
    ):
        rtol = kept if name in ("out", "x") else 0
        power = inverse**3 if name in ("out", "x", "scale") else 1
        allowed = rtol * np.abs(wanted) + 1e-5 * (1 + power)
        error = np.abs(np.asarray(mine, np.float64) - wanted)
        assert np.all(error <= allowed), f"{name}: {np.max(error / allowed):.3g} times the bound"


def test_gradient_of_gradient_vmap_and_scan_agree_with_xla(rng):
    def twice(implementation, x, scale, bias):
        def loss(*arguments):
            out, _, _ = batch_norm(*arguments, epsilon=EPSILON, implementation=implementation)
            return jnp.sum(jnp.sin(out) * jnp.arange(out.size).reshape(out.shape))

        def of_gradients(*arguments):
            return sum(jnp.sum(g**3) for g in jax.grad(loss, argnums=(0, 1, 2))(*arguments))

        return jax.grad(of_gradients, argnums=(0, 1, 2))(x, scale, bias)

    with jax.enable_x64(True):
        values = [jnp.asarray(rng.normal(size=s)) for s in ((2, 3, 4, 2, 3), (2, 3), (2, 3))]
        right = jax.jit(jax.vmap(partial(twice, "lax")))(*values)
        ours = partial(twice, "sums")
        mapped = jax.jit(jax.vmap(ours))(*values)
        _, scanned = jax.jit(lambda *a: lax.scan(lambda c, xs: (c, ours(*xs)), 0, a))(*values)
        for together in (mapped, scanned):
            for mine, wanted in zip(together, right, strict=True):
                # float64's 1e-16 through two derivatives and divisions by deviations.
                scale = float(jnp.max(jnp.abs(wanted)))
                np.testing.assert_allclose(mine, wanted, rtol=0, atol=1e-10 * scale)


@pytest.mark.usefixtures("unchecked_types")
def test_statistics_have_no_gradient_and_names_are_checked(rng):
    x, one = jnp.asarray(rng.normal(size=(4, 3))), jnp.ones(3)
    for implementation in NORM_IMPLEMENTATIONS:

        def sizes(x, implementation=implementation):
            _, mean, variance = batch_norm(
                x, one, one, epsilon=EPSILON, implementation=implementation
            )
            return jnp.sum(mean + variance)

        np.testing.assert_array_equal(jax.grad(sizes)(x), np.zeros_like(x))
    with pytest.raises(InputError, match=r"implementation='sum'.*'sums'"):
        batch_norm(x, one, one, epsilon=EPSILON, implementation="sum")
    with pytest.raises(ValueError, match=r"\(3,\)"):
        batch_norm(one, one, one, epsilon=EPSILON)


@every_implementation
def test_groups_of_rows_are_normalized_each_by_itself(implementation, rng):
    x, gradient = jnp.asarray(rng.normal(size=(2, 6, 2, 3, 4)), jnp.float32)
    scale, bias = jnp.asarray(rng.normal(size=(2, 4)), jnp.float32)

    def normalize(x, scale, bias):
        out, *statistics = batch_norm(
            x, scale, bias, epsilon=EPSILON, group_size=2, implementation=implementation
        )
        return out, statistics

    out, pull, statistics = jax.vjp(normalize, x, scale, bias, has_aux=True)
    groups = [exact_norm(x[i : i + 2], scale, bias, gradient[i : i + 2]) for i in (0, 2, 4)]
    right = [np.stack(values) for values in zip(*groups, strict=True)]
    wanted = [right[0].reshape(x.shape), right[1].mean(0), right[2].mean(0)]
    wanted += [right[3].reshape(x.shape), right[4].sum(0), right[5].sum(0)]
    for mine, exact in zip((out, *statistics, *pull(jnp.asarray(gradient))), wanted, strict=True):
        # A group has 12 numbers a channel; float32's 6e-8 over deviations near one.
        np.testing.assert_allclose(mine, exact, rtol=0, atol=2e-5)
    with pytest.raises(ValueError, match="groups of 4 rows do not fit a device's 6 rows"):
        batch_norm(x, scale, bias, epsilon=EPSILON, group_size=4)
