"""Texts in the attributes of HDF5 files, which can unpack to far more than the file has.

`test_pretrained_damage.py` has what else such a file can hold.
"""

import io

import h5py
import numpy as np
import pytest

from xception_jax.errors import InputError
from xception_jax.pretrained import hdf5
from xception_jax.pretrained.hdf5 import open_file


def test_lists_of_strings_are_read(tmp_path):
    path, variable = tmp_path / "x.h5", h5py.string_dtype()
    with h5py.File(path, "w") as file:
        file.attrs["fixed"] = np.array([b"one", b"two"])
        file.attrs["of Keras"] = [b"one", b"two"]  # h5py makes them of variable length
        file.attrs.create("single", "alone", dtype=variable)
        file.attrs["empty"] = []
        assert file.attrs.get_id("of Keras").dtype.hasobject
    with open_file(path) as contents:
        assert contents.texts("", "fixed") == contents.texts("", "of Keras") == ["one", "two"]
        assert (contents.text("", "single"), contents.texts("", "empty")) == ("alone", [])


@pytest.mark.parametrize("in_archive", [False, True])
@pytest.mark.parametrize("reserved", [bytes(3), b"\1\2\3"])
def test_names_that_may_all_be_the_same_long_string_are_not_read(
    tmp_path, monkeypatch, reserved, in_archive
):
    """A list of references takes little space, whatever each of them refers to."""
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file.attrs["long"] = "x" * 2**20
        file.attrs["few"] = ["a"] * 100
        file.attrs["many"] = ["a"] * 1000
    path.write_bytes(path.read_bytes().replace(b"GCOL\x01\0\0\0", b"GCOL\x01" + reserved))
    content = io.BytesIO(path.read_bytes()) if in_archive else None
    with open_file(path, content) as contents:
        assert contents.texts("", "few") == ["a"] * 100
        monkeypatch.setattr(h5py.AttributeManager, "__getitem__", lambda *_: pytest.fail("read"))
        with pytest.raises(InputError, match="@many is not a short list of names") as caught:
            contents.texts("", "many")
        assert 2**20 <= contents.longest_string < 2**21
    assert "\n" not in str(caught.value)


def test_single_names_that_are_long_are_bounded_together(tmp_path, monkeypatch):
    """Each is short enough, and a file can refer to one long string as often as it has objects."""
    monkeypatch.setattr(hdf5, "MAX_TEXT_BYTES", 2500)
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        for number in range(3):
            file.attrs[f"name{number}"] = "x" * 1000
    with open_file(path) as contents:
        assert (contents.text("", "name0"), contents.text("", "name1")) == ("x" * 1000,) * 2
        with pytest.raises(InputError, match="its names and texts have over 2,500 bytes"):
            contents.text("", "name2")
    with open_file(path) as contents, pytest.raises(InputError, match="over 2,500 bytes"):
        contents.texts("", "name")


def test_a_file_of_shorter_lengths_is_not_read(tmp_path):
    path = tmp_path / "x.h5"
    layout = h5py.h5p.create(h5py.h5p.FILE_CREATE)
    layout.set_sizes(8, 4)
    h5py.h5f.create(bytes(path), fcpl=layout).close()
    with pytest.raises(InputError, match="other than 8 bytes"), open_file(path):
        pass
