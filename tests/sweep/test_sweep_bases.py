"""Experiments over several bases: what is planned, what is refused, what the record keeps."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.shrunk import CONFIG, ROOT, SHRUNK
from xception_jax.config import load_config, resolve
from xception_jax.errors import InputError
from xception_jax.planning.budget import TOLERANCE, arm_cost, equalize
from xception_jax.sweep import Claim, Effect, Experiment, Tune, load_experiment, plan_runs
from xception_jax.sweep.loading import apply_overrides
from xception_jax.sweep.recorded import plan_from_file

ARMS: dict[str, dict[str, Any]] = {"none": {}, "relu": {"model.intermediate_activation": "relu"}}
TIMED = Claim("relu", "none", "better", ("steps_to_target",))


def declare(**changes: Any) -> Experiment:
    settings: dict[str, Any] = {
        "name": "question",
        "hypothesis": "so",
        "base": ("mini.py", "../configs/wide.py"),
        "arms": ARMS,
        "seeds": 2,
        "claims": (Claim("relu", "none"),),
    }
    return Experiment(**(settings | changes))


def write(directory: Path, name: str, content: str) -> Path:
    path = directory / name
    path.write_text(content)
    return path


def write_bases(directory: Path) -> None:
    """Two configs: the repository's, and one of another model, budget and rate."""
    configs = {"mini": "", "wide": '"model.width": 0.5, "train.epochs": 2.0, "seed": 7'}
    for name, changes in configs.items():
        write(
            directory,
            f"{name}.py",
            f"import runpy\n\n\ndef get_config():\n"
            f"    config = runpy.run_path({str(CONFIG)!r})['get_config']()\n"
            f"    return {{**config.to_dict(), **{{{changes}}}}}\n",
        )


def write_experiment(directory: Path, *, arms: str = repr(ARMS), more: str = "") -> Path:
    """An experiment on these bases."""
    write_bases(directory)
    return write(
        directory,
        "question.py",
        "from xception_jax.sweep import Claim, Effect, Experiment, Tune\n\n\n"
        "def get_experiment():\n"
        "    return Experiment(name='q', hypothesis='so', base=('mini.py', 'wide.py'), seeds=2,\n"
        f"        arms={arms}, {more})\n",
    )


def test_bases_have_the_names_of_their_files_or_their_own() -> None:
    assert declare().bases == {"mini": "mini.py", "wide": "../configs/wide.py"}
    assert declare(base={"a": "x.py", "b": "x.py"}).bases == {"a": "x.py", "b": "x.py"}
    assert declare(base=("x.py",)).base == "x.py"
    assert declare(base="x.py").bases == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"base": 3}, "must be the path of a config file, a tuple of them"),
        ({"base": ()}, "one config file or several"),
        ({"base": ("a/x.py", "b/x.py")}, "'x': is the name of two bases"),
        ({"base": {"a b": "x.py", "c": "y.py"}}, "nearest valid value: 'a-b'"),
        ({"base": {"a": 1, "c": "y.py"}}, "must be the path of a config file"),
        ({"in_at_least": 3}, "from 1 to 2; nearest valid value: 2"),
        ({"in_at_least": 0}, "nearest valid value: 1"),
        ({"base": "x.py", "in_at_least": 1}, "goes with several bases"),
        ({"target": 0.8}, "one for each base.*nearest valid value: {'mini': 0.8, 'wide': 0.8}"),
        ({"target": {"mini": 0.8}}, "must be one for each of mini, wide"),
        ({"target": {"mini": 0.8, "wide": 2}}, "must be between 0 and 1"),
        ({"base": "x.py", "target": {"mini": 0.8}}, "goes with several bases"),
        ({"claims": (replace(TIMED, target=0.8),)}, "one for each base"),
        ({"claims": (Claim("rleu", "none"),)}, "nearest valid value: 'relu'"),
        ({"arms_on": {"mini": {"none": "none"}}}, "experiment.arms_on"),
    ],
)
def test_what_cannot_be_bases_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        declare(**changes)


def test_bases_that_are_not_read_yet_are_not_planned() -> None:
    with pytest.raises(InputError, match="load_experiment reads them"):
        plan_runs(declare(), {})


def test_every_arm_is_on_every_base(tmp_path: Path) -> None:
    experiment, base = load_experiment(write_experiment(tmp_path))
    assert list(experiment.arms) == ["mini-none", "mini-relu", "wide-none", "wide-relu"]
    assert experiment.claimed_arms == ("none", "relu")
    assert experiment.compared_arms == (("mini-none", "mini-relu"), ("wide-none", "wide-relu"))
    configs = {name: load_config(tmp_path / f"{name}.py") for name in ("mini", "wide")}
    for run in plan_runs(experiment, base):
        name, arm = run.arm.split("-")
        assert run.config == resolve(configs[name], ARMS[arm], {"seed": run.seed})


