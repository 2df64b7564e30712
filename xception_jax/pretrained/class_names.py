"""Names of classes: which of a model's logits belongs to which class of a data set."""

import numpy as np
from jaxtyping import Int

from xception_jax.errors import InputError, nearest_name


def class_positions(
    of_weights: tuple[str, ...] | None, of_data: tuple[str, ...], name: str
) -> Int[np.ndarray, " classes"]:
    """The position of each class of a data set among those of the weights.

    Args:
        of_weights: names of the classes in the order of the weights' logits; None: not known.
        of_data: names of the classes in the order of the data set's labels; as many.
        name: name of the data set, for messages.

    Raises:
        InputError: the names are not the same; or the weights have none and the data set's, which
            are numbers, are not in the order of the numbers.
    """
    hint = "`xception-jax convert --class-names FILE` names those of the weights"
    if of_weights is None:
        numbers = list(map(int, of_data)) if all(map(str.isdecimal, of_data)) else []
        if numbers != sorted(numbers):
            reason = (
                f"its classes are numbers in the order of text ({', '.join(of_data[:4])}, …) and "
                f"the weights do not name theirs, so that no class can be told; {hint}"
            )
            raise InputError("data.name", name, reason)
        return np.arange(len(of_data))
    positions = {label: position for position, label in enumerate(of_weights)}
    if unknown := [label for label in of_data if label not in positions]:
        reason = f"its class {unknown[0]!r} is none of the weights' classes; {hint}"
        raise InputError("data.name", name, reason, nearest_name(unknown[0], of_weights))
    return np.array([positions[label] for label in of_data])
