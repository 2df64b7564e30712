"""Compiled programs of the steps: for a run or a pack, over a mesh, one step or several."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Int, PyTree

from xception_jax.models.functional import Params
from xception_jax.ops import COMPILER_OPTIONS
from xception_jax.runtime.allocator import without_gaps
from xception_jax.runtime.determinism import deterministic_options
from xception_jax.runtime.traced import keeps, traced
from xception_jax.training.sharding import REPLICATED, Layout, make_mesh
from xception_jax.training.state import Hyperparameters, TrainState
from xception_jax.training.step import Arrays, Outcome, StepSpec, evaluation_step, train_step

Shapes = tuple[Any, ...]


def shapes_of(tree: PyTree) -> Shapes:
    """The structure, shapes and types of a tree of arrays, hashable."""
    leaves, structure = jax.tree.flatten(tree)
    return structure, tuple((leaf.shape, leaf.dtype) for leaf in leaves)


def _train_steps(  # noqa: PLR0917 - shard_map passes its arguments by position
    step_spec: StepSpec,
    layout: Layout,
    state: TrainState,
    active: Bool[Array, "*slots"],
    device_data: Arrays,
    batches: Arrays,
    count: Int[Array, ""],
    hparams: Hyperparameters,
) -> tuple[TrainState, Outcome]:
    """Takes the first `count` of the steps whose batches are given (inside `shard_map`)."""
    step = partial(train_step, step_spec)
    if layout.slots is not None:
        step = jax.vmap(step, in_axes=(0, 0, None, 0))

    def take(number: int | Array, carry: tuple[TrainState, Outcome]) -> tuple[TrainState, Outcome]:
        batch = {name: rows[number] for name, rows in batches.items()}
        return step(carry[0], carry[1].active, device_data, batch, hparams=hparams)

    rate = jnp.zeros_like(hparams.learning_rate)
    before = state, Outcome(active, rate, state.step)
    if all(len(rows) == 1 for rows in batches.values()):
        return take(0, before)
    after: tuple[TrainState, Outcome] = lax.fori_loop(0, count, take, before)
    return after


@lru_cache(maxsize=64)
def compile_train_steps(
    step_spec: StepSpec, layout: Layout, device_data: Shapes, batches: Shapes
) -> jax.stages.Compiled:
    """The compiled `lower_train_steps`.

    A call with other shapes is an error, so nothing compiles twice.
    """
    return _compile(lower_train_steps(step_spec, layout, device_data, batches))


@lru_cache(maxsize=64)
def compile_evaluation_step(
    step_spec: StepSpec, layout: Layout, device_data: Shapes, batch: Shapes
) -> jax.stages.Compiled:
    """The compiled `lower_evaluation_step`; a call with other shapes is an error."""
    return _compile(lower_evaluation_step(step_spec, layout, device_data, batch))


def lower_train_steps(
    step_spec: StepSpec, layout: Layout, device_data: Shapes, batches: Shapes
) -> jax.stages.Lowered:
    """The program of the training steps of one call.

    It takes (state, active, device_data, batches, count, hparams) and returns (state, outcome), see
    `train_step`; the buffers of the state are donated.

    Args:
        step_spec: what is fixed in the step of every run.
        layout: how the arrays of the run or the pack lie on the devices.
        device_data: `shapes_of` the data set's arrays that are kept on the devices.
        batches: `shapes_of` the batches of the most steps that a call takes, arrays
            [steps, …] of the layout's `steps_spec`. With one there is no loop in the program.
    """
    specs = _state_specs(step_spec, layout)
    sharded = jax.shard_map(
        partial(_train_steps, step_spec, layout),
        mesh=layout.mesh,
        in_specs=(
            specs,
            layout.run_spec,
            REPLICATED,
            layout.steps_spec,
            REPLICATED,
            layout.run_spec,
        ),
        out_specs=(specs, layout.run_spec),
        check_vma=False,
    )
    arguments = (
        _state_shapes(step_spec, layout),
        _per_run(layout, jax.ShapeDtypeStruct((), jnp.bool_)),
        _array_shapes(device_data, layout, REPLICATED),
        _array_shapes(batches, layout, layout.steps_spec),
        _with_sharding(layout, REPLICATED, jax.ShapeDtypeStruct((), jnp.int32)),
        _per_run(layout, _hyperparameter_shapes()),
    )
    results = jax.tree.structure((arguments[0], Outcome._make([0, 0, 0])))
    return _lower(sharded, arguments, ("train", step_spec, layout), results, donate_argnums=0)


def lower_evaluation_step(
    step_spec: StepSpec, layout: Layout, device_data: Shapes, batch: Shapes
) -> jax.stages.Lowered:
    """The program of one evaluation step.

    It takes (parameters, batch_stats, hparams, device_data, batch) and returns the outputs of each
    run and example, see `evaluation_step`. All runs of a pack see the same batch.
    """

    def step(
        parameters: Params,
        batch_stats: Params,
        hparams: Hyperparameters,
        device_data: Arrays,
        batch: Arrays,
    ) -> dict[str, Array]:
        return evaluation_step(
            step_spec, parameters, batch_stats, device_data, batch, hparams=hparams
        )

    if layout.slots is not None:
        step = jax.vmap(step, in_axes=(0, 0, 0, None, None))
    per_run = layout.run_spec
    sharded = jax.shard_map(
        step,
        mesh=layout.mesh,
        in_specs=(per_run, per_run, per_run, REPLICATED, layout.shared_batch_spec),
        out_specs=layout.batch_spec,
        check_vma=False,
    )
    state = _state_shapes(step_spec, layout)
    arguments = (
        state.parameters,
        state.batch_stats,
        _per_run(layout, _hyperparameter_shapes()),
        _array_shapes(device_data, layout, REPLICATED),
        _array_shapes(batch, layout, layout.shared_batch_spec),
    )
    return _lower(sharded, arguments, ("evaluate", step_spec, layout))


def place_states(step_spec: StepSpec, layout: Layout, states: Sequence[TrainState]) -> TrainState:
    """The states of all slots, whole on every host, as the training step takes them."""
    return layout.stack(states, _state_specs(step_spec, layout))


def _state_specs(step_spec: StepSpec, layout: Layout) -> TrainState:
    """The PartitionSpec of each array of the runs' states."""
    shapes = step_spec.shapes()
    specs: TrainState = jax.tree.map(lambda _: layout.run_spec, shapes)
    if step_spec.shard_optimizer:
        shard = partial(jax.tree.map, lambda x: layout.shard_spec(x.shape))
        specs = replace(specs, averages=shard(shapes.averages), optimizer=shard(shapes.optimizer))
    return specs


