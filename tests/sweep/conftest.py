"""The real experiment, shrunk to seconds."""

from pathlib import Path

import jax
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True, scope="session")
def caches(tmp_path_factory):
    """Keeps compiled programs off the user's cache."""
    home = tmp_path_factory.mktemp("cache")
    patch = pytest.MonkeyPatch()
    patch.setenv("XDG_CACHE_HOME", str(home))
    jax.config.update("jax_compilation_cache_dir", str(home / "xception_jax" / "programs"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


@pytest.fixture(scope="session")
def experiment() -> Path:
    return ROOT / "experiments" / "nonlinearity.py"


@pytest.fixture(scope="session")
def shrunk_words() -> tuple[str, ...]:
    """Overrides that shrink an experiment to 6 steps of a tiny model a run."""
    return (
        "data.name=digits",
        "data.image_size=8",
        "data.train_examples=96",
        "model.width=0.25",
        "model.middle_modules=0",
        "train.batch_size=32",
        "train.epochs=2",
        "train.log_every_steps=2",
        "wandb.mode=disabled",
    )
