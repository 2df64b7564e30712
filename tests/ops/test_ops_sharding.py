"""The operations on a mesh of 8 (virtual) devices, and on one of 1: values and gradients."""

from tests.ops.built_kernels import needs_compiler

PROGRAM = """
import itertools
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import AxisType, PartitionSpec as P
from xception_jax import ops

meshes = [jax.make_mesh((n,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:n])
          for n in (8, 1)]
seed = int(np.random.SeedSequence().generate_state(1)[0])
print("numpy seed", seed)
rng = np.random.default_rng(seed)
x = jnp.asarray(rng.normal(size=(16, 6, 5, 4)), jnp.float32)
kernel = jnp.asarray(rng.normal(size=(3, 3, 1, 4)), jnp.float32)
pointwise = jnp.asarray(rng.normal(size=(1, 1, 4, 3)), jnp.float32)

stem = jnp.asarray(rng.normal(size=(3, 3, 4, 4)), jnp.float32)
scale = jnp.asarray(rng.normal(size=3), jnp.float32)
names = {"reference": dict.fromkeys(("convolution", "norm", "pooling"), "lax"),
         "fast": dict(convolution="matmul", norm="sums", pooling="argmax")}

def loss(parameters, x, depthwise, kind, axis=None):
    kernel, pointwise, stem, scale = parameters
    name = names[kind]
    y = ops.conv2d(x, stem, implementation=name["convolution"])
    y = ops.depthwise_conv2d(y, kernel, implementation=depthwise)
    y = ops.pointwise_conv2d(y, pointwise, implementation=name["convolution"])
    y, _, _ = ops.batch_norm(y, scale, scale, epsilon=1e-3, axis_name=axis,
                             implementation=name["norm"])
    return jnp.sum(jnp.sin(ops.max_pool(y, implementation=name["pooling"])))

parameters = kernel, pointwise, stem, scale
right = jax.grad(loss)(parameters, x, "lax", "reference")
for depthwise in ops.DEPTHWISE_IMPLEMENTATIONS:
    kind = "reference" if depthwise == "lax" else "fast"
    for mesh, check in itertools.product(meshes, (False, True)):
        def part(parameters, x):
            mine = jax.grad(loss)(parameters, x, depthwise, kind, "data")
            # With the check, JAX has summed the gradient of what is replicated already.
            return mine if check else jax.lax.psum(mine, "data")
        whole = jax.jit(jax.shard_map(part, mesh=mesh, in_specs=(P(), P("data")),
                                      out_specs=P(), check_vma=check))
        for a, b in zip(whole(parameters, x), right):
            size = float(jnp.max(jnp.abs(b)))
            # Sums of 500 products in another order, at float32; the normalization of what is
            # summed cancels digits.
            np.testing.assert_allclose(a, b, rtol=0, atol=5e-5 * size,
                                       err_msg=f"{depthwise} {mesh.size} {check}")
    print(depthwise)
"""


def test_split_batch_gives_the_whole_batch_gradient(on_eight_devices):
    assert on_eight_devices(PROGRAM).split()[-2:] == ["lax", "shift"]


@needs_compiler
def test_split_batch_gives_the_whole_batch_gradient_with_kernels(on_eight_devices, kernels_home):
    said = on_eight_devices(PROGRAM, XDG_CACHE_HOME=str(kernels_home))
    assert said.split()[-3:] == ["lax", "shift", "native"]
