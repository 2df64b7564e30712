"""Parsers of ours under random input: a value or an `InputError`, never another error."""

import gzip
import json
import struct
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.fuzzing import VALUES, damage, damages, fuzzed
from xception_jax.config import SETTINGS, resolve, run_id
from xception_jax.cores import usable_cores
from xception_jax.data import shipped
from xception_jax.data.idx import read_idx
from xception_jax.errors import InputError
from xception_jax.pretrained import open_source
from xception_jax.report.logs import read_curves
from xception_jax.runtime.launch import find_launch
from xception_jax.tracking import read_metrics
from xception_jax.tracking.jsonl import read_lines

# -- idx -------------------------------------------------------------------------------------------


@st.composite
def idx_files(draw):
    """A file that is nearly right: one part of it is damaged, cut or packed, or none."""
    shape = draw(st.lists(st.integers(0, 3), max_size=70))
    size = draw(st.sampled_from([int(np.prod(shape, dtype=np.int64)) % 4096, 0, 1, 5]))
    kind = draw(st.sampled_from([b"\0\0\x08", b"\0\0\x09", b"\x1f\x8b\x08", b""]))
    rank = draw(st.sampled_from([len(shape), 0, 3, 64, 65, 255]))
    content = kind + bytes([rank]) + struct.pack(f">{len(shape)}I", *shape) + bytes(size)
    content = content[: draw(st.integers(0, len(content)) | st.just(len(content)))]
    if draw(st.booleans()):
        content = gzip.compress(content)
        content = content[: draw(st.integers(0, len(content)) | st.just(len(content)))]
    return content


@example(content=b"\0\0\x08\x03\0")
@example(content=b"\0\0\x08\x46" + bytes([0, 0, 0, 1]) * 70 + b"\0")  # of 70 dimensions
@fuzzed
@given(content=idx_files() | st.binary(max_size=64))
def test_idx(content, tmp_path):
    (path := tmp_path / "file").write_bytes(content)
    try:
        assert read_idx(path).dtype == np.uint8
    except InputError as error:
        assert str(path) in str(error)


# -- metrics.jsonl ---------------------------------------------------------------------------------

KEYS = st.sampled_from(["step", "epoch", "split", "loss", "non_finite"]) | st.text(max_size=3)
ROWS = st.dictionaries(KEYS, VALUES | st.dictionaries(KEYS, VALUES, max_size=2), max_size=6)
RIGHT = st.fixed_dictionaries(
    {"step": st.integers(0, 9), "epoch": st.floats(0, 9), "split": st.sampled_from(["train", "x"])},
    optional={"loss": VALUES, "non_finite": st.dictionaries(KEYS, VALUES, max_size=2) | VALUES},
)
LINES = (RIGHT | ROWS | VALUES).map(lambda row: json.dumps(row).encode()) | st.binary(max_size=20)


@example(
    lines=[b'{"step":1,"epoch":0,"split":"train","non_finite":{"loss":1%s}}\n' % (b"0" * 400)],
    step=1,
)
@example(lines=[b"[" * 100_000, b""], step=1)
@fuzzed
@given(lines=st.lists(LINES, max_size=6), step=st.integers(-1, 9))
def test_metrics(lines, step, tmp_path):
    (path := tmp_path / "metrics.jsonl").write_bytes(b"\n".join(lines))
    try:
        rows = read_metrics(path)
        assert all(type(row["step"]) is int for row in rows)
    except InputError as error:
        assert "metrics" in str(error)
    assert set(read_lines(path, step).splitlines()) <= set(path.read_bytes().splitlines())
    read_curves([(path, "run", None)], [])  # a report goes on without damaged lines


# -- overrides -------------------------------------------------------------------------------------

HUGE = "0x" + "f" * 5000  # Python parses it, and does not print it
WORDS = (
    VALUES.map(repr)
    | st.text(max_size=20)
    | st.text(alphabet="[]{}()0123456789'\"\\,:.-+jex_ ", max_size=20)
    | st.sampled_from(["{[]}", "{{}: 1}", HUGE, "9" * 5000, "(" * 300, "'\\d'", "..."])
)


