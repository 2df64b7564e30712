"""Runs whose labels are sets of classes, on eight devices and on one."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jax
import pytest

from tests.shrunk import MULTI_LABEL_CONFIG, MULTI_LABEL_SHRUNK
from xception_jax.config import load_config, resolve
from xception_jax.tracking import read_metrics
from xception_jax.training import RunNames, train


@contextmanager
def one_device() -> Iterator[None]:
    """Runs alone take the default device, as after `commands.process.prepare_jax`."""
    jax.config.update("jax_default_device", jax.devices()[0])
    try:
        yield
    finally:
        jax.config.update("jax_default_device", None)


@pytest.mark.slow
def test_eight_devices_give_the_rows_of_one(tmp_path: Path) -> None:
    """The first epoch has the same rows on eight devices and on one; it needs no later ones."""

    def run(name: str, *words: str) -> int:
        config = resolve(load_config(MULTI_LABEL_CONFIG), overrides=[*MULTI_LABEL_SHRUNK, *words])
        return len(train(config, tmp_path / name, names=RunNames(name))["devices"])

    with one_device():
        assert run("one") == 1
    assert run("eight", "train.epochs=1") == 8
    one, eight = (read_metrics(tmp_path / name / "metrics.jsonl") for name in ("one", "eight"))
    assert len(eight) == 2
    for expected, found in zip(one[:2], eight, strict=True):
        assert found.keys() == expected.keys()
        assert found["split"] == expected["split"]
        for name in ("loss", "top1", *(["map100"] if found["split"] == "valid" else [])):
            # Sums in another order round differently; a rank may change by it.
            assert found[name] == pytest.approx(expected[name], rel=1e-3), name
