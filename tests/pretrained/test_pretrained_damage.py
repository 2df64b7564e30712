"""Damaged and malicious weight files: each is refused in one line, and nothing is executed."""

import io
import os
import pickle
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.pretrained import timm_layout
from tests.weight_files import SMALL, random_model, read, small_function, values_of
from xception_jax.errors import InputError
from xception_jax.pretrained import WeightsMismatch, load_weights, save_keras_weights
from xception_jax.pretrained.directory import _require_intact

LAYER = "layers/separable_conv2d_2/vars"


@pytest.fixture(scope="module")
def good(module_seed, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("good") / "small.weights.h5"
    save_keras_weights(random_model(np.random.default_rng(module_seed)), path)
    return path


@pytest.fixture
def copy(good, tmp_path) -> Path:
    path = tmp_path / "copy.weights.h5"
    path.write_bytes(good.read_bytes())
    return path


@pytest.fixture(scope="module")
def tensors(module_seed, tmp_path_factory) -> Path:
    """A safetensors file of the small model with timm's names."""
    path = tmp_path_factory.mktemp("torch") / "small.safetensors"
    save_file(timm_layout.small_state(np.random.default_rng(module_seed)), path)
    return path


def refusal(path: Path) -> str:
    """Reads a file that must be refused; returns the one-line message."""
    with pytest.raises(InputError) as caught:
        read(path)
    text = str(caught.value)
    assert "\n" not in text
    assert str(path) in text
    return text


def refusal_in_little_memory(path: Path) -> str:
    """Reads a file that must be refused before two megabytes are taken; returns the message."""
    small_function()  # made before, or its own memory would count
    tracemalloc.start()
    try:
        text = refusal(path)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()
    return text


class Trap:
    """An object that fails the test if it is unpickled."""

    def __reduce__(self):
        return pytest.fail, ("a pickle was loaded",)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".pkl", ".PTH", ".ckpt"])
def test_a_pickle_is_refused_by_its_name_alone(tmp_path, suffix):
    """A pickle is refused without being opened: the file does not even exist."""
    text = refusal(tmp_path / f"model{suffix}")
    assert "convert it to .safetensors first" in text


