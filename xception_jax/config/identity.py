"""The identity of a run: its canonical JSON, its id, and the settings that a pack shares."""

import json
from typing import Any

from xception_jax.checksums import digest
from xception_jax.config.fields import plain
from xception_jax.config.schema import SETTINGS, Config


def canonical_json(config: Config) -> str:
    """The config as JSON with sorted keys, one field a line: what `config.json` holds."""
    return json.dumps(config.to_dict(), sort_keys=True, indent=2) + "\n"


def run_id(config: Config) -> str:
    """The id of a run, 64 hex digits: a hash of every setting that determines its result.

    These are all but logging, checkpointing, paths, devices and threads. Two configs with the same
    id give the same curve.
    """
    return digest(
        {name: plain(value) for name, value in config.flat().items() if SETTINGS[name].identity}
    )


def shared_settings(config: Config) -> dict[str, Any]:
    """The settings that runs must have in common to train in one pack, by dotted name."""
    shared = {}
    for name, value in config.flat().items():
        in_pack = SETTINGS[name].in_pack
        if in_pack != "free":
            shared[name] = value > 0 if in_pack == "free_above_zero" else plain(value)
    return shared
