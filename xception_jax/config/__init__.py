"""The settings of a run: their one definition, how files and words set them, what names a run."""

from xception_jax.config.loading import (
    canonical_json,
    digest,
    flatten,
    is_as_sealed,
    load_config,
    load_file,
    load_function,
    parse_override,
    read_json,
    require_settings,
    resolve,
    run_id,
    sealed,
    stays_inside,
)

__all__ = [
    "canonical_json",
    "digest",
    "flatten",
    "is_as_sealed",
    "load_config",
    "load_file",
    "load_function",
    "parse_override",
    "read_json",
    "require_settings",
    "resolve",
    "run_id",
    "sealed",
    "stays_inside",
]
