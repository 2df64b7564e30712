"""PyTorch's weights in safetensors files: a header of names, shapes and types, then the bytes."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

from xception_jax.errors import InputError
from xception_jax.models.functional import ModelFunction
from xception_jax.pretrained.layers import Layer, array_paths
from xception_jax.pretrained.tensors import MAX_TENSORS, Matched, Tensor, damaged, require_small

MAX_HEADER_BYTES = 8 * 2**20
# Others (bfloat16, 8 bits) have no type in NumPy, and none of the models here is published in them.
_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "U8": "<u1"}
_COUNTER = "num_batches_tracked"  # of PyTorch's batch normalization; nothing depends on it


@contextmanager
def opened(path: Path) -> Iterator[dict[str, Tensor]]:
    """The tensors of a safetensors file, by name; it stays open inside the context.

    Raises:
        InputError: it is damaged, or holds more than the limits allow.
    """
    _require_header(path)
    try:
        handle = safe_open(path, framework="numpy")
        described = {name: handle.get_slice(name) for name in handle.keys()}  # noqa: SIM118
    except Exception as error:  # it has an exception type of its own, and raises others too
        raise damaged(path, error) from error
    if len(described) > MAX_TENSORS:
        raise InputError("weights", str(path), f"holds more than {MAX_TENSORS:,} tensors")
    with handle:
        yield {name: _tensor(path, name, part, handle) for name, part in described.items()}


def _require_header(path: Path) -> None:
    """The header's length stands in the first eight bytes: looked at before it is believed."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= MAX_HEADER_BYTES or length + 8 > path.stat().st_size:
            reason = f"declares a header of {length:,} bytes; the limit is {MAX_HEADER_BYTES:,}"
            raise damaged(path, f"{reason}, and it must fit into the file")


def _tensor(path: Path, name: str, part: Any, handle: Any) -> Tensor:
    code, shape = str(part.get_dtype()), tuple(map(int, part.get_shape()))
    if code not in _DTYPES:
        raise InputError("weights", str(path), f"{name} is {code}; expected one of {list(_DTYPES)}")
    require_small(path, name, shape, np.dtype(_DTYPES[code]))

    def read() -> np.ndarray:
        try:
            return np.asarray(handle.get_tensor(name))
        except Exception as error:
            raise damaged(path, f"{name}: {type(error).__name__}: {error}") from error

    return Tensor(name, shape, np.dtype(_DTYPES[code]), read)


def match(
    tensors: Mapping[str, Tensor], function: ModelFunction, table: Sequence[Layer]
) -> Matched:
    """Brings the tensors together with the model's arrays, by timm's names for its layers.

    Raises:
        InputError: the model is of a family whose names in PyTorch are not known here.
    """
    if all(layer.torch is None for layer in table):
        known = "is a PyTorch format, which is read for Xception only; for this model, use Keras's"
        raise InputError("weights", ".safetensors", known)
    found: dict[str, Tensor] = {}
    used = set()
    for layer in table:
        for path, variable in array_paths(function, layer).items():
            if (tensor := tensors.get(f"{layer.torch}.{variable.torch}")) is not None:
                found[path] = tensor
                used.add(tensor.name)
    surplus = [n for n in tensors if n not in used and n.rpartition(".")[2] != _COUNTER]
    return Matched(found, tuple(surplus))
