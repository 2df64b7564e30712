"""The settings of a run: their one definition, how files and words set them, what names a run."""

from xception_jax.config.identity import (
    canonical_json,
    run_id,
    shared_settings,
)
from xception_jax.config.loading import (
    Settings,
    flatten,
    load_config,
    load_file,
    load_function,
    parse_override,
    read_json,
    require_settings,
    resolve,
)
from xception_jax.config.model import BlockConfig, ModelConfig, NormConfig
from xception_jax.config.schema import SETTINGS, Config

__all__ = [
    "SETTINGS",
    "BlockConfig",
    "Config",
    "ModelConfig",
    "NormConfig",
    "Settings",
    "canonical_json",
    "flatten",
    "load_config",
    "load_file",
    "load_function",
    "parse_override",
    "read_json",
    "require_settings",
    "resolve",
    "run_id",
    "shared_settings",
]