def test_words_hold_on_every_base(tmp_path: Path) -> None:
    path = write_experiment(tmp_path)
    runs = plan_runs(*load_experiment(path, overrides=["train.epochs=0.5"]))
    assert {run.config.train.epochs for run in runs} == {0.5}
    assert {run.config.model.width for run in runs} == {1.0, 0.5}
    words = ["train.epochs=0.5", "model.width=0.25"]
    experiment, base = load_experiment(path, overrides=words)
    with pytest.raises(InputError, match="same run as arm 'mini-none'"):  # nothing else differs
        plan_runs(experiment, base)


def test_words_replace_what_a_base_has_otherwise(tmp_path: Path) -> None:
    """Also in a recorded experiment, whose arms have the settings of their base."""
    experiment, base = load_experiment(write_experiment(tmp_path))
    changed, config = apply_overrides(experiment, base, ["train.epochs=0.5"])
    runs = plan_runs(changed, config)
    assert {run.config.train.epochs for run in runs} == {0.5}
    assert {run.config.model.width for run in runs} == {1.0, 0.5}
    with pytest.raises(InputError, match="is what the arm 'mini-relu' sets itself"):
        apply_overrides(experiment, base, ["model.intermediate_activation=elu"])


def test_bases_of_the_command_line_take_the_place_of_all(tmp_path: Path) -> None:
    path = write_experiment(tmp_path, more="in_at_least=2")
    other = write(tmp_path, "other.json", json.dumps({"train": {"epochs": 9.0}}))
    experiment, base = load_experiment(path, base=[tmp_path / "mini.py", other])
    assert experiment.bases == {"mini": "mini.py", "other": "other.json"}
    assert experiment.at_least == 2
    epochs = {run.arm: run.config.train.epochs for run in plan_runs(experiment, base)}
    assert epochs["other-relu"] == 9.0
    single, _ = load_experiment(path, base=[other])
    assert (single.base, single.in_at_least, list(single.arms)) == ("other.json", None, [*ARMS])


def test_arms_may_follow_the_model_of_each_base(tmp_path: Path) -> None:
    bases = [
        write(tmp_path, f"{name}.json", json.dumps({"model": {"name": f"xception_{name}"}}))
        for name in ("tiny", "small")
    ]
    experiment, base = load_experiment(
        ROOT / "experiments" / "inception_vs_xception.py", base=bases
    )
    models = {run.arm: run.config.model.name for run in plan_runs(experiment, base)}
    assert models == {
        "tiny-xception": "xception_tiny",
        "tiny-inception": "inception_tiny",
        "small-xception": "xception_small",
        "small-inception": "inception_small",
    }
    paper = write(tmp_path, "paper.json", json.dumps({"model": {"name": "xception"}}))
    with pytest.raises(InputError, match=r"experiment\.equal.*declared otherwise.*'paper'"):
        load_experiment(ROOT / "experiments" / "inception_vs_xception.py", base=[bases[0], paper])


def test_names_of_arms_on_bases_must_be_names_and_differ(tmp_path: Path) -> None:
    arms = {"x": {}, "y" * 62: {"model.width": 0.3}}
    with pytest.raises(InputError, match="up to 64"):
        load_experiment(write_experiment(tmp_path, arms=repr(arms)))
    path = write_experiment(tmp_path, arms=repr({"b-c": {}, "c": {"model.width": 0.3}}))
    text = path.read_text().replace("('mini.py', 'wide.py')", "{'a': 'mini.py', 'a-b': 'wide.py'}")
    path.write_text(text)
    with pytest.raises(InputError, match="'a-b-c': is the name of two arms"):
        load_experiment(path)


def test_what_is_tuned_does_not_come_from_the_base(tmp_path: Path) -> None:
    more = "tune=Tune('model.width', (0.25, 0.5))"
    experiment, _ = load_experiment(write_experiment(tmp_path, more=more))
    assert isinstance(experiment.tune, Tune)
    assert experiment.arms["wide-none"] == {"train.epochs": 2.0}
    assert experiment.untuned == tuple(experiment.arms)


def test_factors_make_the_arms_of_each_base(tmp_path: Path) -> None:
    factors = "factors={'model.intermediate_activation': ('none', 'relu')}"
    more = f"{factors}, claims=(Effect('model.intermediate_activation'),)"
    experiment, _ = load_experiment(write_experiment(tmp_path, arms="{}", more=more))
    (claim,) = experiment.claims
    assert isinstance(claim, Effect)
    assert claim.weights == {"relu": 1.0, "none": -1.0}
    assert experiment.arms["wide-relu"]["model.intermediate_activation"] == "relu"


