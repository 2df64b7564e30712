"""A directory and its mirror in a store: whole lines, whole copies, and nothing that is lost.

The store here is memory; test_remote_stores.py has servers.
"""

import random
import threading
from pathlib import Path

import pytest

from xception_jax.remote import copied, mirrored
from xception_jax.remote.store import Store


def test_a_checkpoint_without_its_mark_is_not_copied(tmp_path):
    url = f"memory://{tmp_path.name}/half"
    store = Store(url)
    for step, names in ((6, ("default/array", "_CHECKPOINT_METADATA")), (9, ("default/array",))):
        for name in names:
            store.write(f"checkpoints/{step}/{name}", b"x")
    with copied(Path(url), checkpoints=True) as local:
        assert [path.name for path in (local / "checkpoints").iterdir()] == ["6"]


def test_a_store_that_fails_for_a_while_is_updated_later(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("XCEPTION_JAX_UPLOAD_SECONDS", "0.1")
    url = f"memory://{tmp_path.name}/away"
    warnings: list[str] = []
    away, failed, write = threading.Event(), threading.Semaphore(0), Store.write

    def write_unless_away(self, name: str, content: bytes) -> None:
        if away.is_set():
            if threading.current_thread().name == "mirror":  # the lease has a thread of its own
                failed.release()
            raise ConnectionError("no route")
        write(self, name, content)

    monkeypatch.setattr(Store, "write", write_unless_away)
    with mirrored(Path(url), warnings.append) as local:
        away.set()
        (local / "run.json").write_text("{}")
        for _ in range(3):  # of which only the first is warned of
            assert failed.acquire(timeout=60)
        away.clear()
    assert len(warnings) == 1
    assert "cannot be written, and is tried again: ConnectionError: no route" in warnings[0]
    assert Store(url).read("run.json") == b"{}"


def test_a_directory_may_have_the_name_of_the_list_of_sessions(tmp_path, monkeypatch):
    """This machine's list of its own sessions lies near its working copy."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    url = f"memory://{tmp_path.name}/session"
    with mirrored(Path(url), print) as local:
        (local / "run.json").write_text("{}")
    (local / "log").write_text("of this machine")
    with mirrored(Path(url), print) as local:
        assert (local / "log").exists()  # it goes on with its own copy
    assert Store(url).sizes().keys() == {".lease.json", "run.json", "log"}


def test_a_line_is_uploaded_when_it_is_whole(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    url = f"memory://{tmp_path.name}/lines"
    for content, sent in ((b"one\ntw", b"one\n"), (b"one\ntwo\n", b"one\ntwo\n"), (b"o", b"")):
        with mirrored(Path(url), print) as local:
            (local / "metrics.jsonl").write_bytes(content)
        assert Store(url).read("metrics.jsonl") == sent


def test_a_log_that_grows_and_is_cut_at_random_reads_back(tmp_path, monkeypatch):
    """A log is appended to, cut and continued with other rows, also by another machine."""
    rng, content = random.Random(5), b""
    url = f"memory://{tmp_path.name}/growth"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "0"))
    for session in range(40):
        if rng.random() < 0.2:
            monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / str(session)))
        with mirrored(Path(url), print) as local:
            log = local / "runs" / "a" / "metrics.jsonl"
            log.parent.mkdir(parents=True, exist_ok=True)
            assert (log.read_bytes() if log.exists() else b"") == content
            if rng.random() < 0.3:
                lines = content.splitlines(keepends=True)
                content = b"".join(lines[: rng.randrange(len(lines) + 1)])
            content += b"".join(b"%d\n" % rng.randrange(10**6) for _ in range(rng.randrange(3)))
            log.write_bytes(content)
        with copied(Path(url)) as copy:
            assert (copy / "runs" / "a" / "metrics.jsonl").read_bytes() == content


def test_what_could_not_be_uploaded_is_uploaded_by_the_next_command(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    url, put = f"memory://{tmp_path.name}/unsent", Store.put
    with monkeypatch.context() as patch:
        patch.setattr(Store, "put", lambda *_: (_ for _ in ()).throw(ConnectionError("no route")))
        with (
            pytest.raises(OSError, match="the same command on this machine sends it"),
            mirrored(Path(url), print) as local,
        ):
            (local / "config.json").write_text("{}")
    assert "config.json" not in Store(url).sizes()
    assert Store.put is put
    with mirrored(Path(url), print) as local:
        assert (local / "config.json").exists()
    assert Store(url).read("config.json") == b"{}"


def test_an_interrupted_download_is_not_taken_for_the_whole(tmp_path, monkeypatch):
    """If it were, the next command would delete the other half in the store."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a"))
    url = f"memory://{tmp_path.name}/half-fetched"
    with mirrored(Path(url), print) as local:
        for name in ("config.json", "run.json", "predictions.npz"):
            (local / name).write_text(name)
    before = Store(url).sizes().keys()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    with monkeypatch.context() as patch:
        get = Store._get

        def get_until_killed(self, name: str, path: Path) -> None:
            if name == "run.json":
                raise KeyboardInterrupt
            get(self, name, path)

        patch.setattr(Store, "_get", get_until_killed)
        with pytest.raises(KeyboardInterrupt), mirrored(Path(url), print):
            pass
    with mirrored(Path(url), print) as local:
        assert (local / "run.json").read_text() == "run.json"
    assert Store(url).sizes().keys() == before


def test_what_other_commands_uploaded_stays(tmp_path, monkeypatch):
    """A report written elsewhere stays; a checkpoint that this machine has deleted does not."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    url, mark = f"memory://{tmp_path.name}/others", "checkpoints/{}/_CHECKPOINT_METADATA"
    with mirrored(Path(url), print) as local:
        (local / mark.format(4)).parent.mkdir(parents=True)
        for name in ("run.json", mark.format(4)):
            (local / name).write_text("{}")
    for name in ("report/index.html", mark.format(3)):
        Store(url).write(name, b"x")
    with mirrored(Path(url), print):
        pass
    ours = {".lease.json", "run.json", mark.format(4)}
    assert Store(url).sizes().keys() == ours | {"report/index.html"}
