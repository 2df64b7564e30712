"""The paper's model compiled for 16 TPU chips, which takes minutes."""

import importlib.util

import pytest

from tests.shrunk import ROOT
from xception_jax.config import load_config, resolve
from xception_jax.planning.ahead import compile_figures, lower_training
from xception_jax.planning.budget import dataset_info
from xception_jax.planning.topology import open_topology
from xception_jax.training.sharding import Layout, make_mesh

CONFIG = ROOT / "configs" / "imagenet.py"
COUNTED = 8.36e9  # multiply-adds of one image, forward: `xception-jax plan configs/imagenet.py`


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None,
    reason="needs libtpu, hundreds of megabytes: `make test-tpu` installs it",
)
def test_a_batch_of_2048_at_299_pixels_fits_sixteen_v5e():
    topology = open_topology("v5e:4x4")
    config = resolve(load_config(CONFIG), overrides=["train.batch_size=2048"])
    layout = Layout(make_mesh(topology.devices))
    figures = compile_figures(lower_training(config, dataset_info(config), layout), topology)
    assert figures.fits
    assert figures.memory_bytes < 16e9
    # Three times forward, two operations each; little else multiplies.
    assert figures.flops == pytest.approx(6 * COUNTED * 2048 / 16, rel=0.1)
    # Each gradient once, float32, and the statistics of batch normalization.
    (traffic,) = figures.traffic
    assert traffic.kind == "all-reduce"
    assert traffic.bytes == pytest.approx(4 * 22_855_952, rel=0.01)
    assert figures.gathered == ()
