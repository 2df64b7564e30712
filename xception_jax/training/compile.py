"""The steps as compiled programs: for one run or for a pack, over a mesh, one step or several."""

from collections.abc import Callable, Sequence
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
from xception_jax.runtime.traced import keeps, traced
from xception_jax.training.sharding import REPLICATED, Layout, make_mesh
from xception_jax.training.state import Hyperparameters, TrainState
from xception_jax.training.step import Batch, Outcome, StepSpec, evaluation_step, train_step

Described = tuple[Any, ...]


def shapes_of(tree: PyTree) -> Described:
    """A hashable description of a tree of arrays."""
    leaves, structure = jax.tree.flatten(tree)
    return structure, tuple((leaf.shape, leaf.dtype) for leaf in leaves)


def _train_steps(  # noqa: PLR0917 - shard_map passes them by position
    step_spec: StepSpec,
    layout: Layout,
    state: TrainState,
    active: Bool[Array, "*slots"],
    device_data: Batch,
    batches: Batch,
    count: Int[Array, ""],
    hparams: Hyperparameters,
) -> tuple[TrainState, Outcome]:
    """The first `count` of the steps whose batches are given (inside `shard_map`)."""
    step = partial(train_step, step_spec)
    if layout.slots is not None:
        step = jax.vmap(step, in_axes=(0, 0, None, 0))

    def take(number: int | Array, carry: tuple[TrainState, Outcome]) -> tuple[TrainState, Outcome]:
        batch = {name: rows[number] for name, rows in batches.items()}
        return step(carry[0], carry[1]["active"], device_data, batch, hparams=hparams)

    rate = jnp.zeros_like(hparams.learning_rate)
    before = state, {"active": active, "step": state.step, "learning_rate": rate}
    if all(len(rows) == 1 for rows in batches.values()):
        return take(0, before)
    taken: tuple[TrainState, Outcome] = lax.fori_loop(0, count, take, before)
    return taken


@lru_cache(maxsize=64)
def compile_train_steps(
    step_spec: StepSpec, layout: Layout, device_data: Described, batches: Described
) -> jax.stages.Compiled:
    """Of `lower_train_steps`; a call with other shapes is an error, so nothing compiles twice."""
    return _compile(lower_train_steps(step_spec, layout, device_data, batches))


@lru_cache(maxsize=64)
def compile_evaluation_step(
    step_spec: StepSpec, layout: Layout, device_data: Described, batch: Described
) -> jax.stages.Compiled:
    """Of `lower_evaluation_step`, as above."""
    return _compile(lower_evaluation_step(step_spec, layout, device_data, batch))


def lower_train_steps(
    step_spec: StepSpec, layout: Layout, device_data: Described, batches: Described
) -> jax.stages.Lowered:
    """(state, active, resident, batches, count, own) -> (state, outcome); the state is used up.

    Args:
        step_spec: of every run.
        layout: of the run or the pack.
        device_data: `shapes_of` the arrays on the devices.
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
        _state(step_spec, layout),
        _members(layout, jax.ShapeDtypeStruct((), jnp.bool_)),
        _abstract(device_data, layout, REPLICATED),
        _abstract(batches, layout, layout.steps_spec),
        _placed(layout, REPLICATED, jax.ShapeDtypeStruct((), jnp.int32)),
        _members(layout, _hyperparameters()),
    )
    outcome = dict.fromkeys(("active", "step", "learning_rate"), 0)
    results = jax.tree.structure((arguments[0], outcome))
    return _lower(sharded, arguments, ("train", step_spec, layout), results, donate_argnums=0)


def lower_evaluation_step(
    step_spec: StepSpec, layout: Layout, device_data: Described, batch: Described
) -> jax.stages.Lowered:
    """(parameters, statistics, own, resident, batch) -> values per run and example.

    All runs of a pack see the same batch.
    """

    def step(
        parameters: Params,
        batch_stats: Params,
        hparams: Hyperparameters,
        device_data: Batch,
        batch: Batch,
    ) -> dict[str, Array]:
        return evaluation_step(
            step_spec, parameters, batch_stats, device_data, batch, hparams=hparams
        )

    if layout.slots is not None:
        step = jax.vmap(step, in_axes=(0, 0, 0, None, None))
    members = layout.run_spec
    sharded = jax.shard_map(
        step,
        mesh=layout.mesh,
        in_specs=(members, members, members, REPLICATED, layout.shared_batch_spec),
        out_specs=layout.batch_spec,
        check_vma=False,
    )
    state = _state(step_spec, layout)
    arguments = (
        state.parameters,
        state.batch_stats,
        _members(layout, _hyperparameters()),
        _abstract(device_data, layout, REPLICATED),
        _abstract(batch, layout, layout.shared_batch_spec),
    )
    return _lower(sharded, arguments, ("evaluate", step_spec, layout))


def place_states(step_spec: StepSpec, layout: Layout, states: Sequence[TrainState]) -> TrainState:
    """The states of all slots, whole, as the training step takes them."""
    return layout.stack(states, _state_specs(step_spec, layout))


def _state_specs(step_spec: StepSpec, layout: Layout) -> TrainState:
    """How each array of the runs' states lies."""
    shapes = step_spec.shapes()
    specs: TrainState = jax.tree.map(lambda _: layout.run_spec, shapes)
    if step_spec.shard_optimizer:
        share = partial(jax.tree.map, lambda x: layout.shard_spec(x.shape))
        specs = replace(specs, averages=share(shapes.averages), optimizer=share(shapes.optimizer))
    return specs


