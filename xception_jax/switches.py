"""Reads the environment variables that switch a feature on or off."""

import os

from xception_jax.errors import require_choice


def is_on(name: str) -> bool:
    """Whether the variable `name` is "on", as it is where nobody has set it.

    Raises:
        InputError: it is neither "on" nor "off".
    """
    setting = os.environ.get(name, "on")
    require_choice(name, setting, ("on", "off"))
    return setting == "on"