@pytest.mark.parametrize("suffix", [".h5", ".keras", ".safetensors"])
def test_a_pickle_under_another_name_is_not_loaded(tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    path.write_bytes(pickle.dumps(Trap()))
    assert "does not start like" in refusal(path)
    with zipfile.ZipFile(path, "w") as archive:  # as PyTorch writes them today
        archive.writestr("archive/data.pkl", pickle.dumps(Trap()))
    assert "convert it to .safetensors" in refusal(path)


def test_no_file_a_directory_and_an_empty_file_are_said(tmp_path):
    assert "no such file" in refusal(tmp_path / "none.h5")
    assert "is not a file" in refusal(tmp_path)
    (tmp_path / "empty.h5").touch()
    assert "empty or damaged" in refusal(tmp_path / "empty.h5")


@pytest.mark.parametrize("share", [0.0001, 0.01, 0.5, 0.99])
def test_truncated_files(good, tensors, tmp_path, share):
    for whole in (good, tensors):
        content = whole.read_bytes()
        path = tmp_path / whole.name
        path.write_bytes(content[: max(int(len(content) * share), 9)])
        refusal(path)


def test_a_flipped_byte_in_a_header_is_noticed_or_does_no_harm(good, tensors, rng, tmp_path):
    """Damage among the names, shapes and offsets of the first kilobytes raises only `InputError`.

    Not every byte there matters. Damage in the numbers themselves is not noticed in either format,
    unless they are not finite.
    """
    refused = 0
    for whole in (good, tensors):
        content = bytearray(whole.read_bytes())
        path = tmp_path / whole.name
        for offset in rng.choice(3000, 60, replace=False):
            content[offset] ^= 0xFF
            path.write_bytes(content)
            content[offset] ^= 0xFF
            try:
                read(path)
            except InputError as error:
                refused += 1
                assert "\n" not in str(error)
    print(f"{refused} of 120 refused")
    assert refused > 20


def test_missing_surplus_and_reshaped_arrays_are_listed_together(copy):
    with h5py.File(copy, "a") as file:
        del file[f"{LAYER}/0"], file["layers/dense/vars/1"]
        file["layers/conv2d_9/vars/0"] = np.zeros((1, 1, 2, 2), np.float32)
        del file["layers/conv2d/vars/0"]
        file["layers/conv2d/vars/0"] = np.zeros((5, 5, 3, 2), np.float32)
    with pytest.raises(WeightsMismatch) as caught:
        read(copy)
    error = caught.value
    assert "classifier/bias (predictions)" in error.missing
    assert error.surplus == ("layers/conv2d_9/vars/0",)
    assert any(
        "(5, 5, 3, 2) instead of (3, 3, 3, 2) for stem/0/kernel" in t for t in error.reshaped
    )
    assert all(name in str(error) for name in (*error.missing, *error.surplus, *error.reshaped))


def test_a_model_keeps_its_values_when_a_file_is_refused(copy, rng):
    model = random_model(rng)
    before = values_of(model)
    with h5py.File(copy, "a") as file:
        del file["layers/dense/vars/1"]
    with pytest.raises(WeightsMismatch):
        load_weights(model, copy)
    assert all(np.array_equal(value, before[path]) for path, value in values_of(model).items())


@pytest.mark.parametrize("kind", ["soft", "external"])
def test_links_are_not_followed(copy, good, kind):
    with h5py.File(copy, "a") as file:
        del file[f"{LAYER}/0"]
        link = h5py.SoftLink("/x") if kind == "soft" else h5py.ExternalLink(good, f"{LAYER}/0")
        file[f"{LAYER}/0"] = link
    assert f"{LAYER}/0 is a link" in refusal(copy)


def test_a_group_that_holds_itself_ends(copy):
    with h5py.File(copy, "a") as file:
        file["layers/again"] = file["layers"]
    assert "groups deep" in refusal(copy)


def test_arrays_that_lie_elsewhere_are_refused(copy, tmp_path):
    (tmp_path / "secret").write_bytes(bytes(10**4))
    with h5py.File(copy, "a") as file:
        shape = file[f"{LAYER}/0"].shape
        del file[f"{LAYER}/0"]
        file[LAYER].create_dataset("0", shape, "f4", external=str(tmp_path / "secret"))
    assert "stored in another file" in refusal(copy)
    with h5py.File(copy, "a") as file:
        del file[f"{LAYER}/0"]
        layout = h5py.VirtualLayout(shape, "f4")
        layout[...] = h5py.VirtualSource(str(tmp_path / "secret"), "x", shape)
        file[LAYER].create_virtual_dataset("0", layout)
    assert "stored in another file" in refusal(copy)


def test_ten_declared_gigabytes_are_refused_without_memory(copy):
    with h5py.File(copy, "a") as file:
        file["layers/conv2d_8/vars/0"] = 1.0
        file[LAYER].create_dataset("7", (10 * 2**28,), "f4", chunks=(2**20,), compression="gzip")
    text = refusal_in_little_memory(copy)
    assert f"{LAYER}/7 declares 10,737,418,240 bytes" in text


def test_an_array_of_which_nothing_is_stored_is_not_read_as_zeros(copy):
    with h5py.File(copy, "a") as file:
        shape = file[f"{LAYER}/0"].shape
        del file[f"{LAYER}/0"]
        file[LAYER].create_dataset("0", shape, "f4", chunks=shape, compression="gzip")
    assert "declares more than is stored" in refusal(copy)


def test_a_chunk_that_unpacks_to_more_than_it_holds_takes_no_memory(copy):
    packed = zlib.compress(bytes(2**26))
    with h5py.File(copy, "a") as file:
        shape = file[f"{LAYER}/0"].shape
        values = file[f"{LAYER}/0"][...]
        del file[f"{LAYER}/0"]
        options = {"chunks": shape, "compression": "gzip", "fletcher32": True, "shuffle": True}
        file[LAYER].create_dataset("0", data=values, **options)
    read(copy)  # packed as people pack
    with h5py.File(copy, "a") as file:
        del file[f"{LAYER}/0"]
        dataset = file[LAYER].create_dataset("0", shape, "f4", chunks=shape, compression="gzip")
        dataset.id.write_direct_chunk((0,) * len(shape), packed)
    assert "unpacks to more than it should hold" in refusal_in_little_memory(copy)


@pytest.mark.parametrize("dtype", [h5py.ref_dtype, h5py.string_dtype(), np.dtype("c8")])
def test_what_is_no_array_of_numbers_is_refused(copy, dtype):
    with h5py.File(copy, "a") as file:
        file[LAYER].create_dataset("9", (2,), dtype)
    assert "not an array of numbers" in refusal(copy)


def test_numbers_that_no_network_has_are_damage(copy):
    with h5py.File(copy, "a") as file:
        file[f"{LAYER}/0"][0, 0, 0, 0] = np.nan
        file["layers/batch_normalization_2/vars/3"][0] = -1
    text = refusal(copy)
    assert "not finite" in text
    assert "spatial_kernel" in text
    assert "variance" in text


def test_whole_numbers_are_no_weights(copy):
    with h5py.File(copy, "a") as file:
        value = file[f"{LAYER}/0"][...].astype(np.int32)
        del file[f"{LAYER}/0"]
        file[f"{LAYER}/0"] = value
    assert "int32" in refusal(copy)


def test_a_damaged_archive_is_noticed_anywhere(good, tmp_path):
    """A `.keras` file has a checksum, so that damage in the numbers is noticed as well."""
    path = tmp_path / "small.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", '{"class_name": "Lambda", "config": "never read"}')
        archive.write(good, "model.weights.h5")
    read(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert "CRC" in refusal(path)


def test_an_archive_that_unpacks_to_much_more_is_refused(tmp_path):
    path = tmp_path / "bomb.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.weights.h5", bytes(2**24))
    assert "unpacks to" in refusal(path)


