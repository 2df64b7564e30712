"""Parameters and multiply-adds of every module of a model, counted and not measured.

The model is traced, not compiled: from the traced program come the shapes of its convolutions and
matrix products, and each is told the module it stands in by JAX's name stack.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.extend.core import Jaxpr

from xception_jax.models.functional import ModelFunction, Params, functionalize
from xception_jax.ops.dispatch import references_only

_SCOPE = re.compile(r"\[([^][]*)\]")


@dataclass(frozen=True)
class Row:
    """One module, and all that is inside of it.

    Attributes:
        path: where it lies in the model, as in the paths of parameters; "" is the model itself.
        kind: name of its class.
        parameters: trainable numbers in it.
        macs: multiply-adds of its convolutions and matrix products for one image. Those with the
            zeros of a padding count; normalizations, activations and pools do not, as is usual.
        output_shape: without the batch; of the last call where there are several.
    """

    path: str
    kind: str
    parameters: int
    macs: int
    output_shape: tuple[int, ...]


def count(model: ModelFunction | nnx.Module, image_shape: tuple[int, int, int]) -> list[Row]:
    """A row for the whole model, then one for each module in it in the order of their calls.

    The rows of a module and of what is inside of it both count the same numbers: add up the ones
    of one level only.

    Args:
        model: called as `model(images, train=False)`.
        image_shape: (height, width, channels).

    Raises:
        InputError: images too small for the model.
        ValueError: images with another number of channels.
    """
    function = model if isinstance(model, ModelFunction) else functionalize(model)[0]
    shapes: dict[str, tuple[str, tuple[int, ...]]] = {}
    parameters, batch_stats = (
        {leaf.path: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves}
        for leaves in (function.parameters, function.batch_stats)
    )
    images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    traced = jax.make_jaxpr(partial(_call, function, shapes))(parameters, batch_stats, images)
    macs: Counter[str] = Counter()
    for path, number in _multiply_adds(traced.jaxpr, ""):
        for outer in _ancestors(path):
            macs[outer] += number
    sizes: Counter[str] = Counter()
    for leaf in function.parameters:
        for outer in _ancestors(leaf.path):
            sizes[outer] += prod(leaf.shape)
    return [Row(path, kind, sizes[path], macs[path], out) for path, (kind, out) in shapes.items()]


def _call(
    function: ModelFunction,
    shapes: dict[str, Any],
    parameters: Params,
    batch_stats: Params,
    images: Any,
) -> Any:
    """The model, its modules marked, and each convolution left as one.

    The bound model is this call's own, so that nothing else sees what is done to it.
    """
    model = function.bind(parameters, batch_stats)
    for keys, module in list(nnx.iter_modules(model)):
        _mark("/".join(map(str, keys)), module, shapes)
    with references_only():
        return model(images, train=False)


def _mark(path: str, module: nnx.Module, shapes: dict[str, Any]) -> None:
    """Makes calls of `module` note its output's shape, under the name of its path."""
    kind = type(module)
    original: Callable[..., Any] | None = getattr(kind, "__call__", None)  # noqa: B004
    if original is None:
        return  # a list of modules

    def call(self: nnx.Module, *arguments: Any, **settings: Any) -> Any:
        shapes.setdefault(path, (kind.__name__, ()))  # in the order in which calls begin
        with jax.named_scope(f"[{path}]"):
            output = original(self, *arguments, **settings)
        shapes[path] = (kind.__name__, tuple(getattr(output, "shape", (None,))[1:]))
        return output

    object.__setattr__(module, "__class__", type(kind.__name__, (kind,), {"__call__": call}))


def _ancestors(path: str) -> Iterable[str]:
    """`path`, then all that it lies in: a/b, a, and the model itself."""
    yield path
    while path:
        path = path.rpartition("/")[0]
        yield path


def _shape(variable: Any) -> tuple[int, ...]:
    return tuple(variable.aval.shape)


def _multiply_adds(jaxpr: Jaxpr, place: str) -> Iterator[tuple[str, int]]:
    """(path of the innermost module, multiply-adds) of every convolution and matrix product."""
    for equation in jaxpr.eqns:
        scopes = _SCOPE.findall(str(equation.source_info.name_stack))
        here, parameters = (scopes[-1] if scopes else place), equation.params
        if equation.primitive.name == "conv_general_dilated":
            kernel = _shape(equation.invars[1])
            features = kernel[parameters["dimension_numbers"].rhs_spec[0]]
            yield here, prod(_shape(equation.outvars[0])) * prod(kernel) // features
        elif equation.primitive.name == "dot_general":
            (contracted, _), _ = parameters["dimension_numbers"]
            depth = prod(_shape(equation.invars[0])[axis] for axis in contracted)
            yield here, prod(_shape(equation.outvars[0])) * depth
        else:
            repeats = parameters.get("length", 1) if equation.primitive.name == "scan" else 1
            for value in parameters.values():
                inner = getattr(value, "jaxpr", value)
                if isinstance(inner, Jaxpr):
                    for path, number in _multiply_adds(inner, here):
                        yield path, repeats * number
