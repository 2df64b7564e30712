"""Settings for every test: CPU, no network, nothing written outside the test's own directory."""

import atexit
import contextlib
import gc
import io
import json
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.programs import Call

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["WANDB_MODE"] = "offline"  # also where the environment says otherwise
os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.pop("JAX_COMPILATION_CACHE_DIR", None)
# Most of the suite's time goes into compiling programs that run a few steps. Without LLVM's work on
# the same operations, tests/models took 205 s of processor time, and 270 s with as much of it as at
# level 1; tests/ops 155 and 180 (n = 1, two cores).
# One device, however many cores there are: what a sweep's packs are spread over changes their bits.
os.environ.setdefault(
    "XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_force_host_platform_device_count=1"
)

# Tracing makes many objects, few of them garbage that only a collection finds: fewer collections
# take 4% less processor time (tests/models/test_models_functional.py and
# tests/training/test_training_packs.py, 102 s instead of 106, n = 1).
gc.set_threshold(50_000, 20, 100)

# Eight devices: a pytest process of its own, which names the folder (`make test`).
collect_ignore = ["multi_device"]

# A cache of compiled programs for all processes of these tests, and none of the user's: nor the
# user's kernels, which decide what `xception_jax.ops` has when it is imported.
if "PYTEST_XDIST_WORKER" not in os.environ:
    os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="xception-jax-tests-")
    atexit.register(shutil.rmtree, os.environ["XDG_CACHE_HOME"], ignore_errors=True)


@pytest.fixture(autouse=True, scope="session")
def compiled_programs() -> None:
    import jax

    cache = Path(os.environ["XDG_CACHE_HOME"]) / "xception_jax" / "programs"
    jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


@pytest.fixture(scope="session")
def call() -> Call:
    """`call("status", …)`: exit code, standard output and standard error of the command."""
    from xception_jax import cli

    def call(*words: object) -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        with (
            pytest.MonkeyPatch.context() as patch,
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            pytest.raises(SystemExit) as ended,
        ):
            patch.setattr(sys, "argv", ["xception-jax", *map(str, words)])
            cli.main()
        assert isinstance(ended.value.code, int)
        return ended.value.code, out.getvalue(), err.getvalue()

    return call


@pytest.fixture
def unchecked_types() -> Iterator[None]:
    """Annotations are not checked: for tests of what the code itself says of wrong types."""
    import jaxtyping

    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def undrawn_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports make their figures without laying them out and drawing them, the most of their time.

    For tests of what a report says; tests/report has those of its figures.
    """
    svg = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"/>'

    def save(_: object, *kinds: str) -> dict[str, bytes]:
        return dict.fromkeys(kinds, svg)

    monkeypatch.setattr("xception_jax.report.export._save", save)


@pytest.fixture
def unsearched_divergence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training does not search where a run diverged, which compiles a program for each arm.

    For tests of what follows from it; tests/training/test_training_divergence.py has the search.
    """
    from xception_jax.training.divergence import Origin

    found = Origin(None, "not searched")
    monkeypatch.setattr("xception_jax.training.loop.find_origin", lambda *_: found)


@pytest.fixture
def rng() -> np.random.Generator:
    """Fresh inputs on every run; the seed is printed when a test fails."""
    seed = int.from_bytes(os.urandom(4), "little")
    print(f"numpy seed {seed}")
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def module_seed() -> int:
    """The seed of a module's own fixtures; each of its tests that fails shows it."""
    return int.from_bytes(os.urandom(4), "little")


@pytest.fixture(autouse=True)
def shown_module_seed(request: pytest.FixtureRequest) -> None:
    """Prints the seed of a module's fixtures in every test that uses one of them."""
    if "module_seed" in request.fixturenames:
        print("module seed", request.getfixturevalue("module_seed"))


@pytest.fixture(autouse=True, scope="session")
def wandb_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keeps wandb off the home directory of whoever runs the tests, and off their key."""
    home = tmp_path_factory.mktemp("wandb_home")
    patch = pytest.MonkeyPatch()
    for name in ("CACHE", "CONFIG", "DATA"):
        patch.setenv(f"WANDB_{name}_DIR", str(home / name.lower()))
    patch.setenv("NETRC", str(home / "netrc"))
    patch.delenv("WANDB_API_KEY", raising=False)
    return home


@pytest.fixture(scope="session")
def weight_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The content of a small weight file of each kind, by the end of its name."""
    from safetensors.numpy import save

    from tests.weight_files import random_model
    from xception_jax.pretrained import save_keras_weights

    home = tmp_path_factory.mktemp("weights")
    save_keras_weights(random_model(np.random.default_rng(0)), home / "a.weights.h5")
    with zipfile.ZipFile(home / "a.keras", "w") as archive:
        archive.write(home / "a.weights.h5", "model.weights.h5")
        archive.writestr("config.json", json.dumps({"class_name": "Functional", "config": {}}))
    tensors: dict[str, np.ndarray] = {
        "a.weight": np.ones((3, 4), np.float32),
        "b": np.zeros((2,), np.float16),
    }
    return {
        ".weights.h5": (home / "a.weights.h5").read_bytes(),
        ".keras": (home / "a.keras").read_bytes(),
        ".safetensors": save(tensors),
    }
