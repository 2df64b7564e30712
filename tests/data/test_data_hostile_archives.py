"""Archives that lack files, are damaged, or were made to do harm: refused with one line."""

import contextlib
import gzip
import io
import os
import pickle
import struct
import tarfile
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.data import fabricate_archives as fabricate
from tests.data.fabricate_archives import tar, write, write_idx, zipped
from xception_jax.data import prepare
from xception_jax.data.importing.archives import members
from xception_jax.data.importing.pickled import read_pickle
from xception_jax.errors import InputError


def refusal(name: str, path: Path) -> str:
    """The message of the refusal; nothing may be left of the data set."""
    prepared = path.parent / "prepared"
    with pytest.raises(InputError) as caught:
        prepare(name, str(prepared), str(path))
    assert not list(prepared.rglob("*.json"))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_missing_files_are_named(rng, tmp_path):
    path = tmp_path / "in"
    for name in ("cifar10", "imagenette", "mnist", "svhn_cropped"):
        assert f"--from='{path}': no such file or directory" in refusal(name, path)
    path.mkdir()
    assert "holds none of cifar-10-binary.tar.gz, cifar-10-b" in refusal("cifar10", path)
    assert "holds no train_32x32.mat" in refusal("svhn_cropped", path)
    assert "holds no train-images-idx3-ubyte[.gz]" in refusal("mnist", path)
    assert "holds no train/<class>/ of two classes" in refusal("imagenette", path)
    files, _ = fabricate.cifar("cifar10", "binary", rng)
    del files["cifar-10-batches-bin/data_batch_3.bin"]
    write(path, files)
    assert "holds no data_batch_3.bin, which belongs to" in refusal("cifar10", path)
    write(path, {"imagenette2.tgz": b"", "imagenette2-160.tgz": b""})
    assert "several versions (imagenette2-160.tgz, imagenette2.tgz)" in refusal("imagenette", path)
    write(path, {"ILSVRC2012_img_train.tar": b""})
    assert "holds no ILSVRC2012_img_val.tar" in refusal("imagenet2012", path)


def test_what_is_refused_in_an_archive_is_said_once(rng, tmp_path):
    files, _ = fabricate.cifar("cifar10", "binary", rng)
    path = tmp_path / "cifar-10-binary.tar"
    write(tmp_path, {path.name: tar(files)})
    with tarfile.open(path, "a") as archive:
        link = tarfile.TarInfo("readme")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    line = f"--from='{path}': holds 'readme', which is no regular file; nothing was imported"
    assert refusal("cifar10", path) == line


def test_images_without_a_class_are_named(rng, tmp_path):
    path = tmp_path / "in"
    files = fabricate.tiny_imagenet(rng)
    del files["tiny-imagenet-200/val/val_annotations.txt"]
    write(path, files)
    assert "val_0.JPEG, of which nothing says the class" in refusal("tiny_imagenet", path)
    write(path, fabricate.photos(rng, ["tiny-imagenet-200/val/n01440765/x.JPEG"]))
    write(
        path,
        {
            "tiny-imagenet-200/val/val_annotations.txt": b"\n".join(
                b"val_%d.JPEG\tn01440764" % number for number in range(6)
            )
        },
    )
    said = refusal("tiny_imagenet", path)
    assert "x.JPEG of the class 'n01440765', which train does not have" in said
    assert "nearest valid value: 'n01440764'" in said
    write(path, {"tiny-imagenet-200/train/n01440764/x.JPEG": b"no image"})
    (path / "tiny-imagenet-200/val/n01440765/x.JPEG").unlink()
    assert "x.JPEG is neither a JPEG nor a PNG" in refusal("tiny_imagenet", path)


@pytest.mark.parametrize("place", [b"\xff/a.JPEG", b"n01440764/\xff.JPEG"], ids=["class", "file"])
def test_a_name_that_is_not_in_utf8_is_named(place, rng, tmp_path):
    write(tmp_path / "in", fabricate.imagenette(rng, each=1))
    path = os.fsencode(tmp_path / "in" / "imagenette2-160" / "train") + b"/" + place
    Path(os.fsdecode(path)).parent.mkdir(exist_ok=True)
    Path(os.fsdecode(path)).write_bytes(b"\xff\xd8")
    assert r"\udcff" in (said := refusal("imagenette", tmp_path / "in"))
    assert "a name that is not in UTF-8" in said


@pytest.mark.parametrize("cut", [1, 100, 5000])
@pytest.mark.parametrize("compression", ["", "gz", "bz2", "xz"])
def test_a_cut_archive_is_refused(cut, compression, rng, tmp_path):
    whole = tar(fabricate.imagenette(rng, each=9), compression)
    if compression == "":
        whole = whole.rstrip(b"\0")  # tars end with kilobytes of zeros
    write(tmp_path / "in", {"imagenette2.tgz": whole[:-cut]})
    said = refusal("imagenette", tmp_path / "in")
    assert "cannot be read" in said or "ends in the middle" in said


