"""What is no regular file in the directory of a run is named, before anything is opened there."""

import os
from typing import Any

import jax
import pytest

from xception_jax.errors import InputError
from xception_jax.training.checkpoint import Checkpoints, read_state
from xception_jax.training.run_writer import RunWriter
from xception_jax.training.sharding import make_mesh


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("place", ["_METADATA", "5/_CHECKPOINT_METADATA", "5/digests/metadata"])
@pytest.mark.parametrize("plant", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_pipes_devices_and_links_are_named_before_orbax_opens_them(tmp_path, place, plant):
    path = tmp_path / "checkpoints" / place
    path.parent.mkdir(parents=True)
    plant(path)
    shapes: Any = None  # it does not come to them
    for use in (
        lambda: Checkpoints(
            tmp_path / "checkpoints", keep_last=1, keep_best=0, metric="top1", run="r"
        ),
        lambda: read_state(tmp_path / "checkpoints", shapes, make_mesh(jax.devices()[:1]), None),
    ):
        with pytest.raises(InputError, match=f"{place}.*is not a regular file"):
            use()


def test_no_profile_is_written_through_a_link(tmp_path):
    (tmp_path / "run").mkdir()
    writer = object.__new__(RunWriter)
    writer.directory = tmp_path / "run"
    assert writer.profile_directory == tmp_path / "run" / "profile"
    (tmp_path / "run" / "profile").symlink_to(tmp_path)
    with pytest.raises(InputError, match="by a link"):
        writer.profile_directory  # noqa: B018 - to read it is the test
