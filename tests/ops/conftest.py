"""Fixtures that build the C++ kernels for these tests alone.

They are not built into the cache directory of the test run, where it would depend on the order of
tests whether others find them; nor into the user's, whose content must not affect the tests. They
are built once, into pytest's own cache: for another compiler, run pytest with --cache-clear.
"""

import fcntl
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from xception_jax.ops import convolution, depthwise, native, normalization
from xception_jax.ops.native.building import build, compiler


@pytest.fixture(scope="session")
def kernels_home(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An XDG_CACHE_HOME with the kernels and nothing else."""
    assert pytestconfig.cache is not None
    built = pytestconfig.cache.mkdir("kernels")
    with (built / "lock").open("w") as lock:  # to build takes 20 seconds of all cores
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not any(built.glob(f"{native.version()}-*.so")):
            build(built)
    home = tmp_path_factory.mktemp("with_kernels")
    directory = home / "xception_jax" / "kernels"
    directory.mkdir(parents=True)
    for library in built.glob(f"{native.version()}-*.so"):
        shutil.copy(library, directory)
    return home


@pytest.fixture(scope="module")
def kernels(request: pytest.FixtureRequest) -> Iterator[None]:
    """Registers the implementation "native", as if the kernels had been built before the import."""
    if compiler() is None:
        yield  # the tests that need them skip themselves
        return
    home = request.getfixturevalue("kernels_home")
    (library,) = (home / "xception_jax" / "kernels").glob(f"{native.version()}-*.so")
    assert native.load(library)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(depthwise.DEPTHWISE_IMPLEMENTATIONS, "native", depthwise._native)
        patch.setitem(convolution.CONVOLUTION_IMPLEMENTATIONS, "native", convolution._native)
        patch.setitem(normalization.NORM_IMPLEMENTATIONS, "native", normalization._native)
        yield
