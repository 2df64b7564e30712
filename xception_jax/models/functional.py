"""Modules as pure functions of flat dictionaries: the one place that splits and merges them.

The rest of the package sees `{"middle/0/convolutions/1/pointwise_kernel": array}`. JAX's
transformations work on that, checkpoints store it, and two models share a parameter when they share
its path and shape.
"""

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, Key, UInt

from xception_jax.models.activations import ActivationIndex
from xception_jax.models.layers import ONES, ZEROS, Initializer

Params = dict[str, Array]
Values = dict[str, Any]  # arrays, or the shapes of those of an abstract module
Shapes = dict[str, jax.ShapeDtypeStruct]


@dataclass(frozen=True)
class Leaf:
    """One array of a module, without its value.

    Attributes:
        keys: attributes, indices and names that lead from the module to the array.
        shape: shape of the array.
        dtype: type of the array.
        initializer: draws the initial value from (key, shape, dtype); None where the module does
            not say how.
        momentum: of a batch statistic, the share of its old value that an update keeps; 0 where the
            module does not say.
    """

    keys: tuple[Any, ...]
    shape: tuple[int, ...]
    dtype: np.dtype
    initializer: Initializer | None
    momentum: float = 0.0

    @property
    def path(self) -> str:
        """The array's name in a flat dictionary."""
        return "/".join(map(str, self.keys))


@partial(jax.jit, static_argnums=(0, 1, 2))
def _draw(
    initializer: Initializer,
    shape: tuple[int, ...],
    dtype: np.dtype,
    key: Key[Array, ""],
    path_hash: np.uint32 | UInt[Array, ""],
) -> Array:
    """Draws one array, in a program of its own: its bits depend on nothing else that is drawn."""
    return initializer(jax.random.fold_in(key, path_hash), shape, dtype)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _draw_each(
    initializer: Initializer,
    shape: tuple[int, ...],
    dtype: np.dtype,
    key: Key[Array, ""],
    path_hashes: np.ndarray | UInt[Array, " paths"],
) -> Array:
    """Draws arrays of one shape in a loop, [paths, …], which compiles sooner than a program each.

    The bits are those of `_draw`, whose program is the body of the loop.
    """
    return jax.lax.map(partial(_draw, initializer, shape, dtype, key), path_hashes)


@dataclass(frozen=True)
class ModelFunction:
    """A module without its values: hashable, so that it can be a static argument of `jax.jit`.

    Attributes:
        graph: NNX's description of the module.
        parameters: the module's trainable parameters.
        batch_stats: the module's batch statistics.
        activation_indices: variables that hold the index of the run's intermediate activation, one
            per block; none where the model has one activation.
    """

    graph: nnx.GraphDef
    parameters: tuple[Leaf, ...]
    batch_stats: tuple[Leaf, ...]
    activation_indices: tuple[Leaf, ...] = ()

    def shapes(self) -> tuple[Shapes, Shapes]:
        """Shapes and types of the parameters and of the batch statistics."""
        parameters, batch_stats = (
            {leaf.path: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves}
            for leaves in (self.parameters, self.batch_stats)
        )
        return parameters, batch_stats

    def init(self, key: Key[Array, ""]) -> tuple[Params, Params]:
        """Initial parameters and batch statistics.

        Each value is a function of the key and of its own path and shape alone, so that arms of one
        seed start from the same value wherever they share a parameter.

        Raises:
            ValueError: a variable does not say how it is drawn.
        """
        return _draw_all(self.parameters, key), _draw_all(self.batch_stats, key)

    def apply(
        self,
        parameters: Params,
        batch_stats: Params,
        images: Float[Array, "batch height width channels"],
        *,
        train: bool,
        dropout_keys: Key[Array, " batch"] | None = None,
        dropout_rate: Float[Array, ""] | None = None,
        activation_index: Int[Array, ""] | None = None,
    ) -> tuple[Float[Array, "batch *outputs"], Params]:
        """Logits, and the batch statistics after the call (unchanged in evaluation).

        The module is called as `module(images, train=train)`, and with `dropout_keys=…` and
        `dropout_rate=…` where they are given. Pure: safe inside every transformation of JAX.

        Raises:
            ValueError: the dictionaries are not those of this module.
        """
        model = self.bind(parameters, batch_stats, activation_index)
        optional = {"dropout_keys": dropout_keys, "dropout_rate": dropout_rate}
        dropout = {name: value for name, value in optional.items() if value is not None}
        logits = model(images, train=train, **dropout)
        return logits, _flat(model, nnx.BatchStat)

    def apply_in_training(
        self,
        parameters: Params,
        batch_stats: Params,
        images: Float[Array, "batch height width channels"],
        **options: Any,
    ) -> tuple[Float[Array, "batch *outputs"], Params]:
        """Logits as from `apply`, and the batch's own statistics instead of the moving ones.

        What the moving statistics would be after the call is `move_stats` of the two. A statistic
        that does not say its momentum is returned as the module leaves it.

        Args:
            parameters: parameters by path.
            batch_stats: batch statistics by path, before the call.
            images: images as for `apply`.
            options: `dropout_keys`, `dropout_rate` and `activation_index` as for `apply`.
        """
        # From zero, an update leaves (1 - momentum) times what the batch has; to subtract the old
        # value afterwards would lose digits.
        start = {
            leaf.path: jnp.zeros_like(batch_stats[leaf.path])
            if leaf.momentum
            else batch_stats[leaf.path]
            for leaf in self.batch_stats
        }
        logits, moved = self.apply(parameters, start, images, train=True, **options)
        return logits, {
            leaf.path: moved[leaf.path] / (1 - leaf.momentum) for leaf in self.batch_stats
        }

    def move_stats(self, batch_stats: Params, current: Params) -> Params:
        """The moving statistics after a batch that has the statistics `current`."""
        return {
            leaf.path: leaf.momentum * batch_stats[leaf.path]
            + (1 - leaf.momentum) * current[leaf.path]
            for leaf in self.batch_stats
        }

    def bind(
        self,
        parameters: Params,
        batch_stats: Params,
        activation_index: Int[Array, ""] | None = None,
    ) -> Any:
        """A new module that holds the given parameters and batch statistics.

        Args:
            parameters: parameters by path.
            batch_stats: batch statistics by path.
            activation_index: index of the intermediate activation among the model's; None: 0.

        Raises:
            ValueError: the dictionaries lack an array, have one too many, or one of another shape.
        """
        _require_match("parameters", self.parameters, parameters)
        _require_match("statistics", self.batch_stats, batch_stats)
        return self._merge(parameters, batch_stats, activation_index)

    def abstract(self) -> Any:
        """The module with shapes and types in place of its arrays, to read its attributes."""
        return self._merge(*self.shapes(), None)

    def _merge(
        self, parameters: Values, batch_stats: Values, activation_index: Int[Array, ""] | None
    ) -> Any:
        index = jnp.int32(0) if activation_index is None else activation_index
        leaves: list[Any] = [(leaf.keys, parameters[leaf.path]) for leaf in self.parameters]
        leaves += [(leaf.keys, batch_stats[leaf.path]) for leaf in self.batch_stats]
        leaves += [(leaf.keys, index) for leaf in self.activation_indices]
        return nnx.merge(self.graph, nnx.from_flat_state(leaves))


