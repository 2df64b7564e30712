"""The cost of tuning, against counts by hand, and how `plan` prints it."""

from dataclasses import replace

import pytest

from tests.shrunk import EXPERIMENT, SHRUNK
from xception_jax.planning.budget import arm_cost
from xception_jax.planning.tuning_cost import most_values, tuning_cost
from xception_jax.sweep import Tune, load_experiment

RATES = (0.025, 0.05, 0.1, 0.2, 0.4)


@pytest.fixture(scope="module")
def experiment():
    return load_experiment(EXPERIMENT, overrides=SHRUNK)


def test_runs_steps_and_compute_are_counted(experiment):
    declared, base = experiment
    tune = Tune("optimizer.learning_rate", RATES, seeds=2, epochs=1)
    cost = tuning_cost(replace(declared, tune=tune), base)
    assert cost is not None
    assert (cost.declared.runs, cost.declared.steps) == (3 * 5 * 2, 3 * 5 * 2 * 3)
    assert (cost.verdict.runs, cost.verdict.steps) == (3 * 8, 3 * 8 * 9)
    macs = arm_cost(base).macs  # an activation has none: all arms have as many
    assert cost.verdict.macs == 3 * 8 * 9 * 32 * macs * 3
    assert cost.declared.macs == 3 * 5 * 2 * 3 * 32 * macs * 3
    # Two more values at each edge, for every arm and seed.
    assert (cost.most.runs, cost.most.steps) == (3 * 9 * 2, 3 * 9 * 2 * 3)
    assert tuning_cost(declared, base) is None


def test_arms_on_other_data_have_a_cost_of_their_own(experiment):
    """Arms that differ in their data alone, as on several bases, are counted one by one."""
    declared, base = experiment
    arms = {"all": {}, "third": {"data.train_examples": 32}}  # 9 steps, and 3
    tune = Tune("optimizer.learning_rate", RATES, seeds=2)
    cost = tuning_cost(replace(declared, arms=arms, claims=(), tune=tune), base)
    assert cost is not None
    assert (cost.declared.steps, cost.verdict.steps) == ((9 + 3) * 5 * 2, (9 + 3) * 8)


def test_two_settings_grow_as_a_product():
    assert most_values((RATES, (0.0, 1e-5))) * 10 == 9 * 6


def test_plan_says_what_tuning_takes(call, tmp_path):
    path, base = tmp_path / "tuned.py", EXPERIMENT.parents[1] / "configs"
    text = EXPERIMENT.read_text().replace(
        "import Claim, Experiment", "import Claim, Experiment, Tune"
    )
    tune = f'Tune("optimizer.learning_rate", {RATES}, seeds=2)'
    path.write_text(
        text.replace("../configs", str(base)).replace("seeds=8,", f"seeds=8, tune={tune},")
    )
    code, out, _ = call("plan", path, *SHRUNK)
    assert code == 0
    words = " ".join(out.split())
    assert (
        "Tuning of optimizer.learning_rate: 3 arms x 5 values x 2 seeds = 30 runs, 270 steps"
        in words
    )
    assert "at most, if both edges are extended twice, 54 runs, 486 steps" in words
    assert "Tuning takes 1.25 times as much, at most 2.25 times." in words
    assert all(len(line) <= 120 for line in out.splitlines())
