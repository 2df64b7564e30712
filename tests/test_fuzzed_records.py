"""Records that others may have written, with anything in any field: read, or refused in a line."""

import json
import os
import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.fuzzing import JSON, fuzzed, paths, put
from tests.weight_files import SMALL
from xception_jax.errors import InputError
from xception_jax.lock import is_locked
from xception_jax.pretrained import expected_by
from xception_jax.pretrained.directory import Origin, Weights, checked_settings, read_weights
from xception_jax.records import LOCK
from xception_jax.remote.lease import NAME, living_holder
from xception_jax.remote.store import Store
from xception_jax.sweep.sizing import Rates, _read

SETTINGS = {name: value for name, value in SMALL.items() if name != "num_classes"}


@pytest.fixture(scope="module")
def description() -> dict[str, Any]:
    weights = Weights(
        model="xception",
        settings=checked_settings("xception", SETTINGS, []),
        num_classes=2,
        preprocessing=expected_by("keras"),
        probabilities="softmax",
        class_names=("cat", "dog"),
        origin=Origin("a.h5", "keras", "0" * 64),
        parameters={},
        batch_stats={},
    )
    described = weights.describe() | {"files": {}}  # there are none, so that the model is built
    return json.loads(json.dumps(described, default=list))


@fuzzed
@given(data=st.data())
def test_descriptions_of_weights(data, description, tmp_path):
    """There are no arrays, so that the best of descriptions is refused too."""
    content = json.loads(json.dumps(description))
    places = st.sampled_from(paths(description))
    for place, value in data.draw(st.dictionaries(places, JSON, max_size=3)).items():
        put(content, place, value)
    (tmp_path / "weights.json").write_text(json.dumps(content))
    with pytest.raises(InputError) as refused:
        read_weights(tmp_path)
    assert "\n" not in str(refused.value)


LEASES = st.dictionaries(
    st.sampled_from(["session", "pid", "host", "since", "every", "renewed", "held", "at"]),
    JSON | st.sampled_from([1e300, -1.0, True, 30]),
)


@example(lease=b'{"held": true, "every": "soon"}')
@example(lease=b'{"held": true, "at": 1%s}' % (b"0" * 400))
@example(lease=b"[" * 100_000)
@example(lease=b"\xff")
@fuzzed
@given(lease=LEASES.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=20))
def test_leases(lease):
    store = Store("memory://fuzzed/run")
    store.write(NAME, lease)
    holder = living_holder(store)
    assert holder is None or holder.isprintable()


@fuzzed
@given(
    entry=st.binary(max_size=80) | st.text(max_size=80).map(str.encode), age=st.integers(-99, 99)
)
def test_entries_of_locks(entry, age, tmp_path):
    (path := tmp_path / LOCK).write_bytes(entry)
    os.utime(path, (time.time() - age,) * 2)
    assert is_locked(tmp_path) in (True, False)


SIZES = st.dictionaries(st.sampled_from(["1", "4", "-2", "x", "9" * 5000]), JSON, max_size=3)
REMEMBERED = st.fixed_dictionaries(
    {},
    optional={
        "rounds": SIZES | st.just({"4": [1.0, 2.0, 3.0]}) | JSON,
        "measured": JSON,
        "memory_bytes": SIZES | JSON,
    },
)


@example(content={"rounds": {"4": [10**400]}, "measured": "", "memory_bytes": {}})
@fuzzed
@given(content=REMEMBERED)
def test_remembered_sizes(content):
    rates = _read(content)
    if rates is not None:
        assert isinstance(rates, Rates)
        assert isinstance(rates.describe(), str)
        assert rates.best in rates.rounds
