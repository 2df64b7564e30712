"""What names a run and its files: canonical JSON, digests, the run id, what a pack shares."""

import json
from typing import Any

from xception_jax.checksums import digest
from xception_jax.config.fields import plain
from xception_jax.config.schema import SETTINGS, Config


def canonical_json(config: Config) -> str:
    """The config as JSON with sorted keys, one field a line: what `config.json` holds."""
    return json.dumps(config.to_dict(), sort_keys=True, indent=2) + "\n"


def run_id(config: Config) -> str:
    """64 hex digits that name the run's result.

    A hash of every setting that determines the result: all but logging, checkpointing, paths,
    devices and threads. Two configs with the same id give the same curve.
    """
    return digest(
        {name: plain(value) for name, value in config.flat().items() if SETTINGS[name].identity}
    )


def shared_settings(config: Config) -> dict[str, Any]:
    """What two runs must have in common to train in one pack, by dotted name."""
    shared = {}
    for name, value in config.flat().items():
        in_pack = SETTINGS[name].in_pack
        if in_pack != "free":
            shared[name] = value > 0 if in_pack == "free_above_zero" else plain(value)
    return shared
