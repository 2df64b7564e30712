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
    determining = {}
    for name, value in config.flat().items():
        identity, default = SETTINGS[name].identity, SETTINGS[name].default
        if identity and not (identity == "unless_default" and value == default):
            determining[name] = plain(value)
    return digest(determining)


def split_seed(config: Config) -> int | None:
    """The seed by which the run's own split of the data is drawn; None: the split is fixed.

    Runs that train in one pack must have it in common: they share the data on the devices.
    """
    return config.seed if config.data.split_seed == "seed" else None


def shared_settings(config: Config) -> dict[str, Any]:
    """The settings that runs must have in common to train in one pack, by dotted name.

    Besides, they must have the same `split_seed`.
    """
    shared = {}
    for name, value in config.flat().items():
        in_pack = SETTINGS[name].in_pack
        if in_pack != "free":
            shared[name] = value > 0 if in_pack == "free_above_zero" else plain(value)
    return shared
