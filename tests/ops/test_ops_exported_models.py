"""Models are exported for batches of any size, whatever computes their convolutions here."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from tests.ops.built_kernels import needs_compiler
from xception_jax.models import model_function
from xception_jax.pretrained.exporting import export_model

SHAPE = (16, 16, 3)


@pytest.mark.parametrize(
    ("name", "segments", "with_kernels"),
    [
        ("xception_tiny", 4, False),
        pytest.param("xception_tiny", 4, True, marks=(needs_compiler, pytest.mark.slow)),
        pytest.param("inception_tiny", 1, True, marks=needs_compiler),
    ],
)
def test_an_exported_model_takes_batches_of_any_size(name, segments, with_kernels, request, rng):
    if with_kernels:
        request.getfixturevalue("kernels")
    function = model_function(name, num_classes=5, segments=segments)
    parameters, batch_stats = jax.jit(function.init)(jax.random.key(0))
    content = export_model(function, parameters, batch_stats, image_shape=SHAPE, platforms=("cpu",))
    call = export.deserialize(bytearray(content)).call
    images = jnp.asarray(rng.normal(size=(3, *SHAPE)), jnp.float32)
    expected = jax.jit(partial(function.apply, train=False))(parameters, batch_stats, images)[0]
    for count in (1, 3):
        found = call(images[:count])
        # float32's rounding of 6e-8 through at most 20 layers, by other forms of convolutions.
        size = np.max(np.abs(expected))
        np.testing.assert_allclose(found, expected[:count], rtol=0, atol=1e-5 * size)
