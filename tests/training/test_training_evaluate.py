"""Tests of what the evaluation step is given of a data set."""

import numpy as np
import pytest

from xception_jax.data import Pipeline, open_pipeline
from xception_jax.training.compile import shapes_of
from xception_jax.training.evaluate import evaluation_arrays


@pytest.fixture
def pipeline(monkeypatch) -> Pipeline:
    """Digits in memory, with a test split of 50 and a validation split of 90."""
    opened = open_pipeline(
        name="digits", image_size=8, validation_fraction=0.05, batch_size=4, seed=0
    )
    few = {name: values[:50] for name, values in opened.device_data["test"].items()}
    monkeypatch.setitem(opened.device_data, "test", few)  # the arrays are kept between tests
    assert len(opened.device_data["valid"]["label"]) == 90
    return opened


def test_one_program_evaluates_splits_of_any_size(pipeline):
    valid, test = (evaluation_arrays(pipeline, split) for split in ("valid", "test"))
    assert shapes_of(valid) == shapes_of(test)
    for split, arrays in (("valid", valid), ("test", test)):
        for name, values in pipeline.device_data[split].items():
            np.testing.assert_array_equal(arrays[name][: len(values)], values)


def test_the_longest_split_has_no_rows_added(pipeline):
    for split in ("train", "valid"):
        assert shapes_of(evaluation_arrays(pipeline, split)) == shapes_of(
            pipeline.device_data[split]
        )


def test_images_that_stream_are_not_copied():
    opened = open_pipeline(name="digits", image_size=8, pipeline="streaming", batch_size=4, seed=0)
    assert evaluation_arrays(opened, "valid") == {}
