"""Pickles in published archives: no call in them is run, and what they make is bounded."""

import contextlib
import os
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data import fabricate_archives as fabricate
from tests.data.fabricate_archives import write
from tests.data.refusal import refusal
from tests.fuzzing import damage, damages, fuzzed
from xception_jax.data.importing.pickled import read_pickle


class Calls:
    """Pickled, it says: call this."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> Any:
        return self.function, self.arguments


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_no_call_in_a_pickle_is_run(protocol, tmp_path, rng):
    marker = tmp_path / "ran"
    for content in (
        {"data": Calls(os.mkdir, str(marker))},
        Calls(eval, f"__import__('os').mkdir({str(marker)!r})"),
        {"data": Calls(np.fromfile, "/dev/zero")},
    ):
        with pytest.raises(ValueError, match=r"calls|instruction|no pickle"):
            read_pickle(pickle.dumps(content, protocol=protocol))
    assert not marker.exists()
    files, _ = fabricate.cifar("cifar10", "4", rng)
    files["cifar-10-batches-py/data_batch_2"] = pickle.dumps(Calls(os.mkdir, str(marker)))
    write(tmp_path / "in", files)
    assert "mkdir, which was not run" in refusal("cifar10", tmp_path / "in")
    assert not marker.exists()


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickles_of_plain_data_are_read(protocol, rng):
    content = {
        "data": rng.integers(0, 256, (3, 4), np.uint8),
        "columns": np.asfortranarray(rng.integers(0, 9, (3, 4))),
        "labels": [0, 255, 256, -1, 1 << 40],
        "numbers": [np.int64(7), np.uint8(3)],
        "names": ["a", "é", b"\xff"],
        "nested": ({"x": (1, 2, 3, 4)}, None, True, 0.5),
    }
    answer = read_pickle(pickle.dumps(content, protocol=protocol))
    for name in ("data", "columns"):
        np.testing.assert_array_equal(answer.pop(name), content.pop(name))
    assert answer == content


PICKLES = {
    version: fabricate.cifar("cifar10", version, np.random.default_rng(0), each=1)[0][
        "cifar-10-batches-py/test_batch"
    ]
    for version in ("python2", "2", "4", "5")
}


@fuzzed
@given(st.sampled_from(sorted(PICKLES)), damages(), st.none() | st.integers(1, 4096))
def test_damaged_pickles_raise_value_errors_alone(version, changes, cut):
    with contextlib.suppress(ValueError):
        read_pickle(damage(PICKLES[version], changes, cut))


def test_a_pickle_makes_no_more_than_a_gigabyte(monkeypatch):
    """A megabyte that names one text again and again, as bytes, could make terabytes."""
    monkeypatch.setattr("xception_jax.data.importing.pickled.MAX_BYTES", 10_000)
    text = b"X\x00\x02\x00\x00" + b"x" * 512 + b"q\x01X\x06\x00\x00\x00latin1q\x02"
    encode = b"c_codecs\nencode\nh\x01h\x02\x86R"
    for times, said in ((19, "is no pickle of a dictionary"), (20, "makes more than 10,000 bytes")):
        values = b"(" + text + encode * times + b"t."
        with pytest.raises(ValueError, match=said):
            read_pickle(b"\x80\x02" + values)
