"""Names of objects in a store: unsafe ones are refused, unusual ones are fetched."""

import re
from pathlib import Path

import pytest

from xception_jax.errors import InputError
from xception_jax.remote import copied
from xception_jax.remote.store import Store


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../../etc/passwd", "leads out of it: ../../etc/passwd"),
        ("/etc/name", "leads out of it: /etc/name"),  # two slashes in a row in the store
        ("report//etc/name", "leads out of it"),
        ("./run.json", "leads out of it"),
        ("/etc/\x1b[2J", r"leads out of it: '/etc/\x1b[2J'"),
        ("report/\x1b[2J.html", r"with control characters: 'report/\x1b[2J.html'"),
    ],
)
def test_an_unsafe_name_in_a_store_is_refused(name, reason, tmp_path, monkeypatch):
    url = f"memory://{tmp_path.name}/bad"
    Store(url).write("run.json", b"{}")
    found = {f"/{tmp_path.name}/bad/{name}": {"size": 1}}
    monkeypatch.setattr(
        "fsspec.implementations.memory.MemoryFileSystem.find", lambda *_, **__: found
    )
    with pytest.raises(InputError, match=re.escape(reason)), copied(Path(url)):
        pass


def test_an_object_does_not_go_through_a_link(tmp_path):
    store = Store(f"memory://{tmp_path.name}/linked")
    store.write("report/index.html", b"theirs")
    local, outside = tmp_path / "local", tmp_path / "outside"
    local.mkdir()
    outside.mkdir()
    (local / "report").symlink_to(outside)
    with pytest.raises(InputError, match=r"leads out of it: report/index\.html"):
        store.get(["report/index.html"], local)
    assert not list(outside.iterdir())


def test_images_with_unusual_spaces_are_fetched(tmp_path):
    name = "Screenshot at 1.00\u202fPM.png"
    url = f"memory://{tmp_path.name}/images"
    Store(url).write(name, b"x")
    with copied(Path(url)) as local:
        assert (local / name).read_bytes() == b"x"
