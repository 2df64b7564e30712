"""Prints a digest of what the kernels compute, which must be one in every environment."""

import hashlib

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from xception_jax import ops


def loss(
    x: jax.Array, kernel: jax.Array, grouped: jax.Array, scale: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x = ops.depthwise_conv2d(x, kernel)
    x = ops.conv2d(x, grouped, groups=2)
    x, _, _ = ops.batch_norm(x, scale, scale, epsilon=1e-3)
    return jnp.sum(jnp.sin(x)), x


def main() -> None:
    depthwise, norm = ops.DEPTHWISE_IMPLEMENTATIONS, ops.NORM_IMPLEMENTATIONS
    assert ops.choose_implementation("depthwise", "auto", depthwise) == "native"
    convolution = ops.CONVOLUTION_IMPLEMENTATIONS
    assert ops.choose_implementation("convolution", "auto", convolution) == "native"
    assert ops.choose_implementation("batch_norm", "auto", norm) == "native"
    # Large enough that a problem is split into parts, and the parts over threads.
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, 8, 24, 23, 70)), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(2, 3, 3, 1, 70)), jnp.float32)
    grouped = jnp.asarray(rng.normal(size=(2, 3, 3, 35, 70)), jnp.float32)
    one = jnp.ones((2, 70))

    gradients = jax.vmap(jax.grad(loss, argnums=(0, 1, 2, 3), has_aux=True))
    devices = jax.device_count()
    if devices > 1:
        mesh = jax.make_mesh((devices,), ("run",), axis_types=(AxisType.Auto,))
        gradients = jax.shard_map(
            gradients, mesh=mesh, in_specs=(P("run"),) * 4, out_specs=P("run")
        )
    step = jax.jit(gradients)
    program = step.lower(x, kernel, grouped, one).as_text()
    assert "xception_jax_depthwise_gradients" in program
    assert "xception_jax_convolution_for_kernel" in program
    assert "xception_jax_column_sums" in program
    results = {
        b"".join(
            np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(step(x, kernel, grouped, one))
        )
        for _ in range(20)
    }
    assert len(results) == 1
    print(hashlib.sha256(results.pop()).hexdigest())


if __name__ == "__main__":
    main()
