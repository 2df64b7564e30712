"""Fixtures of the data tests: the shipped data set, prepared once."""

import pytest


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Directory of prepared data sets that holds fashion_mnist_mini."""
    from xception_jax.data import prepare

    directory = tmp_path_factory.mktemp("prepared")
    prepare("fashion_mnist_mini", str(directory))
    return str(directory)
