"""A real sweep over two bases: trained, killed and resumed, audited, judged and confirmed."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.processes import started, wait_until
from tests.shrunk import CONFIG, SHRUNK, SOONEST
from xception_jax.tracking import read_metrics

# What differs between the bases: the data with the size of its images, and the length of a run.
BASES = {
    "digits": '"data.name": "digits", "data.image_size": 8, "train.epochs": 2.0',
    "clothes": '"data.name": "fashion_mnist_mini", "data.image_size": 12, "train.epochs": 3.0',
}
OF_BASES = ("data.name", "data.image", "train.epo")
WORDS = [word for word in (*SHRUNK, *SOONEST) if not word.startswith(OF_BASES)]
EXPERIMENT = """
from xception_jax.sweep import Claim, Experiment


def get_experiment():
    return Experiment(
        name="two_bases",
        hypothesis="Half the learning rate is harmless on either data set.",
        base=("digits.py", "clothes.py"),
        arms={"whole": {}, "half": {"optimizer.learning_rate": 0.05}},
        seeds=4,
        claims=(
            Claim("half", "whole", "not_worse", margin=0.9),
            Claim("half", "whole", "better", ("steps_to_target",)),
        ),
    )
"""


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("bases")
    for name, changes in BASES.items():
        (directory / f"{name}.py").write_text(
            f"import runpy\n\n\ndef get_config():\n"
            f"    config = runpy.run_path({str(CONFIG)!r})['get_config']()\n"
            f"    return {{**config.to_dict(), **{{{changes}}}}}\n"
        )
    (directory / "two_bases.py").write_text(EXPERIMENT)
    return directory / "two_bases.py"


@pytest.fixture(scope="module")
def words(experiment: Path) -> Callable[..., tuple[object, ...]]:
    return lambda home, *more: ("sweep", experiment, "--workdir", home, *more, *WORDS)


@pytest.fixture(scope="module")
def done(tmp_path_factory, call, words) -> Path:
    home = tmp_path_factory.mktemp("sweep") / "done"
    code, out, err = call(*words(home))
    assert (code, err) == (0, "")
    assert "two_bases: 2 arms x 2 bases (digits, clothes) x 4 seeds = 16 runs" in out
    return home


def test_the_sweep_is_paired_on_each_base(done: Path, call) -> None:
    code, out, _ = call("audit", done)
    assert code == 0
    assert "everything pairs" in out
    code, out, _ = call("status", done)
    assert code == 0
    assert out.startswith("bases: digits: digits.py; clothes: clothes.py\n")
    names = {row["arm"] for row in json.loads((done / "sweep.json").read_text())["runs"]}
    assert names == {"digits-whole", "digits-half", "clothes-whole", "clothes-half"}


def test_its_report_has_a_verdict_on_each_base_and_over_all(done: Path, call) -> None:
    assert call("report", done)[0] == 0
    verdicts = json.loads((done / "report" / "verdicts.json").read_text())
    harmless, faster = verdicts["claims"]
    assert [each["base"] for each in harmless["bases"]] == ["digits", "clothes"]
    # Four seeds reach 1/8 at most, and so decide nothing.
    assert harmless["verdict"] == "inconclusive"
    assert harmless["grade"] == "A", harmless["grade_reasons"]
    assert "On digits (digits, alexnet_tiny" in harmless["sentence"]
    assert "and clothes (fashion_mnist_mini, alexnet_tiny" in harmless["sentence"]
    budgets = {each["base"]: each["sentence"] for each in faster["bases"]}
    assert "steps to" in budgets["digits"]
    page = (done / "report" / "index.html").read_text()
    assert "Effects and their intervals, by base" in page
    for name in ("forest", "validation_top1_1_digits", "validation_top1_2_clothes"):
        for kind in ("svg", "png", "pdf"):
            assert (done / "report" / f"{name}.{kind}").stat().st_size > 1000
    assert "On each base" in page


@pytest.mark.slow
def test_it_is_run_again_from_its_record_alone(done: Path, call, tmp_path: Path) -> None:
    code, out, err = call("sweep", done / "sweep.json", "--workdir", done)
    assert (code, err) == (0, "")
    assert "16 done" in out
    home = tmp_path / "confirmed"
    code, out, err = call("confirm", done, "--workdir", home)
    assert (code, err) == (0, "")
    record = json.loads((home / "sweep.json").read_text())
    assert record["experiment"]["seeds"] == [4, 5, 6, 7]
    assert record["experiment"]["base"] == {"digits": "digits.py", "clothes": "clothes.py"}
    assert set(record["experiment"]["target"]) == {"digits", "clothes"}
    assert call("report", home)[0] == 0
    claims = json.loads((home / "report" / "verdicts.json").read_text())["claims"]
    assert {claim["replication"]["outcome"] for claim in claims} == {"nothing to replicate"}


@pytest.mark.slow
def test_killed_it_goes_on_to_the_same_bits(done: Path, call, words, tmp_path: Path) -> None:
    with started(*words(tmp_path)) as process:  # it is killed at the end of this
        wait_until(lambda: list(tmp_path.glob("runs/clothes-*/checkpoints/*")), process)
    code, _, err = call(*words(tmp_path))
    assert (code, err) == (0, "")
    homes = sorted(home.name for home in done.glob("runs/*/"))
    assert homes == sorted(home.name for home in tmp_path.glob("runs/*/"))
    for name in homes:
        pair = (read_metrics(home / "runs" / name / "metrics.jsonl") for home in (done, tmp_path))
        assert repr(next(pair)) == repr(next(pair))
    assert call("audit", tmp_path)[0] == 0