def test_a_header_of_absurd_length_is_refused(tensors, tmp_path):
    path = tmp_path / "t.safetensors"
    content = tensors.read_bytes()
    path.write_bytes((2**40).to_bytes(8, "little") + content[8:])
    assert "declares a header of" in refusal(path)


def test_tensors_of_a_type_that_is_not_known_are_named(tensors, tmp_path):
    path = tmp_path / "t.safetensors"
    path.write_bytes(tensors.read_bytes().replace(b'"dtype":"F32"', b'"dtype":"U32"', 1))
    assert "is U32; expected one of" in refusal(path)


def test_a_legacy_file_that_lists_what_it_has_not(tmp_path):
    path = tmp_path / "old.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"block1_conv1", b"../../etc"]
        file.create_group("block1_conv1").attrs["weight_names"] = [b"kernel:0"]
    assert "lists 'kernel:0'" in refusal(path)
    with h5py.File(path, "a") as file:
        file["block1_conv1/kernel:0"] = np.zeros((3, 3, 3, SMALL["num_classes"]), np.float32)
    assert "'../../etc'" in refusal(path)


def test_the_small_timm_file_is_good(tensors):
    names = [name for name in load_file(tensors) if not name.endswith("num_batches_tracked")]
    assert len(names) == len(read(tensors))


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_archive_that_lies_about_a_size_takes_no_memory(method, tmp_path):
    """What is unpacked is bounded by what the archive declares, not by what there is."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr("model.weights.h5", bytes(2**24))
    content = bytearray(buffer.getvalue())
    directory = content.rindex(b"PK\x01\x02")
    content[directory + 24 : directory + 28] = (1000).to_bytes(4, "little")
    (path := tmp_path / "lying.keras").write_bytes(content)
    text = refusal_in_little_memory(path)
    assert "another method" in text or "another size" in text or "CRC" in text


@pytest.mark.parametrize("plant", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_a_pipe_or_device_among_converted_weights_is_named(tmp_path, plant):
    (tmp_path / "arrays").mkdir()
    plant(tmp_path / "arrays" / "_METADATA")
    with pytest.raises(InputError, match=r"_METADATA.*convert it again"):
        _require_intact(tmp_path, {})