def test_a_tar_cut_between_two_files_is_refused(rng, tmp_path):
    """Python's own reader takes it for a whole one with fewer files."""
    whole = tar(fabricate.imagenette(rng))
    with tarfile.open(fileobj=io.BytesIO(whole)) as opened:
        last = opened.getmembers()[-1].offset
    write(tmp_path / "in", {"imagenette2.tgz": whole[:last]})
    assert "ends in the middle" in refusal("imagenette", tmp_path / "in")


def hostile_tar(member: tarfile.TarInfo) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        archive.addfile(member, io.BytesIO(bytes(member.size)))
    return buffer.getvalue()


def member(name: str, **facts: Any) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    for key, value in facts.items():
        setattr(made, key, value)
    return made


HOSTILE = {
    "absolute": (member("/etc/train/a/x.JPEG"), "leads out of it"),
    "parent": (member("train/../../x.JPEG"), "leads out of it"),
    "unprintable": (member("train/a/\x1b[31mx.JPEG"), "leads out of it"),
    "link": (
        member("train/a/x.JPEG", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        "is no regular file",
    ),
    "hard link": (
        member("train/a/x.JPEG", type=tarfile.LNKTYPE, linkname="/etc/passwd"),
        "is no regular file",
    ),
    "device": (member("train/a/x.JPEG", type=tarfile.CHRTYPE), "is no regular file"),
    "pipe": (member("train/a/x.JPEG", type=tarfile.FIFOTYPE), "is no regular file"),
}


@pytest.mark.parametrize("kind", list(HOSTILE))
def test_a_hostile_tar_is_refused(kind, tmp_path):
    hostile, said = HOSTILE[kind]
    write(tmp_path / "in", {"imagenette2.tgz": hostile_tar(hostile)})
    assert said in refusal("imagenette", tmp_path / "in")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in"]


def test_an_archive_that_grows_is_read_only_so_far(tmp_path, monkeypatch):
    monkeypatch.setattr("xception_jax.data.importing.archives.MAX_BYTES", 10_000_000)
    bomb = hostile_tar(member("notes", size=9_000_000))
    for _ in range(3):
        list(members_in(tmp_path, "one", bomb))
    many = {f"{number}": bytes(9_000_000) for number in range(3)}
    for archive in (tar(many, "gz"), zipped(many)):
        with pytest.raises(InputError, match="unpacks to more than 20 times its size"):
            list(members_in(tmp_path, "many", archive))
    large = {"large": bytes(11_000_000)}
    for archive in (tar(large), tar(large, "gz"), zipped(large)):
        with pytest.raises(InputError, match=r"holds 'large' of 11,000,000 bytes|than 20 times"):
            list(members_in(tmp_path, "large", archive))


def members_in(root: Path, name: str, content: bytes) -> Any:
    (root / name).write_bytes(content)
    return members(root / name)


def test_a_pipe_in_place_of_a_file_does_not_wait(tmp_path):
    path = tmp_path / "in"
    path.mkdir()
    os.mkfifo(path / "train_32x32.mat")
    assert "holds no train_32x32.mat" in refusal("svhn_cropped", path)
    (path / "train/a").mkdir(parents=True)
    os.mkfifo(path / "train/a/val_annotations.txt")
    assert "is not a regular file" in refusal("tiny_imagenet", path)


def test_a_gzip_bomb_of_idx_files_is_refused(tmp_path, rng, monkeypatch):
    write_idx(tmp_path / "in", rng, 5, 5)
    monkeypatch.setattr("xception_jax.data.idx.MAX_BYTES", 10_000)
    bomb = gzip.compress(b"\0\0\x08\x01\0\0\x80\0" + bytes(1 << 15))
    (tmp_path / "in" / "train-images-idx3-ubyte.gz").write_bytes(bomb)
    assert "unpacks to more than 10,000 bytes" in refusal("mnist", tmp_path / "in")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda mat: mat[: len(mat) // 2], "no MATLAB file"),
        (lambda mat: b"", "no MATLAB file"),
        (lambda mat: b"no mat" * 40, "no MATLAB file"),
    ],
)
def test_damaged_mat_files_are_named(change, said, tmp_path, rng):
    path = tmp_path / "in"
    path.mkdir()
    fabricate.svhn(path, rng)
    file = path / "train_32x32.mat"
    file.write_bytes(change(file.read_bytes()))
    assert said in refusal("svhn_cropped", path)


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


@settings(deadline=None, max_examples=300, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(["python2", "2", "4", "5"]),
    st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=6),
)
def test_damaged_pickles_raise_value_errors_alone(version, changes):
    files, _ = fabricate.cifar("cifar10", version, np.random.default_rng(0), each=1)
    content = bytearray(files["cifar-10-batches-py/test_batch"])
    for place, value in changes:
        at = place % len(content)
        content[at if place % 2 else at % 400] = value
    with contextlib.suppress(ValueError):
        read_pickle(bytes(content))


