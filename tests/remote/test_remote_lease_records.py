"""Leases that somebody else wrote into a store, or a clock that is wrong."""

import json
import time
from pathlib import Path

import pytest

from xception_jax.errors import InputError
from xception_jax.remote import copied, mirrored
from xception_jax.remote.store import Store


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[" * 100_000,
        b"[1]",
        b'{"held": true, "every": "soon", "at": "now", "host": ["a\\nb"]}',
        b'{"held": true, "every": 1e300, "at": NaN, "since": {}}',
        b'{"held": true, "every": -1, "at": 1%s}' % (b"0" * 400),
    ],
)
def test_a_lease_with_anything_in_it_is_a_dead_one(content, tmp_path, monkeypatch):
    """Whoever can write to a store can write anything there, also a wait of years."""
    waits: list[float] = []
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("xception_jax.remote.lease.time.sleep", waits.append)
    url = f"memory://{tmp_path.name}/anything"
    Store(url).write("run.json", b"{}")
    Store(url).write(".lease.json", content)
    with copied(Path(url)) as copy:
        assert not (copy / ".lock").exists()
    with mirrored(Path(url), print):
        pass
    assert sum(waits) <= 3 * 3600 + 1


def test_a_lease_of_a_clock_that_is_wrong_is_not_alive_for_years(tmp_path):
    url = f"memory://{tmp_path.name}/future"
    lease = {"held": True, "pid": 1, "host": "other", "since": "2099", "every": 0.5}
    Store(url).write("run.json", b"{}")
    for offset, alive in ((0.0, True), (-3e9, False), (3e9, False)):
        record = lease | {"at": time.time() + offset}
        Store(url).write(".lease.json", json.dumps(record).encode())
        with copied(Path(url)) as copy:
            assert (copy / ".lock").exists() == alive


def test_a_lease_that_the_driver_cannot_read_is_said(tmp_path, monkeypatch):
    """Drivers raise errors of their own, which are no `OSError`."""
    url = f"memory://{tmp_path.name}/denied"
    Store(url).write("run.json", b"{}")

    class HttpError(Exception):
        """An error as gcsfs raises it."""

    def deny(self: Store, name: str) -> bytes:
        raise HttpError(f"no access to {name}")

    monkeypatch.setattr(Store, "read", deny)
    expected = r"cannot be read \(HttpError: no access to \.lease\.json\)"
    with pytest.raises(InputError, match=expected), copied(Path(url)):
        pass
