"""The user's cache directory, for files that can be made or downloaded again."""

import os
from pathlib import Path


def cache_directory() -> Path:
    """Returns this package's directory below $XDG_CACHE_HOME (if unset, ~/.cache)."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "xception_jax"
