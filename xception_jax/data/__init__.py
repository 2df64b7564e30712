"""Data sets by name, and two interchangeable pipelines that feed them to a training step.

`load` opens a data set as a `Source`, whose splits can be read in any order (`sources`).
`open_pipeline` makes batches of it, in an order that is a function of (seed, step) alone (`order`),
from memory (`in_memory`) or from disk (`streaming`). `gather`, `augment` and `normalize` run inside
the compiled step.
"""

from xception_jax.data.augmentation import augment, gather, normalize
from xception_jax.data.opening import lies_in_memory, open_pipeline
from xception_jax.data.pipeline import Batch, DatasetInfo, Pipeline, describe_source
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
    "describe_source",
    "gather",
    "lies_in_memory",
    "list_datasets",
    "load",
    "normalize",
    "open_pipeline",
    "prepare",
]
