"""timm's layout against an independent implementation: names, logits and errors."""

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.pretrained import timm_layout
from tests.weight_files import SMALL, assert_equal, random_model, read, values_of
from xception_jax.errors import InputError
from xception_jax.models import model_function
from xception_jax.pretrained import TIMM, WeightsMismatch, load_weights
from xception_jax.pretrained.importing import initial_from
from xception_jax.pretrained.layers import array_paths, layer_table


@pytest.fixture
def state(rng) -> dict[str, np.ndarray]:
    return timm_layout.small_state(rng)


def test_the_whole_models_table_has_timms_names():
    function = model_function("xception")
    ours = {
        f"{layer.torch}.{variable.torch}"
        for layer in layer_table(function)
        for variable in array_paths(function, layer).values()
    }
    theirs = {name for name in timm_layout.shapes() if not name.endswith("num_batches_tracked")}
    assert ours == theirs
    trained = [n for n in timm_layout.shapes() if n.endswith(("weight", "bias"))]
    assert sum(np.prod(timm_layout.shapes()[name]) for name in trained) == 22_855_952


@pytest.mark.parametrize("size", [71, 75])  # pools of odd and of even sizes
def test_the_logits_are_timms(state, rng, tmp_path, size):
    save_file(state, tmp_path / "t.safetensors")
    model = random_model(rng, padding="torch", norm_epsilon=timm_layout.EPSILON)
    load_weights(model, tmp_path / "t.safetensors", source=TIMM)
    images = rng.uniform(-1, 1, (2, size, size, 3)).astype(np.float32)
    theirs = np.asarray(jax.jit(timm_layout.logits)(state, images.transpose(0, 3, 1, 2)))
    error = np.max(np.abs(np.asarray(jax.jit(model)(images)) - theirs))
    print(f"max abs error {error:.3g} of logits of size {np.max(np.abs(theirs)):.3g}")
    assert np.std(theirs[0] - theirs[1]) > 2e-4 * np.max(np.abs(theirs))
    assert error < 1e-5 * np.max(np.abs(theirs))  # float32's 6e-8 through 17 layers


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({}, r"norm_epsilon=1e-05 and padding='torch', .*norm_epsilon=0\.001 and padding='same'"),
        ({"norm_epsilon": 1e-5}, r"padding='torch', .*padding='same'"),
        ({"padding": "torch"}, r"norm_epsilon=1e-05, .*norm_epsilon=0\.001"),
    ],
)
def test_a_model_that_computes_something_else_is_refused(state, rng, tmp_path, settings, named):
    save_file(state, path := tmp_path / "t.safetensors")
    model = random_model(rng, **settings)
    before = values_of(model)
    with pytest.raises(InputError, match=named):
        load_weights(model, path)
    assert_equal(values_of(model), before)
    with pytest.raises(InputError, match=named):
        initial_from(path, model_function("xception", **SMALL, **settings))


def test_half_precision_is_read_and_counters_need_not_be_there(state, tmp_path):
    half = {
        name: value.astype(np.float16)
        for name, value in state.items()
        if not name.endswith("num_batches_tracked")
    }
    save_file(half, tmp_path / "h.safetensors")
    values = read(tmp_path / "h.safetensors")
    kernel = half["block1.rep.0.pointwise.weight"].astype(np.float32)
    assert np.array_equal(
        values["entry/0/convolutions/0/pointwise_kernel"], kernel.transpose(2, 3, 1, 0)
    )


def test_every_difference_is_listed(state, tmp_path):
    del state["block4.rep.4.conv1.weight"], state["bn3.running_var"]
    state["fc.weight"] = state["fc.weight"][:-1]
    state["block1.skip.weight"] = state["block1.skip.weight"].astype(np.int32)
    state |= {"aux.weight": np.zeros(3, np.float32), "conv1.bias": np.zeros(2, np.float32)}
    save_file(state, tmp_path / "t.safetensors")
    with pytest.raises(WeightsMismatch) as caught:
        read(tmp_path / "t.safetensors")
    error = caught.value
    assert [name.split()[0] for name in error.missing] == [
        "middle/0/convolutions/1/spatial_kernel",
        "exit/1/norms/0/variance",
    ]
    assert set(error.surplus) == {"aux.weight", "conv1.bias"}
    assert len(error.reshaped) == 2
    assert any("fc.weight (6, 102) instead of (7, 102)" in text for text in error.reshaped)
    assert any("block1.skip.weight int32" in text for text in error.reshaped)
    text = str(error)
    for name in (*error.missing, *error.surplus, *error.reshaped):
        assert name in text
    assert "\n" not in text


def test_a_model_without_names_in_pytorch_is_refused(state, tmp_path):
    save_file(state, tmp_path / "t.safetensors")
    with pytest.raises(InputError, match="Xception only"):
        read(tmp_path / "t.safetensors", model_function("inception_tiny"))


def test_another_source_than_the_one_asked_for_is_refused(state, rng, tmp_path):
    save_file(state, tmp_path / "t.safetensors")
    with pytest.raises(InputError, match="has the format of timm"):
        load_weights(random_model(rng), tmp_path / "t.safetensors", source="keras")