def _draw_all(leaves: Iterable[Leaf], key: Key[Array, ""]) -> Params:
    """Draws initial values by path, those of the same initializer, shape and type in one program.

    Raises:
        ValueError: an array does not say how it is drawn.
    """
    groups: dict[tuple[Initializer, tuple[int, ...], np.dtype], list[str]] = {}
    for leaf in leaves:
        if leaf.initializer is None:
            raise ValueError(
                f"{leaf.path} does not say how it is drawn: give its variable the metadata "
                f"`initializer`, a function of (key, shape, dtype)"
            )
        groups.setdefault((leaf.initializer, leaf.shape, leaf.dtype), []).append(leaf.path)
    drawn: Params = {}
    for kind, paths in groups.items():
        hashes = np.array([zlib.crc32(path.encode()) for path in paths], np.uint32)
        together = len(paths) > 1 and kind[0] not in (ONES, ZEROS)
        arrays = (
            _draw_each(*kind, key, hashes) if together else [_draw(*kind, key, h) for h in hashes]
        )
        drawn |= dict(zip(paths, arrays, strict=True))
    return {leaf.path: drawn[leaf.path] for leaf in leaves}


def _require_match(name: str, leaves: tuple[Leaf, ...], values: Params) -> None:
    expected = {leaf.path: leaf.shape for leaf in leaves}
    missing = sorted(expected.keys() - values.keys())
    surplus = sorted(values.keys() - expected.keys())
    reshaped = [
        f"{path} {np.shape(values[path])} instead of {shape}"
        for path, shape in expected.items()
        if path in values and np.shape(values[path]) != shape
    ]
    kinds = (("missing", missing), ("surplus", surplus), ("of another shape", reshaped))
    problems = [f"{kind}: {', '.join(paths)}" for kind, paths in kinds if paths]
    if problems:
        raise ValueError(f"{name} are not those of this model: {'; '.join(problems)}")


def _flat(model: nnx.Module, kind: type) -> Values:
    state = nnx.to_flat_state(nnx.state(model, kind))
    return {"/".join(map(str, keys)): variable.get_value() for keys, variable in state}


def _leaf(keys: tuple[Any, ...], variable: Any) -> Leaf:
    metadata = variable.get_metadata()
    initializer, momentum = metadata.get("initializer"), metadata.get("momentum", 0.0)
    return Leaf(keys, tuple(variable.shape), np.dtype(variable.dtype), initializer, momentum)


def functionalize(model: nnx.Module) -> tuple[ModelFunction, Values, Values]:
    """A module (also an abstract one) as a pure function, its parameters and its statistics.

    Args:
        model: an NNX module whose variables are `nnx.Param`, `nnx.BatchStat` and `ActivationIndex`,
            called as `module(images, train=…)`. For `ModelFunction.init` variables of the first two
            kinds must carry the metadata `initializer`. Batch statistics can carry their
            `momentum`: the share of the old value that an update in training keeps.

    Raises:
        ValueError: the module holds variables of another kind, such as the state of a random
            number generator, which a pure function could not advance.
    """
    graph, *states = nnx.split(model, nnx.Param, nnx.BatchStat, ActivationIndex, ...)
    *states, rest = states
    others = ["/".join(map(str, keys)) for keys, _ in nnx.to_flat_state(rest)]
    if others:
        raise ValueError(
            f"a model may hold parameters and batch statistics only; found {', '.join(others)}"
        )
    leaves = [
        tuple(_leaf(keys, variable) for keys, variable in nnx.to_flat_state(state))
        for state in states
    ]
    function = ModelFunction(graph, *leaves)
    return function, _flat(model, nnx.Param), _flat(model, nnx.BatchStat)
