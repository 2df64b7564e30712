"""Variables that JAX reads: obeyed, refused in a line before anything is made, or undone."""

import os
import subprocess

import pytest

from tests.programs import command_line
from tests.same_run import assert_same_run
from tests.shrunk import CONFIG, EXPERIMENT, SHRUNK, SOONEST

# One of each way to be refused; to start a process for it takes most of the time.
REFUSED = [
    ("JAX_PLATFORMS", "bogus"),
    ("JAX_DEFAULT_DEVICE", "gpu"),
    ("JAX_NUM_CPU_DEVICES", "0"),
    ("JAX_ENABLE_X64", "maybe"),
    ("JAX_RANDOM_SEED_OFFSET", "1"),
    ("XLA_FLAGS", "--xla_nothing=3"),
]
ALSO_REFUSED = [
    ("JAX_PLATFORMS", "cuda"),
    ("JAX_NUM_CPU_DEVICES", "abc"),
    ("JAX_DISABLE_JIT", "1"),
    ("JAX_TRANSFER_GUARD", "disallow"),
    ("JAX_NUMPY_RANK_PROMOTION", "raise"),
    ("JAX_NUMPY_DTYPE_PROMOTION", "strict"),
    # What these change are the random numbers of a seed, as JAX_RANDOM_SEED_OFFSET does.
    ("JAX_THREEFRY_PARTITIONABLE", "0"),
    ("JAX_DEFAULT_PRNG_IMPL", "rbg"),
    ("XLA_FLAGS", "--xla_force_host_platform_device_count=abc"),
]


def run(words, **environment):
    return subprocess.run(
        command_line(*words),
        env={name: text for name, text in os.environ.items() if name != "XLA_FLAGS"} | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def assert_refused(done, name, value):
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"xception-jax: {name}={value!r}: ")


@pytest.mark.parametrize(
    ("name", "value"),
    [*REFUSED, *(pytest.param(*row, marks=pytest.mark.slow) for row in ALSO_REFUSED)],
)
def test_a_variable_that_jax_refuses(name, value, tmp_path):
    home = tmp_path / "run"
    if name == "JAX_NUM_CPU_DEVICES" or value in ("cuda", "gpu", "bogus"):
        words = ("sweep", EXPERIMENT, "--workdir", home, *SHRUNK)
    else:
        words = ("train", CONFIG, "--workdir", home, *SHRUNK)
    assert_refused(run(words, **{name: value}), name, value)
    assert not home.exists()


def test_a_sweep_refuses_it_before_it_starts_workers(tmp_path):
    words = ("sweep", EXPERIMENT, "--workdir", tmp_path / "sweep", "--launcher", "local", *SHRUNK)
    assert_refused(run(words, JAX_PLATFORMS="bogus"), "JAX_PLATFORMS", "bogus")
    assert not (tmp_path / "sweep").exists()


@pytest.mark.parametrize("command", ["train", "evaluate", "predict", "export", "plan"])
def test_every_command_that_computes_refuses_it(command, tmp_path):
    (photo := tmp_path / "photo.png").touch()
    words = {
        "train": (CONFIG, "--workdir", tmp_path / "made"),
        "evaluate": (tmp_path,),
        "predict": (photo, "--weights", tmp_path),
        "export": (tmp_path, "--output", tmp_path / "made"),
        "plan": (EXPERIMENT,),
    }
    done = run((command, *words[command]), JAX_PLATFORMS="cuda")
    assert_refused(done, "JAX_PLATFORMS", "cuda")
    assert not (tmp_path / "made").exists()


@pytest.mark.slow
def test_types_of_64_bits_change_nothing(tmp_path):
    flags = os.environ["XLA_FLAGS"]  # with which other tests have compiled these programs
    for home, x64 in (("without", "0"), ("with", "1")):
        words = ("train", CONFIG, "--workdir", tmp_path / home, *SHRUNK, *SOONEST)
        done = run(words, JAX_ENABLE_X64=x64, XLA_FLAGS=flags)
        assert done.returncode == 0, done.stderr
    assert_same_run(tmp_path / "without", tmp_path / "with")
    logs = [(tmp_path / home / "metrics.jsonl").read_bytes() for home in ("without", "with")]
    assert logs[0] == logs[1]


@pytest.mark.slow
def test_no_cache_of_programs_leaves_none_in_the_current_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    environment = {"JAX_COMPILATION_CACHE_DIR": "", "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    done = run(("train", CONFIG, "--workdir", tmp_path / "run", *SHRUNK), **environment)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
