"""Readers of whole files under random input: a value, or the error that is theirs, in one line."""

import io
import json
import struct
import zipfile
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.fuzzing import JSON, damage, damages, fuzzed, paths, put
from xception_jax.config import load_config, resolve
from xception_jax.data.trusted_features import require_trusted_features
from xception_jax.errors import InputError
from xception_jax.pretrained import open_source
from xception_jax.pretrained.keras_config import with_own_preprocessing
from xception_jax.pretrained.keras_layers import read_layers
from xception_jax.pretrained.preprocessing import expected_by
from xception_jax.statistics.predictions import read_predictions
from xception_jax.sweep.recorded import load_recorded

CUT = st.none() | st.integers(1, 4096)

# -- JSON: configs, records, descriptions ----------------------------------------------------------

CONFIG = resolve().to_dict()
PLACES = paths(CONFIG)


@fuzzed
@given(changes=st.dictionaries(st.sampled_from(PLACES), JSON, min_size=1, max_size=3))
def test_configs(changes, tmp_path):
    content = json.loads(json.dumps(CONFIG))
    for path, value in changes.items():
        put(content, path, value)
    (path := tmp_path / "config.json").write_text(json.dumps(content))
    try:
        resolve(load_config(path))
    except InputError as error:
        assert "\n" not in str(error)


@pytest.fixture(scope="module")
def ledger(tmp_path_factory) -> dict[str, Any]:
    from xception_jax.sweep import Claim, Experiment, plan_runs
    from xception_jax.sweep.ledger import write_ledger

    arms = {"none": {}, "relu": {"model.intermediate_activation": "relu"}}
    claims = (Claim("none", "relu", "better", ("final_top1",)),)
    experiment = Experiment(
        name="q", hypothesis="h", base="b.py", arms=arms, seeds=2, claims=claims
    )
    home = tmp_path_factory.mktemp("ledger")
    write_ledger(home, experiment, resolve(), plan_runs(experiment, resolve()), "a command")
    return json.loads((home / "sweep.json").read_text())


@fuzzed
@given(data=st.data())
def test_records_of_sweeps(data, ledger, tmp_path):
    content = json.loads(json.dumps(ledger))
    places = st.sampled_from(paths(ledger))
    for place, value in data.draw(st.dictionaries(places, JSON, min_size=1, max_size=3)).items():
        put(content, place, value)
    (path := tmp_path / "sweep.json").write_text(json.dumps(content))
    try:
        recorded = load_recorded(path)
        for row in recorded.rows:
            recorded.run(row)
    except InputError as error:
        assert "\n" not in str(error)


KINDS = ("Rescaling", "Normalization", "Conv2D", "Functional", "Lambda", "RandomFlip", "InputLayer")
FIELDS = ("scale", "offset", "mean", "variance", "name", "invert", "layers")
NUMBERS = st.floats() | st.integers(-2, 2) | st.lists(st.floats(-2, 2), max_size=3) | JSON
LAYERS = st.fixed_dictionaries(
    {
        "class_name": st.sampled_from(KINDS),
        "config": st.dictionaries(st.sampled_from(FIELDS), NUMBERS, max_size=4),
    }
)


def scaled(**settings: Any) -> list[Any]:
    return [{"class_name": name, "config": settings} for name in ("Rescaling", "Normalization")]


@example(layers=scaled(scale=0, mean=0, variance=1), other=None)
@example(layers=scaled(scale=1, mean=0, variance=-1), other=None)
@fuzzed
@given(layers=st.lists(LAYERS, max_size=3), other=JSON | st.none())
def test_configurations_of_keras(layers, other, tmp_path):
    model = other if other is not None else {"config": {"layers": layers}}
    path, expected = tmp_path / "a.keras", expected_by("keras")
    try:
        made = with_own_preprocessing(path, read_layers(path, json.dumps(model)), expected)
        assert len(made.mean) == len(made.std) == 3
        assert np.isfinite((made.mean, made.std)).all()
    except InputError as error:
        assert "\n" not in str(error)


