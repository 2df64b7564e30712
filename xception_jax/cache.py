"""Where this user's machine keeps what can be made or fetched anew."""

import os
from pathlib import Path


def cache_directory() -> Path:
    """XDG_CACHE_HOME names another than ~/.cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "xception_jax"
