"""A training step's model part on 8 (virtual) devices equals the one on one device."""

PROGRAM = """
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import AxisType, PartitionSpec as P
from xception_jax.models import model_function

mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
seed = int(np.random.SeedSequence().generate_state(1)[0])
print("numpy seed", seed)
rng = np.random.default_rng(seed)
settings = dict(num_classes=5, dtype="float64", width=0.5, middle_modules=1)
alone = model_function("xception_tiny", **settings)
split = model_function("xception_tiny", axis_name="data", **settings)
values = [{p: v.astype("float64") for p, v in part.items()}
          for part in alone.init(jax.random.key(seed % 1000))]
images = jnp.asarray(rng.normal(rng.normal(size=(16, 1, 1, 1)), size=(16, 16, 16, 3)))
keys = jax.random.split(jax.random.key(1), 16)

def step(function, parameters, statistics, images, keys):
    def loss(parameters):
        logits, new = function.apply(
            parameters, statistics, images, train=True, dropout_keys=keys)
        return jnp.mean(jnp.sin(logits)), new
    return jax.grad(loss, has_aux=True)(parameters)

def part(*arguments):
    gradients, new = step(split, *arguments)
    return jax.lax.pmean(gradients, "data"), new

specs = (P(), P(), P("data"), P("data"))
whole = jax.jit(jax.shard_map(
    part, mesh=mesh, in_specs=specs, out_specs=P(), check_vma=False))
program = whole.lower(*values, images, keys).compile()
assert "all-gather" not in program.as_text()
right, right_new = jax.jit(lambda *a: step(alone, *a))(*values, images, keys)
mine, new = program(*values, images, keys)
for path in right_new:
    np.testing.assert_allclose(new[path], right_new[path], rtol=1e-10, atol=1e-12, err_msg=path)
largest = max(np.linalg.norm(gradient) for gradient in right.values())
for path in right:
    # float64's 1e-16 through a dozen normalizations. What is added to a single pixel before one is
    # taken out again by it: such a gradient is zero but for rounding, hence the second term.
    allowed = 1e-9 * np.linalg.norm(right[path]) + 1e-12 * largest
    error = np.linalg.norm(mine[path] - right[path])
    assert error < allowed, (path, error, allowed)
print("checked", len(right), len(right_new))
"""


def test_batch_norm_sees_the_whole_batch(on_eight_devices):
    assert "checked" in on_eight_devices(PROGRAM, JAX_ENABLE_X64="1")