HEADERS = st.dictionaries(
    st.sampled_from(["a", "b.weight", "__metadata__"]),
    st.fixed_dictionaries(
        {},
        optional={
            "dtype": st.sampled_from(["F32", "F16", "BF16", "I64", "BOOL", "F99", 3]),
            "shape": st.lists(st.integers(-1, 2**62), max_size=3) | JSON,
            "data_offsets": st.lists(st.integers(-1, 2**62), max_size=3) | JSON,
        },
    )
    | JSON,
)


@fuzzed
@given(header=HEADERS, size=st.none() | st.integers(0, 2**64 - 1), data=st.binary(max_size=64))
def test_headers_of_safetensors(header, size, data, tmp_path):
    text = json.dumps(header).encode()
    length = struct.pack("<Q", len(text) if size is None else size)
    (path := tmp_path / "a.safetensors").write_bytes(length + text + data)
    try:
        with open_source(path):
            pass
    except InputError as error:
        assert "\n" not in str(error)


@fuzzed
@given(config=st.binary(max_size=20) | JSON.map(lambda value: json.dumps(value).encode()))
def test_keras_archives_with_any_configuration(config, weight_files, tmp_path):
    with zipfile.ZipFile(path := tmp_path / "a.keras", "w") as archive:
        with zipfile.ZipFile(io.BytesIO(weight_files[".keras"])) as whole:
            archive.writestr("model.weights.h5", whole.read("model.weights.h5"))
        archive.writestr("config.json", config)
    try:
        with open_source(path) as source:
            with_own_preprocessing(path, source.layers, expected_by("keras"))
    except InputError as error:
        assert "\n" not in str(error)


FEATURES = st.recursive(
    st.text(max_size=5) | st.none() | st.integers(),
    lambda inner: (
        st.dictionaries(st.sampled_from(["type", "pythonClassName", "json", "content", "x"]), inner)
        | st.lists(inner, max_size=2)
    ),
    max_leaves=8,
)


@fuzzed
@given(content=FEATURES.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=20))
def test_descriptions_of_features(content, tmp_path):
    (tmp_path / "features.json").write_bytes(content)
    try:
        require_trusted_features("a set", tmp_path)
    except InputError as error:
        assert "\n" not in str(error)


def npz() -> bytes:
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {"index": np.arange(9), "label": np.arange(9) % 3}
    np.savez_compressed(buffer, correct=np.arange(9) % 2 == 0, **arrays)
    return buffer.getvalue()


NPZ = npz()
STRUCTURED = "{'descr': [('a', '<i4')], 'fortran_order': False, 'shape': (1, 1), }"


@fuzzed
@given(changes=damages(), cut=CUT)
def test_predictions(changes, cut, tmp_path):
    (tmp_path / "predictions.npz").write_bytes(damage(NPZ, changes, cut))
    found = read_predictions(tmp_path)
    assert found is None or found.correct.dtype == bool


@fuzzed
@given(
    header=st.text(alphabet="{}()[],:' descrfotanhpT0123456789<|ui18FalseOV", max_size=60)
    | st.sampled_from(
        [
            f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({2**50},), }}",
            "{'descr': '|O', 'fortran_order': False, 'shape': (3,), }",
            "{'descr': [('a', '<i4')], 'fortran_order': False, 'shape': (3,), }",
            "{'descr': '<U5', 'fortran_order': True, 'shape': (1, 1), }",
            STRUCTURED,
        ]
    ),
    data=st.binary(max_size=40),
    damaged=st.sets(st.sampled_from(["correct", "index", "label"]), min_size=1),
)
@example(header="(" * 300, data=b"", damaged={"correct"})
@example(header=STRUCTURED, data=bytes(4), damaged={"label"})
def test_predictions_with_any_header(header, data, damaged, tmp_path):
    text = header.encode("latin-1") + b"\n"
    array = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data
    with zipfile.ZipFile(io.BytesIO(NPZ)) as whole:
        sound = {name: whole.read(f"{name}.npy") for name in ("correct", "index", "label")}
    with zipfile.ZipFile(tmp_path / "predictions.npz", "w") as archive:
        for name, content in sound.items():
            archive.writestr(f"{name}.npy", array if name in damaged else content)
    found = read_predictions(tmp_path)
    assert found is None or found.correct.dtype == bool
