"""Which training examples stand in for splits that a data set lacks: the rules of `splits`."""

from collections.abc import Sequence

import numpy as np

from xception_jax.data.order import permutation


def hold_out(
    count: int,
    labels: np.ndarray | None,
    fraction: float,
    missing: Sequence[str],
    seed: int | None,
) -> dict[str, np.ndarray]:
    """Takes `fraction` of `count` training examples for each missing split.

    Args:
        count: number of examples.
        labels: the class of each, of every one of which that share is taken; None: of all together.
        fraction: share to take for each split.
        missing: the splits to take examples for, `test` first, which is the same for every seed.
        seed: seed of the order; None: the order that all seeds share.

    Returns:
        Indices of the examples of each split and of `train`, in the order of the permutation.
    """
    # The index keeps the orders of all seeds apart from the shared one, that of seed 0 included.
    shared = permutation(0, "splits", 0, count)
    if seed is None:
        return _take(shared, labels, fraction, missing)
    test: dict[str, np.ndarray] = {}
    left = np.arange(count)
    if "test" in missing:
        others = _take(shared, labels, fraction, missing)
        test = {"test": others.pop("test")}
        left = np.sort(np.concatenate(list(others.values())))
    order = left[permutation(seed, "splits", 1, len(left))]
    of_left = fraction * count / max(1, len(left))
    return test | _take(order, labels, of_left, [name for name in missing if name != "test"])


def _take(
    order: np.ndarray, labels: np.ndarray | None, fraction: float, splits: Sequence[str]
) -> dict[str, np.ndarray]:
    """Takes `fraction` of the examples in `order` for each of `splits`; see `hold_out`."""
    names = (*splits, "train")
    share = max(1, round(fraction * len(order)))
    if labels is None:
        ends = [share * number for number in range(1, len(names))]
        return dict(zip(names, np.split(order, ends), strict=True))
    split_of = np.full(len(order), len(splits))  # by position in `order`
    labels = labels[order]
    by_class = np.argsort(labels, kind="stable")
    classes = np.split(by_class, np.flatnonzero(np.diff(labels[by_class])) + 1)
    exact = np.array([fraction * len(positions) for positions in classes])
    for number in range(len(splits)):
        most = np.array([len(positions) - 1 for positions in classes])  # one remains for training
        counts = _counts(exact, most, share)
        for positions, count in zip(classes, counts, strict=True):
            split_of[positions[:count]] = number
        classes = [positions[count:] for positions, count in zip(classes, counts, strict=True)]
    return {name: order[split_of == number] for number, name in enumerate(names)}


def _counts(exact: np.ndarray, most: np.ndarray, total: int) -> np.ndarray:
    """The number of examples to take of each class: `total`, or one of each if that is more.

    Args:
        exact: number to take of each class before rounding.
        most: largest number that can be taken of each.
        total: number to take of all classes together.
    """
    counts = np.minimum(np.maximum(np.floor(exact), 1), most).astype(int)
    # What rounding down has left goes to the classes that lost most by it.
    for label in np.argsort(counts - exact, kind="stable")[: max(0, total - counts.sum())]:
        counts[label] += counts[label] < most[label]
    return counts