def initial_state(step_spec: StepSpec, seed: int) -> TrainState:
    """`StepSpec.init` as one program: equal on every host, and to `init` within a bit or two.

    A program for each shape would take longer to find than to run. Fused operations are rounded
    differently, hence the bits.
    """
    state: TrainState = compile_initial_state(step_spec)(jnp.int32(seed))
    return state


@lru_cache(maxsize=64)
def compile_initial_state(step_spec: StepSpec) -> jax.stages.Compiled:
    """The compiled `StepSpec.init`, see `initial_state`."""
    layout = Layout(make_mesh(jax.local_devices()[:1]))
    seed = _with_sharding(layout, REPLICATED, jax.ShapeDtypeStruct((), jnp.int32))
    results = jax.tree.structure(step_spec.shapes())
    # A higher level takes three times as long to compile, and draws no faster.
    options = {"xla_backend_optimization_level": 1}
    made_from = "initialize", step_spec, layout
    return _compile(_lower(step_spec.init, (seed,), made_from, results, compiler_options=options))


def compile_together(
    layout: Layout, first: Callable[[], jax.stages.Compiled], *others: Callable[[], object]
) -> jax.stages.Compiled:
    """Calls functions of this module that compile; on a CPU each in a thread of its own.

    Much of a compilation has one thread only, and so has all tracing. On accelerators, where
    compiling a program may time parts of it, the others are left until they are needed.

    Args:
        layout: how the arrays of the runs lie on the devices.
        first: compiles the program that is needed first.
        others: compile what is needed later; what they return is kept for the next call.

    Returns:
        What `first` returns.
    """
    if jax.process_count() > 1 or layout.mesh.devices.flat[0].platform != "cpu":
        return first()
    with ThreadPoolExecutor(1 + len(others)) as pool:
        compiled = pool.submit(first)
        for done in [pool.submit(compile_other) for compile_other in others]:
            done.result()
        return compiled.result()


