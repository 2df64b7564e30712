"""Parameters and multiply-adds of every module of a model, counted from its traced program.

The traced program gives the shapes of the convolutions and matrix products, and JAX's name stack
the module of each. Nothing is compiled or measured.
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
class ModuleCounts:
    """The counts of one module, with all modules inside it.

    Attributes:
        path: path of the module in the model, as in those of parameters; "" is the model itself.
        kind: name of the module's class.
        parameters: number of trainable values.
        macs: multiply-adds of convolutions and matrix products for one image. Those with the zeros
            of padding count; normalizations, activations and pools do not, as is usual.
        output_shape: shape of the output of the last call, without the batch.
    """

    path: str
    kind: str
    parameters: int
    macs: int
    output_shape: tuple[int, ...]


def count(
    model: ModelFunction | nnx.Module, image_shape: tuple[int, int, int]
) -> list[ModuleCounts]:
    """A row for the whole model, then one for each module in it in the order of their calls.

    The row of a module includes those of the modules inside it: add up rows of one level only.

    Args:
        model: model that is called as `model(images, train=False)`.
        image_shape: (height, width, channels) of the images.

    Raises:
        InputError: the images are too small for the model.
        ValueError: the images have another number of channels than the model.
    """
    function = model if isinstance(model, ModelFunction) else functionalize(model)[0]
    shapes: dict[str, tuple[str, tuple[int, ...]]] = {}
    images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    traced = jax.make_jaxpr(partial(_call, function, shapes))(*function.shapes(), images)
    macs: Counter[str] = Counter()
    for path, number in _multiply_adds(traced.jaxpr, ""):
        for outer in _ancestors(path):
            macs[outer] += number
    sizes: Counter[str] = Counter()
    for leaf in function.parameters:
        for outer in _ancestors(leaf.path):
            sizes[outer] += prod(leaf.shape)
    return [
        ModuleCounts(path, kind, sizes[path], macs[path], out)
        for path, (kind, out) in shapes.items()
    ]


def _call(
    function: ModelFunction,
    shapes: dict[str, Any],
    parameters: Params,
    batch_stats: Params,
    images: Any,
) -> Any:
    """Calls the model with its modules marked and every convolution as one of XLA's.

    The model is bound for this call alone, so the changes to its modules reach nothing else.
    """
    model = function.bind(parameters, batch_stats)
    for keys, module in list(nnx.iter_modules(model)):
        _mark("/".join(map(str, keys)), module, shapes)
    with references_only():
        return model(images, train=False)


def _mark(path: str, module: nnx.Module, shapes: dict[str, Any]) -> None:
    """Makes calls of `module` record its output's shape, within a name scope of its path."""
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
    """`path` and the paths of all modules around it: a/b, a, and "" for the model itself."""
    yield path
    while path:
        path = path.rpartition("/")[0]
        yield path


def _shape(variable: Any) -> tuple[int, ...]:
    return tuple(variable.aval.shape)


def _multiply_adds(jaxpr: Jaxpr, outer_path: str) -> Iterator[tuple[str, int]]:
    """(path of the innermost module, multiply-adds) of every convolution and matrix product."""
    for equation in jaxpr.eqns:
        scopes = _SCOPE.findall(str(equation.source_info.name_stack))
        path, parameters = (scopes[-1] if scopes else outer_path), equation.params
        if equation.primitive.name == "conv_general_dilated":
            kernel = _shape(equation.invars[1])
            features = kernel[parameters["dimension_numbers"].rhs_spec[0]]
            yield path, prod(_shape(equation.outvars[0])) * prod(kernel) // features
        elif equation.primitive.name == "dot_general":
            (contracted, _), _ = parameters["dimension_numbers"]
            depth = prod(_shape(equation.invars[0])[axis] for axis in contracted)
            yield path, prod(_shape(equation.outvars[0])) * depth
        else:
            repeats = parameters.get("length", 1) if equation.primitive.name == "scan" else 1
            for value in parameters.values():
                inner = getattr(value, "jaxpr", value)
                if isinstance(inner, Jaxpr):
                    for inner_path, number in _multiply_adds(inner, path):
                        yield inner_path, repeats * number
