"""Modules that are computed again in the backward pass: the same model, which keeps less."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xception_jax.models import count, model_function


def tiny(middle_modules=3, **settings):
    return model_function(
        "xception_tiny",
        num_classes=5,
        middle_modules=middle_modules,
        width=0.25,
        **settings,
    )


@pytest.mark.slow
def test_modules_that_are_computed_again_are_the_same_model(rng):
    with jax.enable_x64(True):
        plain, again = (tiny(1, dtype="float64", rematerialize=on) for on in (False, True))
        key = jax.random.key(int(rng.integers(2**31)))
        values = [
            {path: value.astype("float64") for path, value in part.items()}
            for part in plain.init(key)
        ]
        images = jnp.asarray(rng.normal(size=(4, 16, 16, 3)))

        def step(function, parameters, batch_stats):
            def loss(parameters):
                logits, new = function.apply(parameters, batch_stats, images, train=True)
                return jnp.sum(jnp.sin(logits)), new

            evaluated, _ = function.apply(parameters, batch_stats, images, train=False)
            return jax.grad(loss, has_aux=True)(parameters), evaluated

        right, mine = (
            jax.jit(lambda *v, f=function: step(f, *v))(*values) for function in (plain, again)
        )
        largest = max(float(jnp.max(jnp.abs(g))) for g in jax.tree.leaves(right))
        jax.tree.map(lambda *_: None, mine, right)  # raises if they differ in structure
        for a, b in zip(jax.tree.leaves(mine), jax.tree.leaves(right), strict=True):
            # float64's 1e-16 through a dozen normalizations.
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-10 * largest)


def test_paths_shapes_and_counts_do_not_depend_on_it():
    plain, again = tiny(), tiny(rematerialize=True)
    assert again.parameters == plain.parameters
    assert again.batch_stats == plain.batch_stats
    assert count(again, (16, 16, 3)) == count(plain, (16, 16, 3))


def test_what_is_computed_again_is_not_kept():
    """The values that the backward pass reads, by JAX's own count, batch of 8 at 32 pixels.

    What the stem has inside, and what goes from module to module, stays: 0.38 of all (measured).
    """
    kept = []
    for again in (False, True):
        function = tiny(rematerialize=again)
        parameters, batch_stats = jax.eval_shape(function.init, jax.random.key(0))
        images = jax.ShapeDtypeStruct((8, 32, 32, 3), jnp.float32)

        def forward(p, s, x, function=function):
            return jax.vjp(lambda p: function.apply(p, s, x, train=True)[0], p)

        _, backward = jax.eval_shape(forward, parameters, batch_stats, images)
        kept.append(sum(leaf.size for leaf in jax.tree.leaves(backward)))
    weights = sum(leaf.size for leaf in jax.tree.leaves((parameters, batch_stats)))
    assert kept[1] - weights < (kept[0] - weights) / 2
