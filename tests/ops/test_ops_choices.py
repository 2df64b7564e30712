"""Tests of the table that decides what `auto` means."""

from collections.abc import Collection
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import pytest

from xception_jax import ops
from xception_jax.errors import InputError
from xception_jax.models import model_function
from xception_jax.ops.dispatch import COMPILER_OPTIONS, RULES, choose_implementation
from xception_jax.training.sharding import make_mesh

IMPLEMENTATIONS: dict[str, Collection[str]] = {
    "depthwise": ops.DEPTHWISE_IMPLEMENTATIONS,
    "max_pool": ops.POOLING_IMPLEMENTATIONS,
    "pointwise": ops.POINTWISE_IMPLEMENTATIONS,
    "convolution": ops.CONVOLUTION_IMPLEMENTATIONS,
    "batch_norm": ops.NORM_IMPLEMENTATIONS,
    "norm_pool": ops.NORM_POOL_IMPLEMENTATIONS,
}


def test_every_rule_names_an_implementation_and_no_case_has_two():
    assert {rule.operation for rule in RULES} <= set(IMPLEMENTATIONS)
    rules = [rule for rule in RULES if rule.implementation != "native"]  # may be available or not
    assert all(rule.implementation in IMPLEMENTATIONS[rule.operation] for rule in rules)
    cases = [replace(rule, implementation="") for rule in rules]
    assert len(set(cases)) == len(cases)


def test_kernels_are_taken_on_cpu_where_there_are_any(monkeypatch):
    for backend, names, chosen in (
        ("cpu", ("lax", "shift", "native"), "native"),
        ("cpu", ("lax", "shift"), "shift"),
        ("gpu", ("lax", "shift", "native"), "shift"),
    ):
        monkeypatch.setattr(jax, "default_backend", lambda backend=backend: backend)
        assert choose_implementation("depthwise", "auto", names) == chosen


@pytest.mark.parametrize(
    ("backend", "channels", "groups", "width", "chosen"),
    [
        ("cpu", 3, 1, 9, "matmul"),
        ("cpu", 32, 1, 9, "matmul"),
        ("cpu", 33, 1, 9, "unpacked"),
        ("cpu", 33, 1, 2, "tiles"),
        ("cpu", 32, 2, 9, "tiles"),
        ("cpu", 96, 8, 9, "tiles"),
        ("tpu", 3, 1, 9, "blocks"),
        ("tpu", 96, 8, 9, "blocks"),
        ("gpu", 96, 8, 9, "lax"),
    ],
)
def test_the_table_decides_by_backend_and_shapes(
    *, backend, channels, groups, width, chosen, monkeypatch
):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    choose = partial(
        choose_implementation,
        implementations=ops.CONVOLUTION_IMPLEMENTATIONS,
        channels=channels,
        groups=groups,
        width=width,
    )
    assert choose("convolution", "auto") == chosen
    assert choose("convolution", "lax") == "lax"
    with pytest.raises(InputError, match=r"implementation='matmull'.*'matmul'"):
        choose("convolution", "matmull")


def test_on_a_tpu_pointwise_convolutions_are_products_unless_they_have_strides(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    choose = partial(choose_implementation, "pointwise", "auto", ops.POINTWISE_IMPLEMENTATIONS)
    assert [choose(strides=strides) for strides in (1, 2)] == ["matmul", "lax"]


@pytest.mark.parametrize(
    ("name", "settings", "pack"),
    [
        ("xception", {"middle_modules": 1}, False),
        ("xception_tiny", {}, False),
        ("xception_tiny", {"segments": 4}, False),
        ("xception_tiny", {"segments": 4}, True),
        ("xception_tiny", {"segments": 1}, True),
        ("separable_vgg_tiny", {}, False),
        ("inception_tiny", {}, True),
        ("alexnet_tiny", {"separable": False}, True),
    ],
)
def test_a_train_step_has_no_convolution_on_cpu(name, settings, pack):
    """On CPU a convolution inside a loop is 12 times slower: jax-ml/jax#12868.

    In a pack it would be a grouped one, which is 20 to 100 times slower everywhere.
    """
    function = model_function(name, num_classes=3, **settings)
    parameters, statistics = jax.eval_shape(function.init, jax.random.key(0))

    def loss(parameters, statistics, images):
        return jnp.sum(function.apply(parameters, statistics, images, train=True)[0])

    images = jax.ShapeDtypeStruct((2, 71, 71, 3), jnp.float32)
    arguments, step = (parameters, statistics, images), jax.grad(loss)
    if pack:
        slots = partial(jax.tree.map, lambda a: jax.ShapeDtypeStruct((2, *a.shape), a.dtype))
        arguments, step = slots(arguments), jax.vmap(step)
    traced = str(jax.make_jaxpr(step)(*arguments))
    assert "dot_general" in traced
    assert "conv_general_dilated" not in traced


def test_inside_shard_map_the_mesh_decides_and_not_this_machine(monkeypatch):
    """A program for a topology is compiled on a machine that lacks its chips."""
    mesh = make_mesh()
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    assert choose_implementation("depthwise", "auto", ops.DEPTHWISE_IMPLEMENTATIONS) == "lax"
    chosen = []

    def note(x):
        chosen.append(choose_implementation("depthwise", "auto", ops.DEPTHWISE_IMPLEMENTATIONS))
        return x

    spec = jax.sharding.PartitionSpec()
    jax.eval_shape(jax.shard_map(note, mesh=mesh, in_specs=spec, out_specs=spec), jnp.zeros(1))
    assert chosen == ["shift"]


def test_the_name_of_the_pass_that_drops_barriers_is_one_of_xla():
    """XLA ignores names that it does not know, and another jax may call its pass otherwise."""
    lowered = jax.jit(lambda x: jax.lax.optimization_barrier(x * 2.0) + 1.0).lower(jnp.ones(8))

    def has_barrier(options: dict[str, str | bool]) -> bool:
        return "opt-barrier(" in str(lowered.compile(compiler_options=options).as_text())

    assert has_barrier({**COMPILER_OPTIONS["cpu"]})
    unknown = {option: f"no_{name}" for option, name in COMPILER_OPTIONS["cpu"].items()}
    assert not has_barrier({**unknown})
    assert not has_barrier({})
