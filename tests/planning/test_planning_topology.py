"""Names of TPU topologies, the compiler's errors on memory, and rooflines."""

import importlib.util
from math import prod

import pytest

from tests.shrunk import ROOT
from xception_jax.errors import InputError
from xception_jax.planning import topology
from xception_jax.planning.roofline import CHIPS, roofline
from xception_jax.planning.topology import needed_and_available, open_topology


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("v5e", "v5e:4x4"),
        ("v5litepod-8", "v5e:2x4"),
        ("v5e_4x8", "v5e:4x8"),
        ("V6E:16x16", "v6e:16x16"),
        ("v4:4x4x4x1", "v4:4x4x4"),
        ("banana:2x2", None),
    ],
)
def test_a_name_that_does_not_exist_is_answered_with_one_that_does(name, nearest):
    with pytest.raises(InputError, match="no such TPU topology") as raised:
        open_topology(name)
    assert raised.value.nearest == nearest


def test_without_the_compiler_the_message_says_how_to_get_it(monkeypatch, call):
    monkeypatch.setattr(topology, "find_spec", lambda name: None)
    code, out, err = call("plan", ROOT / "configs" / "imagenet.py", "--topology", "v5e:4x4")
    assert (code, out) == (2, "")
    assert err == (
        "xception-jax: --topology='v5e:4x4': needs the TPU compiler, which is not installed: "
        'pip install "jax[tpu]"\n'
    )


def test_the_compilers_complaints_are_read():
    """The messages are those of libtpu 0.0.42; any other one is not about memory."""
    message = (
        "RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 17.61G of 15.75G hbm."
    )
    assert needed_and_available(message) == (17.61 * 2**30, 15.75 * 2**30)
    message = "total memory required for HLO temporaries (8.00T) exceeds available HBM (15.75G)."
    assert needed_and_available(message) == (8 * 2**40, 15.75 * 2**30)
    assert needed_and_available("INTERNAL: Mosaic failed to compile") is None


def test_the_longest_side_binds():
    chip = CHIPS["v5e"]
    step = roofline(chip, flops=197e12, memory_bytes=2 * 819e9, sent_bytes=10e9)
    assert (step.arithmetic, step.memory, step.links) == (1.0, 2.0, 0.05)
    assert (step.seconds, step.bound) == (2.0, "memory")
    assert roofline(chip, flops=3, memory_bytes=0, sent_bytes=0).bound == "arithmetic"
    assert roofline(chip, flops=0, memory_bytes=0, sent_bytes=1).bound == "links"


def test_every_generation_has_its_figures():
    assert set(CHIPS) == set(topology.SLICES)


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None,
    reason="needs libtpu, hundreds of megabytes: `make test-tpu` installs it",
)
def test_the_compiler_knows_the_slices_that_are_rented():
    known = {"v4": 32e9, "v5e": 16e9, "v5p": 95e9, "v6e": 32e9}
    for generation, slices in topology.SLICES.items():
        for slice_ in (slices[0], slices[3]):
            opened = open_topology(f"{generation}:{slice_}")
            assert len(opened.devices) == prod(map(int, slice_.split("x")))
            # Gigabytes may be powers of two, which are 7% larger.
            assert opened.memory_bytes == pytest.approx(known[generation], rel=0.1)
    with pytest.raises(InputError) as raised:
        open_topology("v5e:4x5")
    assert raised.value.nearest == "v5e:4x4"
