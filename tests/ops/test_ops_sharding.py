"""The operations with the batch split over 8 (virtual) devices, values and gradients."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import AxisType, PartitionSpec as P
from xception_jax import ops

mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
seed = int(np.random.SeedSequence().generate_state(1)[0])
print("numpy seed", seed)
rng = np.random.default_rng(seed)
x = jnp.asarray(rng.normal(size=(16, 6, 5, 4)), jnp.float32)
kernel = jnp.asarray(rng.normal(size=(3, 3, 1, 4)), jnp.float32)
pointwise = jnp.asarray(rng.normal(size=(1, 1, 4, 3)), jnp.float32)

def loss(kernel, pointwise, x, depthwise, pooling):
    y = ops.depthwise_conv2d(x, kernel, implementation=depthwise)
    y = ops.max_pool(ops.pointwise_conv2d(y, pointwise), implementation=pooling)
    return jnp.sum(y ** 2)

def gradients(*arguments):
    return jax.grad(loss, argnums=(0, 1))(*arguments)

right = gradients(kernel, pointwise, x, "lax", "lax")
for depthwise in ops.DEPTHWISE_IMPLEMENTATIONS:
    for pooling in ops.POOLING_IMPLEMENTATIONS:
        for check in (False, True):
            def part(kernel, pointwise, x):
                mine = gradients(kernel, pointwise, x, depthwise, pooling)
                # With the check, JAX has summed the gradient of what is replicated already.
                return mine if check else jax.lax.psum(mine, "data")
            whole = jax.jit(jax.shard_map(part, mesh=mesh, in_specs=(P(), P(), P("data")),
                                          out_specs=P(), check_vma=check))
            for a, b in zip(whole(kernel, pointwise, x), right):
                scale = float(jnp.max(jnp.abs(b)))
                # Sums of 500 products in another order, at float32.
                np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * scale,
                                           err_msg=f"{depthwise} {pooling} {check}")
"""


@pytest.mark.parametrize("devices", [8])
def test_split_batch_gives_the_whole_batch_gradient(devices):
    flags = f"--xla_force_host_platform_device_count={devices}"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
