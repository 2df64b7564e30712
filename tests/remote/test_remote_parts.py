"""Growing files in parts: together they are the file, whatever happened between two of them."""

import random
import uuid

import pytest

from xception_jax.errors import InputError
from xception_jax.remote import parts
from xception_jax.remote.parts import Parts, is_part, joined
from xception_jax.remote.store import Store


@pytest.fixture
def store() -> Store:
    """In this process's memory."""
    return Store(f"memory://{uuid.uuid4().hex}/sweep")


def test_a_file_that_grows_is_sent_in_parts(store):
    sending, content = Parts(store, store.sizes()), b""
    for number in range(5):
        content += b'{"step": %d}\n' % number
        sending.send("runs/a/metrics.jsonl", content)
    names = sorted(store.sizes())
    assert len(names) == 5
    assert all(map(is_part, names))
    assert joined(store, names) == {"runs/a/metrics.jsonl": content}
    assert store.read(names[-1]) == b'{"step": 4}\n'


def test_a_line_that_is_not_whole_waits(store):
    sending = Parts(store, store.sizes())
    sending.send("log", b"one\ntw")
    assert joined(store, store.sizes()) == {"log": b"one\n"}
    sending.send("log", b"one\ntwo\n")
    assert joined(store, store.sizes()) == {"log": b"one\ntwo\n"}


def test_random_growth_cuts_and_restarts_read_back(store, monkeypatch):
    """Appends, cuts with other rows after them, and new processes; few parts a generation."""
    monkeypatch.setattr(parts, "_MOST", 4)
    rng, content, sending = random.Random(5), b"", Parts(store, ())
    for _ in range(200):
        act = rng.random()
        if act < 0.15:
            lines = content.splitlines(keepends=True)
            content = b"".join(lines[: rng.randrange(len(lines) + 1)])
        if act > 0.9:
            sending = Parts(store, store.sizes())
        content += b"".join(b"%d\n" % rng.randrange(10**6) for _ in range(rng.randrange(3)))
        sending.send("log", content)
        names = store.sizes()
        assert joined(store, names) == {"log": content}
        assert len(names) <= 4


def test_the_newest_generation_is_the_file_while_the_older_is_still_there(store):
    store.write("log.parts/000001-000000000000", b"old\n")
    store.write("log.parts/000001-000000000004", b"older\n")
    store.write("log.parts/000002-000000000000", b"new\n")
    assert joined(store, store.sizes()) == {"log": b"new\n"}
    Parts(store, store.sizes()).send("log", b"newest\n")
    assert list(store.sizes()) == ["log.parts/000003-000000000000"]


def test_a_missing_part_is_named(store):
    sending = Parts(store, ())
    for content in (b"a\n", b"a\nb\n", b"a\nb\nc\n"):
        sending.send("log", content)
    store.delete(["log.parts/000001-000000000002"])
    with pytest.raises(InputError, match=r"is missing .* log.parts/000001-000000000004"):
        joined(store, store.sizes())
