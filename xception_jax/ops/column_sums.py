"""Per-channel sums for batch normalization: in JAX, and in C++ if the kernels are built."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from xception_jax.ops import native

Rows = Float[Array, "rows channels"]
Channels = Float[Array, " channels"]
ColumnSums = Callable[[Rows, Rows], tuple[Channels, Channels]]


def plain_sums(a: Rows, b: Rows) -> tuple[Channels, Channels]:
    """Returns the sums over rows of `a` and of `a * b`."""
    return jnp.sum(a, axis=0), jnp.sum(a * b, axis=0)


@jax.custom_vjp
def native_sums(a: Rows, b: Rows) -> tuple[Channels, Channels]:
    """Like `plain_sums`, but reads both arrays once, where XLA:CPU reads them several times."""
    if not native.computes(a, b):
        return plain_sums(a, b)
    wide = a.astype("float32"), b.astype("float32")
    like = jax.typeof(wide[0]).update(shape=(2, a.shape[1]))
    sums, product_sums = native.call("column_sums", like, *wide)
    return sums.astype(a.dtype), product_sums.astype(jnp.result_type(a, b))


def _forward(a: Rows, b: Rows) -> tuple[tuple[Channels, Channels], tuple[Rows, Rows]]:
    return native_sums(a, b), (a, b)


def _backward(saved: tuple[Rows, Rows], gradients: tuple[Channels, Channels]) -> tuple[Rows, Rows]:
    (a, b), (sum_gradient, product_gradient) = saved, gradients
    return sum_gradient + product_gradient * b, product_gradient * a


native_sums.defvjp(_forward, _backward)
