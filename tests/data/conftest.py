"""What the tests of data share: the shipped set prepared once."""

import pytest


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A directory of prepared data sets with fashion_mnist_mini in it."""
    from xception_jax.data import prepare

    directory = tmp_path_factory.mktemp("prepared")
    prepare("fashion_mnist_mini", str(directory))
    return str(directory)
