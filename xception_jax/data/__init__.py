"""Data sets by name, and two pipelines with one contract that feed them to a training step.

A set becomes a `Source` (`sources`), its splits readable in any order; `open_pipeline` makes of it
batches whose order is a function of (seed, step) alone (`order`), from memory (`in_memory`) or from
disk (`streaming`). `gather`, `augment` and `normalize` are the part inside the compiled step.
"""

from xception_jax.data.augmentation import augment, gather, normalize
from xception_jax.data.opening import lies_in_memory, open_pipeline
from xception_jax.data.pipeline import Batch, DatasetInfo, Pipeline
from xception_jax.data.sources import DatasetRow, list_datasets, load, prepare
from xception_jax.data.splits import Source, Split

__all__ = [
    "Batch",
    "DatasetInfo",
    "DatasetRow",
    "Pipeline",
    "Source",
    "Split",
    "augment",
    "gather",
    "lies_in_memory",
    "list_datasets",
    "load",
    "normalize",
    "open_pipeline",
    "prepare",
]
