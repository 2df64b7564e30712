"""Programs for a GPU ask for deterministic operations, unless they are given up, which is recorded.

No GPU is needed: it is the options that are checked, and that the compiler knows them.
"""

import json

import jax
import jax.numpy as jnp
import pytest

from tests.shrunk import CONFIG, SHRUNK
from xception_jax.config import load_config, resolve
from xception_jax.errors import InputError
from xception_jax.runtime.determinism import deterministic_options, is_deterministic
from xception_jax.runtime.numerics import numerical_options
from xception_jax.training import compile as compiling
from xception_jax.training.setup import make_step_spec, open_data

OPTION = {"xla_gpu_deterministic_ops": True}


@pytest.mark.parametrize(
    ("value", "platform", "options"),
    [
        (None, "gpu", OPTION),
        ("on", "gpu", OPTION),
        ("off", "gpu", {}),
        (None, "cpu", {}),
        (None, "tpu", {}),
    ],
)
def test_only_gpus_are_asked(value, platform, options, monkeypatch):
    monkeypatch.delenv("XCEPTION_JAX_DETERMINISTIC", raising=False)
    if value is not None:
        monkeypatch.setenv("XCEPTION_JAX_DETERMINISTIC", value)
    assert deterministic_options(platform) == options
    assert is_deterministic() == (value != "off")


def test_the_compiler_knows_the_option():
    """XLA refuses the name of an option that it does not have, whatever the platform."""
    compiled = jax.jit(jnp.sum, compiler_options=OPTION).lower(jnp.ones(3)).compile()
    assert compiled(jnp.ones(3)) == 3
    with pytest.raises(jax.errors.JaxRuntimeError, match="xla_gpu_no_such_option"):
        jax.jit(jnp.sum, compiler_options={"xla_gpu_no_such_option": True})(jnp.ones(3))


def test_programs_are_compiled_with_the_option(monkeypatch):
    """This CPU stands in for a GPU: its programs then ask for the option."""
    monkeypatch.delenv("XCEPTION_JAX_DETERMINISTIC", raising=False)
    asked, jit = [], jax.jit

    def spied(*functions, **options):
        asked.append(options.get("compiler_options", {}))
        return jit(*functions, **options)

    monkeypatch.setattr(compiling, "deterministic_options", lambda _: deterministic_options("gpu"))
    monkeypatch.setattr(jax, "jit", spied)
    config = resolve(load_config(CONFIG), overrides=SHRUNK)
    step_spec = make_step_spec(config, open_data(config).info)
    compiling.compile_initial_state.__wrapped__(step_spec)
    assert asked[-1].items() >= OPTION.items()


@pytest.mark.slow
def test_what_is_given_up_is_recorded(call, tmp_path, monkeypatch):
    monkeypatch.delenv("XCEPTION_JAX_DETERMINISTIC", raising=False)
    words = ("train", CONFIG, *SHRUNK, "--workdir")
    assert call(*words, tmp_path / "on")[0] == 0
    monkeypatch.setenv("XCEPTION_JAX_DETERMINISTIC", "off")
    assert call(*words, tmp_path / "off")[0] == 0
    for name in ("on", "off"):
        record = json.loads((tmp_path / name / "run.json").read_text())
        assert record["deterministic"] is (name == "on")
        assert record["options"] == numerical_options()


def test_another_value_is_refused_in_one_line(call, tmp_path, monkeypatch):
    monkeypatch.setenv("XCEPTION_JAX_DETERMINISTIC", "of")
    code, _, err = call("train", CONFIG, "--workdir", tmp_path / "w", *SHRUNK)
    assert (code, err.count("\n")) == (2, 1)
    assert "XCEPTION_JAX_DETERMINISTIC='of'" in err
    assert "'off'" in err
    assert not (tmp_path / "w").exists()
    with pytest.raises(InputError):
        deterministic_options("gpu")
