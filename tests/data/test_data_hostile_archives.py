"""Archives that are damaged or were made to do harm: refused with one line."""

import gzip
import io
import os
import struct
import tarfile
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.data import fabricate_archives as fabricate
from tests.data.fabricate_archives import tar, write, write_idx, zipped
from tests.data.refusal import refusal
from xception_jax.data.importing.archives import members
from xception_jax.errors import InputError


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
    for archive in (tar(large), tar(large, "gz")):
        with pytest.raises(InputError, match="holds 'large' of 11,000,000 bytes"):
            list(members_in(tmp_path, "large", archive))
    with pytest.raises(InputError, match="unpacks to more than 20 times its size"):
        list(members_in(tmp_path, "large", zipped(large)))


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


def lying_zip(name: str, declared: int, method: int) -> bytes:
    """A zip whose file declares another size than it unpacks to."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr(name, bytes(20_000_000))
    content = bytearray(buffer.getvalue())
    directory = content.rindex(b"PK\x01\x02")
    content[directory + 24 : directory + 28] = struct.pack("<I", declared)
    return bytes(content)


@pytest.mark.parametrize(
    ("method", "said"),
    [
        (zipfile.ZIP_DEFLATED, "cannot be read"),
        (zipfile.ZIP_BZIP2, "another method"),
        (zipfile.ZIP_LZMA, "another method"),
    ],
)
def test_a_zip_that_lies_about_a_size_takes_no_memory(method, said, tmp_path):
    (path := tmp_path / "a.zip").write_bytes(lying_zip("a/train/b/c.png", 10, method))
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=said):
            for member in members(path):
                member.read()
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
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
