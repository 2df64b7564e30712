"""Checks that the outputs and statistics of a model's modules are finite, as they are called."""

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
def checked_calls(model: nnx.Module) -> Iterator[list[tuple[str, str, Finite]]]:
    """Context in which a call of `model` checks each module as it ends; yields the list of checks.

    A check is the module's path and class, "output" or "statistics", and whether that is finite;
    inner modules come before those that hold them. Batch normalization makes zeros of what has an
    infinite variance, so its statistics are checked beside its output. The checks of a call inside
    a transformation of JAX can be used in that transformation only, so a model must not scan.
    """
    names = {id(module): "/".join(map(str, path)) for path, module in nnx.iter_modules(model)}
    checks: list[tuple[str, str, Finite]] = []

    def check(module: Any, output: Any) -> None:
        name = f"{names.get(id(module), '?') or 'the model'} ({type(module).__name__})"
        checks.append((name, "output", all_finite(output)))
        batch_stats = [v[...] for v in vars(module).values() if isinstance(v, nnx.BatchStat)]
        if batch_stats:
            checks.append((name, "statistics", all_finite(batch_stats)))

    kinds = {kind for _, module in nnx.iter_modules(model) for kind in type(module).__mro__}
    originals: dict[Any, Any] = {
        kind: vars(kind)["__call__"] for kind in kinds if "__call__" in vars(kind)
    }
    for kind, call in originals.items():
        kind.__call__ = _followed_by(call, check)
    try:
        yield checks
    finally:
        for kind, call in originals.items():
            kind.__call__ = call


def _followed_by(call: Callable[..., Any], check: Callable[[Any, Any], None]) -> Callable[..., Any]:
    @wraps(call)
    def call_and_check(module: Any, *arguments: Any, **named: Any) -> Any:
        output = call(module, *arguments, **named)
        check(module, output)
        return output

    return call_and_check


def all_finite(tree: Any) -> Finite:
    """Whether every number of every floating-point array in a tree is finite."""
    floats = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(jnp.result_type(x), jnp.floating)]
    return jnp.all(jnp.array([jnp.all(jnp.isfinite(x)) for x in floats], bool))