def initial_state(step_spec: StepSpec, seed: int) -> TrainState:
    """`StepSpec.init` in one program, the same on every host, and within a bit or two of that.

    Programs of one shape each take longer to find than to run. What is fused is rounded otherwise.
    """
    state: TrainState = _compile_init(step_spec)(jnp.int32(seed))
    return state


@lru_cache(maxsize=64)
def _compile_init(step_spec: StepSpec) -> jax.stages.Compiled:
    layout = Layout(make_mesh(jax.local_devices()[:1]))
    seed = _placed(layout, REPLICATED, jax.ShapeDtypeStruct((), jnp.int32))
    results = jax.tree.structure(step_spec.shapes())
    # A higher level takes three times as long to compile, and draws no faster.
    options = {"xla_backend_optimization_level": 1}
    about = "initialize", step_spec, layout
    return _compile(_lower(step_spec.init, (seed,), about, results, compiler_options=options))


def _compile(lowered: jax.stages.Lowered) -> jax.stages.Compiled:
    with without_gaps():
        return lowered.compile()


def _lower(
    function: Callable[..., Any],
    arguments: Sequence[PyTree],
    about: tuple[str, StepSpec, Layout],
    results: jax.tree_util.PyTreeDef | None = None,
    **options: Any,
) -> jax.stages.Lowered:
    """Traces, where no earlier process has done it, and lowers.

    Args:
        function: of `arguments`.
        arguments: trees of shapes.
        about: what the function is, and is made from.
        results: structure of what it returns; None: a dictionary.
        options: of `jax.jit`; those of the compiler come on top of every program's.
    """
    what, step_spec, layout = about
    if step_spec.settings and keeps(layout.mesh.devices.flat):
        leaves, structure = jax.tree.flatten(tuple(arguments))

        def plain(*leaves: Array) -> Any:
            returned = whole(*jax.tree.unflatten(structure, leaves))
            return returned if results is None else jax.tree.leaves(returned)

        whole, made_from = function, (what, step_spec.settings, layout.slots, structure)
        known = traced(plain, leaves, made_from)

        def function(*arguments: PyTree) -> Any:
            returned = known(*jax.tree.leaves(arguments))
            return returned if results is None else jax.tree.unflatten(results, returned)

    every = COMPILER_OPTIONS.get(layout.mesh.devices.flat[0].platform, {})
    options["compiler_options"] = every | options.get("compiler_options", {})
    return jax.jit(function, **options).lower(*arguments)


def _hyperparameters() -> Any:
    return jax.eval_shape(lambda: Hyperparameters(*(jnp.int32(0), *jnp.zeros(3), jnp.int32(0))))


def _state(step_spec: StepSpec, layout: Layout) -> Any:
    return jax.tree.map(
        partial(_placed, layout),
        _state_specs(step_spec, layout),
        _stacked(layout, step_spec.shapes()),
    )


def _members(layout: Layout, one: Any) -> Any:
    """What each run has for itself, from the shapes of one run's."""
    return _placed(layout, layout.run_spec, _stacked(layout, one))


def _stacked(layout: Layout, one: Any) -> Any:
    leading = () if layout.slots is None else (layout.slots,)
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct((*leading, *x.shape), x.dtype), one)


def _placed(layout: Layout, spec: PartitionSpec, tree: Any) -> Any:
    sharding = NamedSharding(layout.mesh, spec)
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)


def _abstract(description: Described, layout: Layout, spec: PartitionSpec) -> Any:
    structure, leaves = description
    shapes = [jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in leaves]
    return _placed(layout, spec, structure.unflatten(shapes))
