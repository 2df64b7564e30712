"""Normalizations folded into kernels: the same logits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xception_jax.models import list_models, model_function
from xception_jax.pretrained.folding import apply_folded, fold

LARGE = {name for name in list_models() if not name.endswith("_tiny")}
SLOW = LARGE | {"inception_tiny", "separable_vgg_tiny"}  # the latter of xception_tiny's modules
CASES = [
    *(
        pytest.param(name, {}, marks=pytest.mark.slow if name in SLOW else ())
        for name in list_models()
    ),
    (
        "xception_tiny",
        {"order": "pointwise_first", "intermediate_norm": True, "middle_modules": 0},
    ),
    ("xception_tiny", {"middle_modules": 0, "dtype": "bfloat16"}),
    pytest.param("inception_tiny", {"separable": True}, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_folded_logits_are_those_of_the_frozen_model(name, settings, rng):
    settings = {"width": 0.25 if name in LARGE else 1.0} | settings
    function = model_function(name, num_classes=5, **settings)
    size = 75 if name in LARGE else 16
    images = jnp.asarray(rng.normal(size=(3, size, size, 3)), jnp.float32)
    # Any numbers will do that a trained model could have: none is 0 or 1, as at the start.
    parameters, batch_stats = (
        {
            path: value + rng.uniform(0.1, 0.5, value.shape).astype(np.float32)
            if path.rpartition("/")[-1] in ("scale", "bias", "mean", "variance")
            else value
            for path, value in part.items()
        }
        for part in function.init(jax.random.key(int(rng.integers(2**31))))
    )

    @jax.jit
    def both(*values):
        return function.apply(*values, train=False)[0], apply_folded(function, *values)

    frozen, folded = map(np.asarray, both(parameters, batch_stats, images))
    # Rounding at other places in up to 100 layers, as a random walk: some units of float32's 6e-8,
    # or of bfloat16's 4e-3, each.
    allowed = 0.05 if settings.get("dtype") == "bfloat16" else 2e-5
    assert np.linalg.norm(folded - frozen) <= allowed * np.linalg.norm(frozen)
    assert np.any(frozen != frozen[0])


@pytest.mark.parametrize("name", list_models())
def test_no_statistics_are_left(name):
    function = model_function(name, num_classes=5)
    values = jax.eval_shape(function.init, jax.random.key(0))
    folded = []

    def trace(*values):
        function_, parameters, batch_stats = fold(function, *values)
        folded.append(function_)
        return parameters, batch_stats

    parameters, batch_stats = jax.eval_shape(trace, *values)
    assert batch_stats == {}
    assert folded[0].batch_stats == ()
    kernels = {path for path in values[0] if path.endswith("kernel")}
    assert kernels <= parameters.keys()  # under the names they have
