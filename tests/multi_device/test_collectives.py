"""Collectives of a program of eight devices, read from what XLA compiled."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from xception_jax.planning.collectives import gathered_rows, read_collectives
from xception_jax.training.sharding import make_mesh


def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return lax.conv_general_dilated(
        x,
        kernel,
        (1, 1),
        "SAME",
        feature_group_count=2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


@pytest.mark.parametrize(("sharded", "gathered"), [(False, 1), (True, 0)])
def test_a_grouped_convolution_that_gathers_the_batch_is_found(
    sharded: bool, gathered: int
) -> None:
    """Under plain jit, that is: inside shard_map nothing is gathered."""
    mesh = make_mesh()
    x = jax.ShapeDtypeStruct((48, 6, 5, 4), jnp.float32, sharding=NamedSharding(mesh, P("data")))
    kernel = jax.ShapeDtypeStruct((3, 3, 2, 4), jnp.float32, sharding=NamedSharding(mesh, P()))
    split = jax.shard_map(convolve, mesh=mesh, in_specs=(P("data"), P()), out_specs=P("data"))
    function = jax.jit(split if sharded else convolve, out_shardings=NamedSharding(mesh, P("data")))
    text = function.lower(x, kernel).compile().as_text()
    assert text is not None
    found = read_collectives(text, 8)
    assert len(gathered_rows(found, 48, ())) == gathered
    assert len(gathered_rows(found, 48, {(48, 6, 5, 4)})) == 0