@example(name="seed", text=HUGE)
@example(name="model.separable", text=HUGE)
@example(name="train.epochs", text=HUGE)
@example(name="optimizer.options", text=HUGE)
@example(name="optimizer.options", text=f"{{'b1': {HUGE}}}")
@example(name="seed", text="{[]}")
@fuzzed
@given(name=st.sampled_from([*SETTINGS, "optimizer.options.b1", "", "."]), text=WORDS)
def test_overrides(name, text):
    try:
        run_id(resolve(overrides=[f"{name}={text}"]))
    except InputError as error:
        assert "\n" not in str(error)


# -- weight files ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [".weights.h5", ".keras", ".safetensors"])
@fuzzed
@given(changes=damages(), cut=st.none() | st.integers(0, 4096))
def test_weight_files(kind, changes, cut, weight_files, tmp_path):
    (path := tmp_path / f"a{kind}").write_bytes(damage(weight_files[kind], changes, cut))
    try:
        with open_source(path):
            pass
    except InputError as error:
        assert "\n" not in str(error)


def test_a_weight_file_whose_attribute_is_damaged(weight_files, tmp_path):
    """HDF5 then cannot even say whether there is one."""
    content = weight_files[".weights.h5"]
    (path := tmp_path / "a.weights.h5").write_bytes(content)
    with h5py.File(path, "a") as file:
        file.attrs["layer_names"] = np.array([b"a"])
    content = path.read_bytes()
    start = content.index(b"layer_names\0")
    refused = []
    for place in range(start + 12, start + 44):  # of its type and its shape
        path.write_bytes(content[:place] + b"\x01" + content[place + 1 :])
        try:
            with open_source(path):
                pass
        except InputError as error:
            refused.append(str(error))
    assert any("cannot be read" in line for line in refused)


def test_an_archive_whose_configuration_is_no_text(weight_files, tmp_path):
    path = tmp_path / "a.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model.weights.h5", weight_files[".weights.h5"])
        archive.writestr("config.json", b"\xff\xfe")
    with pytest.raises(InputError, match="cannot be read"), open_source(path):
        pass


# -- what the package and the system hold ----------------------------------------------------------


@fuzzed
@given(text=st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_checksums_of_the_shipped_images(text, tmp_path):
    (tmp_path / "SHA256SUMS").write_bytes(text)
    try:
        shipped.verify(tmp_path)
    except InputError as error:
        assert "install xception-jax again" in str(error)


NUMBERS = st.sampled_from(["", "0", "-1", "max", "100000 0", "2 1", "100000 max", "x y z", "\0"])


@fuzzed
@given(
    groups=st.text(alphabet="0:cpu,/.a\n ", max_size=30),
    mounts=st.text(alphabet="0 /cgroup2-pu,rw.\n", max_size=60)
    | st.just("0 0 0 / / - cgroup2 a b"),
    quota=NUMBERS | st.text(max_size=8),
)
def test_cores(groups, mounts, quota, tmp_path):
    (tmp_path / "proc/self").mkdir(parents=True, exist_ok=True)
    (tmp_path / "proc/self/cgroup").write_text(groups)
    (tmp_path / "proc/self/mountinfo").write_text(mounts)
    (tmp_path / "cpu.max").write_bytes(quota.encode(errors="surrogatepass"))
    assert usable_cores(Path(tmp_path)) >= 1


VARIABLES = (
    "SLURM_STEP_NUM_TASKS",
    "SLURM_NTASKS",
    "SLURM_STEP_ID",
    "SLURM_PROCID",
    "SLURM_TASK_PID",
    "OMPI_COMM_WORLD_SIZE",
    "OMPI_COMM_WORLD_RANK",
    "TPU_PROCESS_ADDRESSES",
    "TPU_WORKER_ID",
)


@fuzzed
@given(
    environment=st.dictionaries(st.sampled_from(VARIABLES), st.text(max_size=5)), tpu=st.booleans()
)
def test_variables_of_launchers(environment, tpu):
    find_launch(environment, pid=1, has_tpu=tpu)
