"""The check that a run goes on, or has ended, with the data that it began with."""

from collections.abc import Mapping, Sequence
from typing import Any

from xception_jax.config import Config
from xception_jax.data import Pipeline
from xception_jax.errors import InputError
from xception_jax.records import data_differences
from xception_jax.runtime import hosts


def require_same_data(
    configs: Sequence[Config],
    records: Sequence[Mapping[str, Any]],
    pipelines: Sequence[Pipeline],
) -> None:
    """Checks that runs have the data that they began with, the same on all hosts.

    Args:
        configs: configs of the runs.
        records: content of the `run.json` of each; one that recorded no data passes.
        pipelines: the data of each as it is now.

    Raises:
        InputError: a split is not the one that the run began with, or that another process reads.
    """

    def compare_with_records() -> None:
        for config, record, pipeline in zip(configs, records, pipelines, strict=True):
            recorded = record.get("data")
            if isinstance(recorded, Mapping):
                _require_alike(config, recorded, pipeline, "the run began with, says its run.json")

    hosts.all_or_raise(compare_with_records)
    if hosts.several():
        reads = hosts.all_or_raise(lambda: [p.fingerprint().describe() for p in pipelines])
        first_reads = hosts.gather(reads)[0]

        def compare_with_first() -> None:
            for config, expected, pipeline in zip(configs, first_reads, pipelines, strict=True):
                _require_alike(config, expected, pipeline, "process 0 reads")

        hosts.all_or_raise(compare_with_first)


def _require_alike(
    config: Config, expected: Mapping[str, Any], pipeline: Pipeline, whose: str
) -> None:
    differences = data_differences(expected, pipeline.fingerprint().describe())
    if differences:
        split, what = next(iter(differences.items()))
        others = ", ".join(other for other in differences if other != split)
        reason = (
            f"the {split} split is not the one that {whose}: other {' and '.join(what)}"
            f"{others and f' (likewise {others})'}"
        )
        directory = config.data.directory
        field = "data.name" if directory is None else "data.directory"
        raise InputError(field, directory or config.data.name, reason)
