"""A model's modules as they are called: whether what each of them makes is finite."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool

Finite = Bool[Array, ""]


@contextmanager
def watched(model: nnx.Module) -> Iterator[list[tuple[str, str, Finite]]]:
    """Within it, a call of `model` fills the list that is given: a look at each module as it ends.

    An entry is the module's path and class, "output" or "statistics", and whether that is finite;
    inner modules come before those that hold them. Batch normalization makes zeros of what has an
    infinite variance, so its statistics count beside its output. Inside a transformation of JAX the
    list is of use within that transformation only, which a model that scans is not.
    """
    names = {id(module): "/".join(map(str, path)) for path, module in nnx.iter_modules(model)}
    looks: list[tuple[str, str, Finite]] = []

    def look(module: Any, output: Any) -> None:
        name = f"{names.get(id(module), '?') or 'the model'} ({type(module).__name__})"
        looks.append((name, "output", all_finite(output)))
        kept = [value[...] for value in vars(module).values() if isinstance(value, nnx.BatchStat)]
        if kept:
            looks.append((name, "statistics", all_finite(kept)))

    kinds = {kind for _, module in nnx.iter_modules(model) for kind in type(module).__mro__}
    originals: dict[Any, Any] = {
        kind: vars(kind)["__call__"] for kind in kinds if "__call__" in vars(kind)
    }
    for kind, call in originals.items():
        kind.__call__ = _looking(call, look)
    try:
        yield looks
    finally:
        for kind, call in originals.items():
            kind.__call__ = call


def _looking(call: Callable[..., Any], look: Callable[[Any, Any], None]) -> Callable[..., Any]:
    @wraps(call)
    def calling(module: Any, *arguments: Any, **named: Any) -> Any:
        output = call(module, *arguments, **named)
        look(module, output)
        return output

    return calling


def all_finite(tree: Any) -> Finite:
    """Whether every number of every floating-point array is."""
    floats = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(jnp.result_type(x), jnp.floating)]
    return jnp.all(jnp.array([jnp.all(jnp.isfinite(x)) for x in floats], bool))
