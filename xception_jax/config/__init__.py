"""The settings of a run: their one definition, how files and words set them, what names a run."""

from xception_jax.config.identity import (
    canonical_json,
    digest,
    is_as_sealed,
    run_id,
    sealed,
    shared_settings,
)
from xception_jax.config.loading import (
    flatten,
    load_config,
    load_file,
    parse_override,
    read_json,
    require_settings,
    resolve,
    stays_inside,
)
from xception_jax.config.model import BlockConfig, ModelConfig, NormConfig
from xception_jax.config.schema import SETTINGS, Config

__all__ = [
    "SETTINGS",
    "BlockConfig",
    "Config",
    "ModelConfig",
    "NormConfig",
    "canonical_json",
    "digest",
    "flatten",
    "is_as_sealed",
    "load_config",
    "load_file",
    "parse_override",
    "read_json",
    "require_settings",
    "resolve",
    "run_id",
    "sealed",
    "shared_settings",
    "stays_inside",
]
