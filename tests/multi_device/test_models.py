"""A training step's model part on 8 devices equals the one on one device."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from xception_jax.models import ModelFunction, model_function
from xception_jax.models.functional import Params


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def step(
    function: ModelFunction,
    parameters: Params,
    batch_stats: Params,
    images: jax.Array,
    keys: jax.Array,
) -> tuple[Params, Params]:
    """Gradients and new batch statistics."""

    def loss(parameters: Params) -> tuple[jax.Array, Params]:
        logits, new = function.apply(parameters, batch_stats, images, train=True, dropout_keys=keys)
        return jnp.mean(jnp.sin(logits)), new

    return jax.grad(loss, has_aux=True)(parameters)


def test_batch_norm_sees_the_whole_batch(rng: np.random.Generator) -> None:
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    settings: dict[str, Any] = {
        "num_classes": 5, "dtype": "float64", "width": 0.5, "middle_modules": 0
    }  # fmt: skip
    alone = model_function("xception_tiny", **settings)
    split = model_function("xception_tiny", axis_name="data", **settings)
    values = [
        {path: value.astype("float64") for path, value in part.items()}
        for part in alone.init(jax.random.key(int(rng.integers(1000))))
    ]
    images = jnp.asarray(rng.normal(rng.normal(size=(16, 1, 1, 1)), size=(16, 16, 16, 3)))
    keys = jax.random.split(jax.random.key(1), 16)

    def part(*arguments: Any) -> tuple[Params, Params]:
        gradients, new = step(split, *arguments)
        return jax.lax.pmean(gradients, "data"), new

    specs = (P(), P(), P("data"), P("data"))
    whole = jax.jit(jax.shard_map(part, mesh=mesh, in_specs=specs, out_specs=P(), check_vma=False))
    program = whole.lower(*values, images, keys).compile()
    text = program.as_text()
    assert text is not None
    assert "all-gather" not in text
    right, right_new = jax.jit(lambda *a: step(alone, *a))(*values, images, keys)
    mine, new = program(*values, images, keys)
    assert right
    assert right_new
    for path in right_new:
        # Sums of float64 numbers in another order, 1e-16 each, through a dozen normalizations.
        np.testing.assert_allclose(new[path], right_new[path], rtol=1e-10, atol=1e-12, err_msg=path)
    largest = max(np.linalg.norm(gradient) for gradient in right.values())
    for path in right:
        assert right[path].dtype == np.float64
        # float64's 1e-16 through a dozen normalizations. What is added to a single pixel before one
        # is taken out again by it: such a gradient is zero but for rounding, hence the second term.
        allowed = 1e-9 * np.linalg.norm(right[path]) + 1e-12 * largest
        error = np.linalg.norm(mine[path] - right[path])
        assert error < allowed, (path, error, allowed)
