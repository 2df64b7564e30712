"""The middle flow as a loop, and modules that are computed again: the same model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xception_jax.errors import InputError
from xception_jax.models import count, model_function


def tiny(scan_middle, middle_modules=3, **settings):
    return model_function(
        "xception_tiny",
        num_classes=5,
        middle_modules=middle_modules,
        width=0.25,
        scan_middle=scan_middle,
        **settings,
    )


@pytest.mark.parametrize(("scan", "again"), [("on", False), ("off", True), ("on", True)])
def test_another_way_through_the_modules_is_the_same_model(scan, again, rng):
    with jax.enable_x64(True):
        unrolled = tiny("off", 2, dtype="float64")
        scanned = tiny(scan, 2, dtype="float64", rematerialize=again)
        key = jax.random.key(int(rng.integers(2**31)))
        values = [
            {path: value.astype("float64") for path, value in part.items()}
            for part in unrolled.init(key)
        ]
        images = jnp.asarray(rng.normal(size=(4, 16, 16, 3)))

        def step(function, parameters, batch_stats):
            def loss(parameters):
                logits, new = function.apply(parameters, batch_stats, images, train=True)
                return jnp.sum(jnp.sin(logits)), new

            evaluated, _ = function.apply(parameters, batch_stats, images, train=False)
            return jax.grad(loss, has_aux=True)(parameters), evaluated

        right, mine = (
            jax.jit(lambda *v, f=function: step(f, *v))(*values) for function in (unrolled, scanned)
        )
        largest = max(float(jnp.max(jnp.abs(g))) for g in jax.tree.leaves(right))
        jax.tree.map(lambda *_: None, mine, right)  # raises if they differ in structure
        for a, b in zip(jax.tree.leaves(mine), jax.tree.leaves(right), strict=True):
            # float64's 1e-16 through a dozen normalizations.
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-10 * largest)


def test_paths_shapes_and_counts_do_not_depend_on_it():
    unrolled, scanned = tiny("off"), tiny("on")
    assert scanned.parameters == unrolled.parameters
    assert scanned.batch_stats == unrolled.batch_stats
    assert count(scanned, (16, 16, 3)) == count(unrolled, (16, 16, 3))


def test_one_module_is_compiled_and_auto_unrolls_on_cpu():
    def equations(function):
        parameters, batch_stats = jax.eval_shape(function.init, jax.random.key(0))
        images = jax.ShapeDtypeStruct((2, 16, 16, 3), jnp.float32)
        return str(
            jax.make_jaxpr(lambda *v: function.apply(*v, train=True))(
                parameters, batch_stats, images
            )
        ).count("dot_general")

    # Two modules of three separable convolutions less.
    assert equations(tiny("off")) - equations(tiny("on")) == 6
    assert equations(tiny("auto")) == equations(tiny("off"))
    with pytest.raises(InputError, match=r"model.scan_middle='onn'.*'on'"):
        tiny("onn")


def test_what_is_computed_again_is_not_kept():
    """The values that the backward pass reads, by JAX's own count, batch of 8 at 32 pixels.

    What the stem has inside, and what goes from module to module, stays: 0.38 of all (measured).
    """
    kept = []
    for again in (False, True):
        function = tiny("off", rematerialize=again)
        parameters, batch_stats = jax.eval_shape(function.init, jax.random.key(0))
        images = jax.ShapeDtypeStruct((8, 32, 32, 3), jnp.float32)

        def forward(p, s, x, function=function):
            return jax.vjp(lambda p: function.apply(p, s, x, train=True)[0], p)

        _, backward = jax.eval_shape(forward, parameters, batch_stats, images)
        kept.append(sum(leaf.size for leaf in jax.tree.leaves(backward)))
    weights = sum(leaf.size for leaf in jax.tree.leaves((parameters, batch_stats)))
    assert kept[1] - weights < (kept[0] - weights) / 2
