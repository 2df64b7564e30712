"""Reading of PyTorch weights from safetensors files."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

from xception_jax.errors import InputError
from xception_jax.models.functional import ModelFunction
from xception_jax.pretrained.layers import Layer, array_paths
from xception_jax.pretrained.tensors import (
    MAX_TENSORS,
    Matched,
    Tensor,
    damaged,
    readable,
    require_small,
)
from xception_jax.regular_files import open_for_reading

MAX_HEADER_BYTES = 8 * 2**20
# Other dtypes, such as bfloat16, do not exist in NumPy, and no model here is published in them.
_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "U8": "<u1"}
_COUNTER = "num_batches_tracked"  # PyTorch's batch normalization counts, and uses it for nothing


@contextmanager
def open_file(path: Path) -> Iterator[dict[str, Tensor]]:
    """Opens a safetensors file for the duration of the context; yields its tensors by name.

    Raises:
        InputError: the file is damaged, or holds more than the limits allow.
    """
    _require_header(path)
    with readable(path):
        handle = safe_open(path, framework="numpy")
        slices = {name: handle.get_slice(name) for name in handle.keys()}  # noqa: SIM118
    if len(slices) > MAX_TENSORS:
        raise InputError("weights", str(path), f"holds more than {MAX_TENSORS:,} tensors")
    with handle:
        yield {name: _tensor(path, name, part, handle) for name, part in slices.items()}


def _require_header(path: Path) -> None:
    """Raises `InputError` for an absurd length of the header, the first eight bytes of the file."""
    with open_for_reading(path) as file:
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
        with readable(path, name):
            return np.asarray(handle.get_tensor(name))

    return Tensor(name, shape, np.dtype(_DTYPES[code]), read)


def match(
    tensors: Mapping[str, Tensor], function: ModelFunction, table: Sequence[Layer]
) -> Matched:
    """Pairs the tensors of a file with the arrays of a model, by timm's names of its layers.

    Raises:
        InputError: the model is not of a family whose names in timm are known.
    """
    if all(layer.torch is None for layer in table):
        reason = "is a PyTorch format, which is read for Xception only; for this model, use Keras's"
        raise InputError("weights", ".safetensors", reason)
    names = {
        path: f"{layer.torch}.{variable.torch}"
        for layer in table
        for path, variable in array_paths(function, layer).items()
    }
    matched = {path: tensors[name] for path, name in names.items() if name in tensors}
    used = {*names.values()}
    surplus = [n for n in tensors if n not in used and n.rpartition(".")[2] != _COUNTER]
    return Matched(matched, tuple(surplus))
