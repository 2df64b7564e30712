"""Where a run diverged: the module that is named is the one that was broken on purpose."""

import json
from contextlib import closing
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xception_jax.models import list_models, model_function
from xception_jax.runtime.finite_checks import checked_calls
from xception_jax.training import RunNames, RunSpec, train_together
from xception_jax.training.divergence import find_origin
from xception_jax.training.setup import make_step_spec, open_data

# What changes no compiled program.
WILD = ("optimizer.learning_rate=1e3", "optimizer.weight_decay=10")


@pytest.fixture(scope="module")
def broken(shrunk):
    """`broken({"exit/0/…/kernel": np.nan}, "key=value", …)`: what is found of such multiples."""

    def broken(factors, *words):
        config = shrunk(*words)
        with closing(open_data(config)) as pipeline:
            program = make_step_spec(config, pipeline.info)
            state = program.init(0)
            parameters = dict(state.parameters)
            for path, factor in factors.items():
                parameters[path] = parameters[path] * jnp.float32(factor)
            return str(find_origin(config, pipeline, replace(state, parameters=parameters)))

    return broken


@pytest.mark.parametrize(
    ("factors", "found"),
    [
        ({"entry/0/convolutions/1/pointwise_kernel": np.nan}, "output of entry/0/convolutions/1 "),
        ({"exit/1/norms/0/scale": np.inf}, "output of exit/1/norms/0 (BatchNorm)"),
        # An infinite variance makes zeros of what it normalizes: no output shows it. (Of larger
        # values the square of the mean overflows too, and what infinity less infinity is given
        # depends on whether the compiler joins the product and the difference.)
        ({"stem/0/kernel": 2e19}, "statistics of stem_norms/0 (BatchNorm)"),
        # A pool follows this one.
        (
            {"entry/0/convolutions/1/pointwise_kernel": 3e19},
            "statistics of entry/0/norms/1 (BatchNorm)",
        ),
        ({"classifier/bias": np.nan}, "output of classifier (Dense)"),
        # The largest float32 is 3e38: so large a gradient is finite and its square is not.
        ({"classifier/kernel": 1e30}, "the norm of the gradient"),
        ({}, "nothing when the step is taken again"),
    ],
)
def test_the_first_module_is_named(factors, found, broken):
    assert broken(factors).startswith(found)


@pytest.mark.parametrize("name", [name for name in list_models() if name.endswith("_tiny")])
def test_every_module_with_parameters_is_checked(name):
    function = model_function(name, num_classes=10)
    checked: set[str] = set()

    def call(parameters, batch_stats, images):
        model = function.bind(parameters, batch_stats)
        with checked_calls(model) as checks:
            logits = model(images, train=True)
        checked.update(module.rpartition(" ")[0] for module, what, _ in checks if what == "output")
        return logits

    jax.eval_shape(call, *function.shapes(), jax.ShapeDtypeStruct((2, 28, 28, 3), jnp.float32))
    assert {leaf.path.rpartition("/")[0] for leaf in function.parameters} <= checked


@pytest.mark.slow
def test_a_run_without_dropout_is_searched_too(broken):
    factors = {"classifier/bias": np.nan}
    assert broken(factors, "model.dropout=0").startswith("output of classifier (Dense)")


@pytest.mark.slow
def test_a_module_that_is_computed_again_is_named_too(broken):
    factor = {"middle/1/convolutions/0/pointwise_kernel": np.nan}
    words = ("model.middle_modules=3", "model.rematerialize=true", "train.accumulation_steps=2")
    assert broken(factor, *words).startswith("output of middle/1/convolutions/0 (")


def test_a_cause_that_cannot_be_looked_for_is_said(broken, monkeypatch):
    def fail(*_, **__):
        raise MemoryError

    monkeypatch.setattr("xception_jax.training.divergence.checked_calls", fail)
    assert broken({}) == "cannot be found (MemoryError)"


def test_a_run_says_where_it_diverged(run, tmp_path):
    written = run(tmp_path, *WILD)
    found = written["divergence"]
    assert written["status"] == "diverged"
    assert found["module"] is not None
    saved = sorted(int(path.name) for path in (tmp_path / "checkpoints").iterdir())
    assert found["checkpoint"] == saved[-1] < found["step"]
    assert written["reason"] == (
        f"not finite at step {found['step']}, where the learning rate is "
        f"{found['learning_rate']:.4g}; first: {found['what']} of {found['module']}; "
        f"last checkpoint: step {saved[-1]}"
    )
    assert written == json.loads((tmp_path / "run.json").read_text())


@pytest.mark.slow
def test_in_a_pack_the_slot_that_diverged_is_looked_at(shrunk, tmp_path):
    """The same step, rate and module as alone."""
    words = ((), WILD)
    runs = [
        RunSpec(shrunk(*own), tmp_path / str(n), RunNames(str(n))) for n, own in enumerate(words)
    ]
    fine, diverged = train_together(runs, 2)
    alone = RunSpec(runs[1].config, tmp_path / "alone", RunNames("alone"))
    (expected,) = train_together([alone], None)
    assert fine["status"] == "done"
    assert "divergence" not in fine
    assert diverged["divergence"]["module"] is not None
    assert diverged["divergence"] == expected["divergence"]