def test_a_level_may_leave_a_setting_to_its_base_that_another_one_sets(tmp_path: Path) -> None:
    """The settings of the base are in other places among those of the arms, too."""
    write(tmp_path, "mini.py", "def get_config(): return {}")
    changed = {"model.intermediate_activation": "relu", "optimizer.weight_decay": 1e-4}
    write(tmp_path, "wide.py", f"def get_config(): return {changed | {'model.width': 0.5}}")
    models = {
        "xception": {"model.name": "xception_tiny"},
        "inception": {"model.name": "inception_tiny", "optimizer.weight_decay": 4e-5},
    }
    factors = {"models": models, "model.intermediate_activation": ("none", "relu")}
    path = write(
        tmp_path,
        "question.py",
        "from xception_jax.sweep import Experiment\n\n\n"
        "def get_experiment():\n"
        "    return Experiment(name='q', hypothesis='so', base=('mini.py', 'wide.py'), seeds=2,\n"
        f"        factors={factors!r})\n",
    )
    experiment, base = load_experiment(path)
    decays = {run.arm: run.config.optimizer.weight_decay for run in plan_runs(experiment, base)}
    assert decays == {
        **dict.fromkeys(("mini-xception-none", "mini-xception-relu"), 1e-5),
        **dict.fromkeys(("wide-xception-none", "wide-xception-relu"), 1e-4),
        **{
            f"{name}-inception-{activation}": 4e-5
            for name in ("mini", "wide")
            for activation in ("none", "relu")
        },
    }
    for by_hand in ({"optimizer.weight_decay": 1e-3}, {"model.intermediate_activation": "elu"}):
        arms = dict(experiment.arms)
        arms["wide-xception-relu"] = {**arms["wide-xception-relu"], **by_hand}
        with pytest.raises(InputError, match="makes the arms"):
            replace(experiment, arms=arms)


def test_an_experiment_of_factors_is_put_on_bases_that_set_one(tmp_path: Path) -> None:
    relu = '{"model": {"intermediate_activation": "relu", "width": 0.5}}'
    bases = [write(tmp_path, "plain.json", "{}"), write(tmp_path, "relu.json", relu)]
    experiment, base = load_experiment(ROOT / "experiments" / "order.py", base=bases)
    blocks = {run.arm: run.config.model.block for run in plan_runs(experiment, base)}
    assert len(blocks) == 12
    for name in ("plain", "relu"):
        for arm in experiment.claimed_arms:
            block = blocks[f"{name}-{arm}"]
            assert arm == f"{block.order}-{block.intermediate_activation}"


def test_equal_arms_are_equal_within_a_base(tmp_path: Path) -> None:
    arms = {"none": {}, "one": {"model.segments": 1}}
    path = write_experiment(tmp_path, arms=repr(arms), more="equal='parameters'")
    experiment, base = load_experiment(path)
    equal = equalize(experiment, base)
    counts = {
        arm: arm_cost(resolve(base, settings)).parameters for arm, settings in equal.arms.items()
    }
    for one, other in equal.compared_arms:
        assert counts[other] == pytest.approx(counts[one], rel=TOLERANCE)
    assert counts["wide-none"] < 0.5 * counts["mini-none"]


def test_the_record_says_which_claim_is_about_which_bases(tmp_path: Path) -> None:
    target = "target={'mini': 0.8, 'wide': 0.5}"
    claims = "claims=(Claim('relu', 'none', 'better', ('steps_to_target',)),)"
    path = write_experiment(tmp_path, more=f"{target}, in_at_least=1, {claims}")
    experiment, base = load_experiment(path)
    described = json.loads(json.dumps(experiment.describe()))
    (claim,) = described["claims"]
    assert (claim["bases"], claim["at_least"]) == (["mini", "wide"], 1)
    assert claim["target"] == {"mini": 0.8, "wide": 0.5}
    assert described["arms_on"]["wide"] == {"none": "wide-none", "relu": "wide-relu"}
    rows = [
        {"arm": r.arm, "seed": r.seed, "id": r.id, "directory": r.directory}
        for r in plan_runs(experiment, base)
    ]
    record = {"schema": 1, "experiment": described, "base": base.to_dict(), "runs": rows}
    path = write(tmp_path, "sweep.json", json.dumps(record))
    again, config, runs = plan_from_file(path, seeds=None, overrides=())
    assert again.describe() == experiment.describe()
    assert [run.id for run in runs] == [row["id"] for row in rows]
    assert config == base


def test_an_experiment_with_one_base_is_described_as_before() -> None:
    described = declare(base="x.py").describe()
    assert not {"arms_on", "in_at_least"} & set(described)
    assert "bases" not in described["claims"][0]


def test_a_ranking_is_not_asked_of_data_with_single_labels(tmp_path: Path, call: Any) -> None:
    claims = "claims=(Claim('relu', 'none', 'better', ('final_map100',)),)"
    path = write_experiment(tmp_path, more=claims)
    code, out, err = call("sweep", path, "--workdir", tmp_path / "home", *SHRUNK[:2])
    assert (code, out) == (2, "")
    assert "final_map100" in err
    assert "digits has single ones (arm 'mini-none'); nearest valid value: 'final_top1'" in err


def test_a_wrong_base_ends_with_one_line(tmp_path: Path, call: Any) -> None:
    path = write_experiment(tmp_path)
    bases = ("--base", tmp_path / "mini.py", "--base", tmp_path / "wode.py")
    code, out, err = call("sweep", path, "--workdir", tmp_path / "home", *bases)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "wide.py" in err
