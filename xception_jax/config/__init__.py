"""The settings of a run: their definitions, their loading from files and words, and the run id."""

from xception_jax.config.identity import (
    canonical_json,
    run_id,
    shared_settings,
    split_seed,
)
from xception_jax.config.loading import (
    flatten,
    load_config,
    load_function,
    parse_override,
    read_json,
    resolve,
)
from xception_jax.config.model import BlockConfig, ModelConfig, NormConfig
from xception_jax.config.schema import SETTINGS, Config, DataConfig

__all__ = [
    "SETTINGS",
    "BlockConfig",
    "Config",
    "DataConfig",
    "ModelConfig",
    "NormConfig",
    "canonical_json",
    "flatten",
    "load_config",
    "load_function",
    "parse_override",
    "read_json",
    "resolve",
    "run_id",
    "shared_settings",
    "split_seed",
]
