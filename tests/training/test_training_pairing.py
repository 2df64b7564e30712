"""What `pairing.json` says of the batches, wherever a run was stopped and resumed."""

import json
from pathlib import Path

import jax.numpy as jnp
import pytest

from tests.shrunk import CONFIG, SHRUNK
from xception_jax.config import load_config, resolve
from xception_jax.errors import InputError
from xception_jax.training.pairing import Pairing
from xception_jax.training.setup import make_schedule, open_data


@pytest.fixture(scope="module")
def pairing_of(tmp_path_factory: pytest.TempPathFactory):
    # 9 steps of 32 are 2 epochs of 100 examples and a part of the third.
    words = (*SHRUNK, "data.train_examples=100", "train.epochs=2.88")
    config = resolve(load_config(CONFIG), overrides=words)
    pipeline = open_data(config)
    schedule = make_schedule(config, 100)
    assert (schedule.total, schedule.total * 32 % 100) == (9, 88)

    def pairing(resumed: int, recorded: Path | None = None) -> str:
        """Without the weights that the run began with, where there is a record of before."""
        path: Path = recorded or tmp_path_factory.mktemp("run") / "pairing.json"
        writer = Pairing(
            path,
            config,
            schedule=schedule,
            pipeline=pipeline,
            initial=None if recorded else {"kernel": jnp.ones(3)},
            step=resumed,
        )
        for step in range(resumed + 1, schedule.total + 1):
            writer.add_batch(step, pipeline.train_indices(step - 1))
        return path.read_text()

    return pairing


@pytest.mark.parametrize("resumed", [1, 4, 8, 9])
def test_a_resumed_run_writes_what_it_would_have_written_undisturbed(pairing_of, resumed):
    """The last step is among them: a run can be stopped after it and before its evaluation."""
    assert pairing_of(resumed) == pairing_of(0)
    assert '"epoch": 3' in pairing_of(0)


def test_hashes_of_weights_that_are_gone_are_kept_unless_they_were_changed(pairing_of, tmp_path):
    path = tmp_path / "pairing.json"
    path.write_text(pairing_of(0))
    assert pairing_of(4, path) == pairing_of(0)
    record = json.loads(path.read_text())
    record["initial"]["kernel"]["sha256"] = "0" * 16
    path.write_text(json.dumps(record))
    with pytest.raises(InputError, match="was changed after the run wrote it"):
        pairing_of(4, path)
    del record["sha256"]  # as versions without the checksum wrote it
    path.write_text(json.dumps(record))
    assert json.loads(pairing_of(4, path))["initial"] == record["initial"]