def _compile(lowered: jax.stages.Lowered) -> jax.stages.Compiled:
    with without_gaps():
        return lowered.compile()


def _lower(
    function: Callable[..., Any],
    arguments: Sequence[PyTree],
    made_from: tuple[str, StepSpec, Layout],
    results: jax.tree_util.PyTreeDef | None = None,
    **options: Any,
) -> jax.stages.Lowered:
    """Traces a function, unless an earlier process has done it, and lowers it.

    Args:
        function: function of `arguments`.
        arguments: trees of shapes.
        made_from: name of the function, and what it was made from.
        results: structure of what it returns; None: a dictionary.
        options: options of `jax.jit`; its compiler options come on top of those of every program.
    """
    _, step_spec, layout = made_from
    if step_spec.settings and keeps(layout.mesh.devices.flat):
        function = _traced_once(function, arguments, made_from, results)
    platform = layout.mesh.devices.flat[0].platform
    compiler_options = COMPILER_OPTIONS.get(platform, {}) | deterministic_options(platform)
    options["compiler_options"] = compiler_options | options.get("compiler_options", {})
    return jax.jit(function, **options).lower(*arguments)


def _traced_once(
    of_trees: Callable[..., Any],
    arguments: Sequence[PyTree],
    made_from: tuple[str, StepSpec, Layout],
    results: jax.tree_util.PyTreeDef | None,
) -> Callable[..., Any]:
    """The function as `traced` keeps it, which takes leaves, not trees; arguments: see `_lower`."""
    name, step_spec, layout = made_from
    leaves, structure = jax.tree.flatten(tuple(arguments))

    def of_leaves(*leaves: Array) -> Any:
        returned = of_trees(*jax.tree.unflatten(structure, leaves))
        return returned if results is None else jax.tree.leaves(returned)

    key = (name, step_spec.settings, layout.slots, structure)
    traced_function = traced(of_leaves, leaves, key)

    def function(*arguments: PyTree) -> Any:
        returned = traced_function(*jax.tree.leaves(arguments))
        return returned if results is None else jax.tree.unflatten(results, returned)

    return function


def _hyperparameter_shapes() -> Any:
    return jax.eval_shape(lambda: Hyperparameters(*(jnp.int32(0), *jnp.zeros(3), jnp.int32(0))))


def _state_shapes(step_spec: StepSpec, layout: Layout) -> Any:
    return jax.tree.map(
        partial(_with_sharding, layout),
        _state_specs(step_spec, layout),
        _with_slots(layout, step_spec.shapes()),
    )


def _per_run(layout: Layout, shapes: Any) -> Any:
    """The shapes of per-run arrays, from the shapes of one run's."""
    return _with_sharding(layout, layout.run_spec, _with_slots(layout, shapes))


def _with_slots(layout: Layout, shapes: Any) -> Any:
    """The shapes of one run with the leading axis of the slots, in a pack."""
    leading = () if layout.slots is None else (layout.slots,)
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct((*leading, *x.shape), x.dtype), shapes)


def _with_sharding(layout: Layout, spec: PartitionSpec, shapes: Any) -> Any:
    sharding = NamedSharding(layout.mesh, spec)
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), shapes)


def _array_shapes(shapes: Shapes, layout: Layout, spec: PartitionSpec) -> Any:
    structure, leaves = shapes
    arrays = [jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in leaves]
    return _with_sharding(layout, spec, structure.unflatten(arrays))
