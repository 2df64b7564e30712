"""A process of several that cannot read something tells the others before it raises.

The others would wait for it, and all would end without the line that names the cause.
"""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.shrunk import CONFIG
from xception_jax.config import load_config, resolve
from xception_jax.errors import InputError
from xception_jax.runtime import hosts
from xception_jax.training import checkpoint, divergence
from xception_jax.training.checkpoint import Checkpoints, restore_newest
from xception_jax.training.same_data import require_same_data
from xception_jax.training.sharding import make_mesh

# Pipelines and states are stand-ins here.
pytestmark = pytest.mark.usefixtures("unchecked_types")
UNREADABLE: list[Any] = ["file", "data", "cannot be read", None]


def cannot_read(*_: object) -> Any:
    raise InputError(*UNREADABLE[:3])


@pytest.fixture
def told(monkeypatch):
    """The list of what this process, taken for one of several, tells the others."""
    told: list[Any] = []

    def gather(value: Any) -> list[Any]:
        told.append(value)
        return [value]

    monkeypatch.setattr(hosts, "several", lambda: True)
    monkeypatch.setattr(hosts, "gather", gather)
    return told


def test_data_that_is_read_to_be_compared(told):
    pipeline: Any = SimpleNamespace(fingerprint=cannot_read)
    with pytest.raises(InputError, match="cannot be read"):
        require_same_data([resolve(load_config(CONFIG))], [{}], [pipeline])
    assert told == [None, UNREADABLE]  # the records were no reason


def test_the_log_that_belongs_to_a_checkpoint(told, monkeypatch):
    monkeypatch.setattr(checkpoint, "_restore", lambda *_: ({}, {"run": "x"}))
    checkpoints, shapes = object.__new__(Checkpoints), cast("Any", SimpleNamespace())
    vars(checkpoints).update(_run="x", _manager=SimpleNamespace(all_steps=lambda: [5]))
    with pytest.raises(InputError, match="cannot be read"):
        restore_newest([checkpoints], shapes, make_mesh(), [cannot_read], pytest.fail)
    assert told == [UNREADABLE]


def test_the_batch_at_which_a_run_diverged(told, monkeypatch):
    monkeypatch.setattr(divergence, "make_step_spec", lambda *_: None)
    pipeline: Any = SimpleNamespace(info=None, train_batches=cannot_read)
    state: Any = SimpleNamespace(step=3)
    with pytest.raises(InputError, match="cannot be read"):
        divergence._find_origin(resolve(load_config(CONFIG)), pipeline, state)
    assert told == [UNREADABLE]