def test_cifar_with_wrong_content_is_named(rng, tmp_path):
    files, _ = fabricate.cifar("cifar10", "binary", rng)
    first = "cifar-10-batches-bin/data_batch_1.bin"
    for content, said in (
        (files[first][:-1], "184379 bytes are no multiple of 3073"),
        (b"\x0a" + files[first][1:], "labels are not all from 0 to 9"),
    ):
        write(tmp_path / "in", files | {first: content})
        assert said in refusal("cifar10", tmp_path / "in")
    files, _ = fabricate.cifar("cifar10", "4", rng)
    first = "cifar-10-batches-py/data_batch_1"
    pixels = np.zeros((2, 3072), np.uint8)
    tree: list[Any] = [1, 2]
    for _ in range(60):  # NumPy would make 2^60 numbers of it
        tree = [tree, tree]
    for batch, said in (
        ({"labels": [1, 2]}, "has no data; it has 'labels'"),
        ({"data": pixels, "labels": [1]}, "instead of (1, 3072)"),
        ({"data": pixels.astype(np.int64), "labels": [1, 2]}, "no array of bytes"),
        ({"data": pixels, "labels": ["x", "y"]}, "instead of"),
        ({"data": pixels, "labels": tree}, "holds lists instead of numbers"),
    ):
        write(tmp_path / "python", files | {first: pickle.dumps(batch, protocol=4)})
        assert said in refusal("cifar10", tmp_path / "python")


def test_class_names_that_grow_are_named(rng, tmp_path):
    files, _ = fabricate.cifar("cifar10", "4", rng, each=1)
    for names in (["x" * 1000] * 2, ["x"] * 1001, [["x"]]):
        meta = pickle.dumps({"label_names": names}, protocol=4)
        write(tmp_path, files | {"cifar-10-batches-py/batches.meta": meta})
        assert "batches.meta" in refusal("cifar10", tmp_path)


@pytest.mark.parametrize("version", ["binary", "4"])
def test_class_names_that_cannot_be_stored_are_named(version, rng, tmp_path):
    files, _ = fabricate.cifar("cifar10", version, rng, each=1)
    names, line = (*fabricate.CIFAR10[:9], " cat "), "names the class 'cat' twice"
    if version == "binary":
        files["cifar-10-batches-bin/batches.meta.txt"] = "\n".join(names).encode()
        write(tmp_path / "in", files)
        file = tmp_path / "in" / "batches.meta.txt"
        said = refusal("cifar10", tmp_path / "in")
        assert said == f"--from='{file}': cannot be read: ValueError: it {line}"
        return
    for last, said in ((names[9], line), ("a\nb", "several lines"), (" ", "is empty or")):
        meta = pickle.dumps({"label_names": [*names[:9], last]}, protocol=4)
        write(tmp_path / "in", files | {"cifar-10-batches-py/batches.meta": meta})
        assert said in refusal("cifar10", tmp_path / "in")


def test_a_pickle_makes_no_more_than_a_gigabyte(monkeypatch):
    """A megabyte that names one text again and again, as bytes, could make terabytes."""
    monkeypatch.setattr("xception_jax.data.importing.pickled.MAX_BYTES", 10_000)
    text = b"X\x00\x02\x00\x00" + b"x" * 512 + b"q\x01X\x06\x00\x00\x00latin1q\x02"
    encode = b"c_codecs\nencode\nh\x01h\x02\x86R"
    for times, said in ((19, "is no pickle of a dictionary"), (20, "makes more than 10,000 bytes")):
        values = b"(" + text + encode * times + b"t."
        with pytest.raises(ValueError, match=said):
            read_pickle(b"\x80\x02" + values)


def lying_zip(name: str, declared: int, method: int) -> bytes:
    """A zip whose file declares another size than it unpacks to."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr(name, bytes(20_000_000))
    content = bytearray(buffer.getvalue())
    directory = content.rindex(b"PK\x01\x02")
    content[directory + 24 : directory + 28] = struct.pack("<I", declared)
    return bytes(content)


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_that_lies_about_a_size_takes_no_memory(method, tmp_path):
    (path := tmp_path / "a.zip").write_bytes(lying_zip("a/train/b/c.png", 10, method))
    tracemalloc.start()
    with pytest.raises(InputError, match=r"cannot be read|another method"):
        for member in members(path):
            member.read()
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("kind", [b"L", b"x", b"g"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_tar_whose_header_declares_exabytes_is_named(kind, packed, tmp_path):
    """The names and headers of a tar have sizes, too: Python reads as much as they say."""
    header = bytearray(tarfile.TarInfo("././@LongLink").tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\x80" + (1 << 60).to_bytes(11, "big")
    header[156:157] = kind
    header[148:156] = b"%06o\0 " % (sum(header[:148]) + 8 * 32 + sum(header[156:]))
    content = bytes(header) + bytes(10_000)
    (path := tmp_path / "a.tar").write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(InputError, match="cannot be read"):
        list(members(path))
