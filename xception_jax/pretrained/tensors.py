"""Arrays of a weight file, known by name, shape and dtype before any memory is allocated."""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xception_jax.errors import InputError

# Limits on what a weight file may make this process allocate. The largest published models of the
# families here have tensors of some 10 MB in files of some 100 MB.
MAX_FILE_BYTES = 4 * 2**30
MAX_TENSOR_BYTES = 2 * 2**30
MAX_TENSORS = 20_000
_MAX_LISTED = 20  # names of a kind in a message; the attributes of the error hold all


@dataclass(frozen=True)
class Tensor:
    """One array of a file, not read yet.

    Attributes:
        name: name in the file.
        shape: shape that the file declares.
        dtype: dtype that the file declares.
        read: function that allocates and returns the array.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[], np.ndarray]


@dataclass(frozen=True)
class Matched:
    """The arrays of a file, paired with those of a model.

    Attributes:
        tensors: arrays of the file by the path of the model's parameter or statistic.
        surplus: names of arrays in the file that the model has not.
    """

    tensors: dict[str, Tensor]
    surplus: tuple[str, ...]


class WeightsMismatch(InputError):
    """Error for a readable file whose arrays are not those of the model.

    Attributes:
        missing: arrays of the model that the file lacks.
        surplus: arrays of the file that the model has not.
        reshaped: arrays whose shapes or dtypes differ, described with both.
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
        lists = "; ".join(f"{kind}: {listed(names)}" for kind, names in kinds if names)
        super().__init__("weights", str(path), f"are not those of this model: {lists}{hint}")


def listed(names: Iterable[str]) -> str:
    """Joins names for a message: the first ones, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
    return ", ".join(names[:_MAX_LISTED]) + more


def damaged(path: Path, reason: str) -> InputError:
    """The error for a weight file that cannot be read."""
    return InputError("weights", str(path), f"cannot be read: {reason}")


@contextmanager
def readable(path: Path, name: str = "") -> Iterator[None]:
    """Context that turns any other error into an `InputError` that names the file and the array.

    The libraries that read weight files raise many kinds of errors if a file is damaged.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        array = f"{name}: " if name else ""
        raise damaged(path, f"{array}{type(error).__name__}: {error}") from error


def require_small(path: Path, name: str, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """Raises `InputError` for an array that is larger than any of a model here."""
    size = dtype.itemsize * math.prod(shape)
    if size > MAX_TENSOR_BYTES:
        reason = f"{name} declares {size:,} bytes; the limit is {MAX_TENSOR_BYTES:,}"
        raise InputError("weights", str(path), reason)
