"""Arrays in a file, known by name, shape and type before any memory is taken for them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xception_jax.errors import InputError

# What a weight file may ask of this process. The largest published models of the families here
# have tensors of some 10 MB in files of some 100 MB.
MAX_FILE_BYTES = 4 * 2**30
MAX_TENSOR_BYTES = 2 * 2**30
MAX_TENSORS = 20_000
_SHOWN = 20  # names of a kind that a message lists; the error object holds all


@dataclass(frozen=True)
class Tensor:
    """One array of a file.

    Attributes:
        name: in the file.
        shape: as the file declares it.
        dtype: as the file declares it.
        read: allocates and returns it.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[], np.ndarray]


@dataclass(frozen=True)
class Matched:
    """A file's arrays, brought together with a model's.

    Attributes:
        found: by the path of our parameter or statistic.
        surplus: names of arrays in the file that the model has no place for.
    """

    found: dict[str, Tensor]
    surplus: tuple[str, ...]


class WeightsMismatch(InputError):
    """A readable file whose arrays are not those of the model.

    Attributes:
        missing: what the file lacks.
        surplus: what the model has no place for.
        reshaped: what has another shape or type, with both.
    """

    def __init__(
        self,
        path: Path,
        *,
        missing: Iterable[str] = (),
        surplus: Iterable[str] = (),
        reshaped: Iterable[str] = (),
        hint: str = "",
    ) -> None:
        self.missing, self.surplus = tuple(missing), tuple(surplus)
        self.reshaped = tuple(reshaped)
        kinds = (
            ("missing", self.missing),
            ("surplus", self.surplus),
            ("of another shape or type", self.reshaped),
        )
        said = "; ".join(f"{kind}: {listed(names)}" for kind, names in kinds if names)
        super().__init__("weights", str(path), f"are not those of this model: {said}{hint}")


def listed(names: Iterable[str]) -> str:
    """The first of them, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def damaged(path: Path, error: object) -> InputError:
    """What is raised for a file that a reader failed on."""
    reason = f"{type(error).__name__}: {error}" if isinstance(error, Exception) else error
    return InputError("weights", str(path), f"cannot be read: {reason}")


def require_small(path: Path, name: str, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """Raises `InputError` for an array that no model here could have."""
    size = dtype.itemsize
    for length in shape:
        size *= int(length)
    if size > MAX_TENSOR_BYTES:
        reason = f"{name} declares {size:,} bytes; the limit is {MAX_TENSOR_BYTES:,}"
        raise InputError("weights", str(path), reason)
