"""The cache of traced programs: an entry is found again, and never taken for another one."""

from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xception_jax.config import resolve
from xception_jax.data import DatasetInfo
from xception_jax.runtime import run_directory
from xception_jax.runtime import traced as module
from xception_jax.runtime.traced import traced
from xception_jax.training.compile import compile_train_steps, initial_state, shapes_of
from xception_jax.training.setup import make_step_spec
from xception_jax.training.sharding import Layout, make_mesh
from xception_jax.training.state import hyperparameters

ARGUMENT = jax.ShapeDtypeStruct((3,), jnp.float32)


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """The empty directory of the cache."""
    monkeypatch.setattr(module, "_compiled_programs", lambda: str(tmp_path))
    return tmp_path / "traced"


def doubled(about):
    """Twice 0, 1, 2, computed by a cached program."""
    (values,) = jax.jit(traced(lambda x: [x * 2], [ARGUMENT], about))(jnp.arange(3.0))
    return values


def test_what_was_traced_before_is_not_traced_again(kept):
    np.testing.assert_array_equal(doubled(["double"]), [0, 2, 4])

    def never(x):
        raise AssertionError("traced again")

    (again,) = traced(never, [ARGUMENT], ["double"])(jnp.arange(3.0))
    np.testing.assert_array_equal(again, [0, 2, 4])
    assert len(list(kept.iterdir())) == 1


@pytest.mark.parametrize("changed", ["about", "code", "versions", "options", "shape"])
def test_whatever_can_change_the_program_has_it_traced_again(kept, monkeypatch, changed):
    doubled(["double"])
    shape, about, precision = (3,), ["double"], None
    if changed == "about":
        about = ["double", "otherwise"]
    elif changed == "code":
        monkeypatch.setattr(module, "package_digest", lambda: "other")
    elif changed == "versions":
        monkeypatch.setattr(run_directory, "versions", lambda: {"jax": "other"})
    elif changed == "options":
        precision = "highest"
    else:
        shape = (4,)
    with jax.default_matmul_precision(precision):
        traced(lambda x: [x * 2], [jax.ShapeDtypeStruct(shape, jnp.float32)], about)
    assert len(list(kept.iterdir())) == 2


@pytest.mark.parametrize("damage", [b"", b"x" * 31, None])
def test_a_damaged_file_is_traced_anew(kept, damage):
    doubled(["double"])
    (path,) = kept.iterdir()
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"?" if damage is None else damage)
    np.testing.assert_array_equal(doubled(["double"]), [0, 2, 4])
    assert path.stat().st_size > 100


def test_a_directory_that_cannot_be_written_is_done_without(kept):
    kept.write_text("in the way")
    np.testing.assert_array_equal(doubled(["double"]), [0, 2, 4])


def test_only_programs_for_these_processors_are_kept(kept, monkeypatch):
    assert module.keeps(jax.devices())
    assert not module.keeps([*jax.devices(), SimpleNamespace(platform="gpu")])
    monkeypatch.setattr(module, "_compiled_programs", lambda: "gs://bucket/programs")
    assert not module.keeps(jax.devices())
    for nowhere in (None, ""):
        monkeypatch.setattr(module, "_compiled_programs", lambda: nowhere)  # noqa: B023
        assert not module.keeps(jax.devices())


def made_program():
    settings = {
        "model.name": "alexnet_tiny", "data.image_size": 28, "train.batch_size": 4,
        "model.dropout": 0.2, "model.fully_connected": [], "optimizer.name": "rmsprop",
        "optimizer.decay_rate": 0.9,
    }  # fmt: skip
    config = resolve({}, settings)
    info = DatasetInfo("made up", tuple("abc"), (28, 28, 1), {"train": 40, "valid": 4, "test": 4})
    layout = Layout(make_mesh(jax.devices()[:1]))
    return config, make_step_spec(config, info), layout


def test_steps_of_a_traced_program_are_those_of_the_program_itself(kept, monkeypatch):
    config, program, layout = made_program()
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (1, 4, 28, 28, 1), dtype=np.uint8)
    labels = np.array([[0, 1, 2, 0]], np.int32)
    rows = layout.put({"image": images, "label": labels}, layout.steps_spec)
    own = layout.stack([hyperparameters(config)])
    ends = []
    for keep in (True, False):
        monkeypatch.setattr("xception_jax.training.compile.keeps", lambda _, keep=keep: keep)
        compile_train_steps.cache_clear()
        step = compile_train_steps(program, layout, shapes_of({}), shapes_of(rows))
        state, active, count = layout.stack([(program.init(1), np.bool_(True), jnp.int32(1))])
        for _ in range(3):
            state, outcome = step(state, active, {}, rows, count, own)
        ends.append(jax.device_get((state, outcome)))
    compile_train_steps.cache_clear()
    assert kept.is_dir()
    jax.tree.map(np.testing.assert_array_equal, *ends)


def test_the_compiled_initial_state_is_what_each_part_draws_alone(kept):
    _, program, _ = made_program()
    state, drawn = jax.device_get((initial_state(program, 7), program.init(7)))
    # The rounding of a fused product depends on the processor: 8 units in the last place.
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6), state, drawn)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), state) == jax.tree.map(
        lambda x: (x.shape, x.dtype), program.shapes()
    )
