"""The operations on a mesh of 8 devices, and on one of 1: values and gradients."""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from tests.ops.built_kernels import with_kernels
from tests.ops.conftest import kernels, kernels_home  # noqa: F401 - fixtures
from xception_jax import ops

REFERENCE = dict.fromkeys(
    ("convolution", "stem", "grouped", "blocks", "norm", "pooling", "norm_pool"), "lax"
)
FAST = {
    "convolution": "matmul",
    "stem": "unpacked",
    "grouped": "tiles",
    "blocks": "blocks",
    "norm": "sums",
    "pooling": "argmax",
    "norm_pool": "pool_first",
}
NATIVE = FAST | {"stem": "native", "grouped": "native"}
Parameters = tuple[jax.Array, jax.Array, jax.Array, jax.Array, jax.Array]


def loss(
    parameters: Parameters,
    x: jax.Array,
    depthwise: str,
    names: Mapping[str, str],
    axis: str | None = None,
) -> jax.Array:
    """A sum over images of what every operation does to them, by the implementations named."""
    kernel, pointwise, stem, grouped, scale = parameters
    y = ops.conv2d(x, stem, implementation=names["stem"])
    y = ops.conv2d(y, grouped, groups=2, implementation=names["grouped"])
    y = ops.conv2d(y, grouped, groups=2, implementation=names["blocks"])
    y, _, _ = ops.batch_norm_max_pool(
        y,
        kernel[0, 0, 0],
        kernel[0, 1, 0],
        epsilon=1e-3,
        axis_name=axis,
        strides=1,
        implementation=names["norm_pool"],
    )
    y = ops.depthwise_conv2d(y, kernel, implementation=depthwise)
    y = ops.pointwise_conv2d(y, pointwise, implementation=names["convolution"])
    y, _, _ = ops.batch_norm(
        y, scale, scale, epsilon=1e-3, axis_name=axis, implementation=names["norm"]
    )
    return jnp.sum(jnp.sin(ops.max_pool(y, implementation=names["pooling"])))


@jax.jit
def expected_gradient(parameters: Parameters, x: jax.Array) -> Parameters:
    return jax.grad(loss)(parameters, x, "lax", REFERENCE)


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize(
    ("devices", "check"),
    [
        pytest.param(8, False, id="8"),
        pytest.param(8, True, id="8-check_vma"),
        pytest.param(1, False, id="1", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("depthwise", with_kernels(ops.DEPTHWISE_IMPLEMENTATIONS))
def test_split_batch_gives_the_whole_batch_gradient(
    depthwise: str, devices: int, check: bool, rng: np.random.Generator
) -> None:
    assert depthwise in ops.DEPTHWISE_IMPLEMENTATIONS
    mesh = jax.make_mesh(
        (devices,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:devices]
    )
    names = {"lax": REFERENCE, "native": NATIVE}.get(depthwise, FAST)
    # The normalization of a sum cancels digits: of 300 draws, float32 was wrong by 1e-4 of the
    # largest gradient in the worst, and float64 by 4e-13. A sum that lacks what other devices hold
    # is wrong in the first digit. The C++ kernels know float32 only.
    dtype, tolerance = (np.float32, 2e-3) if depthwise == "native" else (np.float64, 1e-10)

    def draw(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(dtype)

    x = draw(16, 6, 5, 4)
    parameters = draw(3, 3, 1, 4), draw(1, 1, 4, 3), draw(3, 3, 4, 4), draw(3, 3, 2, 4), draw(3)

    def part(parameters: Parameters, x: jax.Array) -> Sequence[jax.Array]:
        mine = jax.grad(loss)(parameters, x, depthwise, names, "data")
        # With the check, JAX has summed the gradient of what is replicated already.
        return mine if check else jax.lax.psum(mine, "data")

    whole = jax.jit(
        jax.shard_map(part, mesh=mesh, in_specs=(P(), P("data")), out_specs=P(), check_vma=check)
    )
    with jax.enable_x64(True):
        wide = jax.tree.map(np.float64, (parameters, x))
        for mine, expected in zip(whole(parameters, x), expected_gradient(*wide), strict=True):
            assert mine.dtype == dtype
            size = np.max(np.abs(expected))
            np.testing.assert_allclose(mine, expected, rtol=0, atol=tolerance * size)
