"""The benchmarks run, measure the same work everywhere, and write it down; never how fast."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import architectures, command, record, rounds
from benchmarks.__main__ import main
from benchmarks.cases import Case, Variant
from benchmarks.command import BENCHMARKS
from xception_jax.models import count, model_function
from xception_jax.runtime import source_code

ROOT = Path(__file__).resolve().parents[1]
PARAMETERS = 22_855_952  # of Xception with 1,000 classes, in Keras and in the paper's table 3


def check(path: Path, *, variants: set[str]) -> dict:
    """The structure of what was written, and that every ratio is that of the seconds beside it."""
    record = json.loads(path.read_text())
    assert {"benchmark", "quick", "date", "command", "commit", "device", "versions"} <= set(record)
    assert record["versions"]["jax"] == jax.__version__
    assert record["cases"]
    for case in record["cases"]:
        by_name = {variant["name"]: variant for variant in case["variants"]}
        assert variants <= set(by_name), case["left_out"]
        reference = by_name[case["reference"]]
        for variant in by_name.values():
            assert variant["value"]["n"] == len(variant["seconds"]) == 2
            assert all(seconds > 0 for seconds in variant["seconds"])
            ratios = [
                (variant["amount"] / mine) / (reference["amount"] / theirs)
                for mine, theirs in zip(variant["seconds"], reference["seconds"], strict=True)
            ]
            # Seconds are written to the nanosecond; the shortest here take microseconds.
            assert variant["ratio"]["median"] == pytest.approx(np.median(ratios), rel=1e-2)
    for suffix in (".svg", ".png"):
        assert path.with_suffix(suffix).stat().st_size > 1000
    return record


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def benchmarks(*words: object) -> subprocess.CompletedProcess[str]:
    """The result of `python -m benchmarks` with these words, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks", *map(str, words)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.slow  # each variant is a process of its own
def test_benchmarks_write_what_they_measured(tmp_path):
    done = benchmarks("operations", "startup", "--quick", "--output", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    check(tmp_path / "operations.json", variants={"auto", "lax"})
    record = check(tmp_path / "startup.json", variants={"xception-jax --help"})
    assert record["quick"]
    assert record["command"].startswith("python -m benchmarks operations startup --quick")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [name for name in BENCHMARKS if name not in ("operations", "startup")]
)
def test_every_benchmark_runs(name, tmp_path):
    done = benchmarks(name, "--quick", "--output", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    record = check(tmp_path / f"{name}.json", variants=set())
    missing = {entry["name"] for case in record["cases"] for entry in case["left_out"]}
    optional = ("PyTorch", "Keras", "kernels")  # peers that are not installed, kernels not built
    assert all(any(word in name for word in optional) for name in missing), record["cases"]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("train_steps",), "nearest valid value: 'train_step'"),
        (("operations", "--rounds", "0"), "--rounds: must be an integer from 1, not '0'"),
        (("--rounds", "many"), "--rounds: must be an integer from 1, not 'many'"),
        (("--output", __file__), "--output"),
        (("--roun", "3"), "--roun"),
        (("operations", "--case", "no such case"), "--case"),
    ],
)
def test_bad_input_is_one_line(words, named, capsys):
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    out, err = capsys.readouterr()
    assert (ended.value.code, out, len(err.splitlines())) == (2, "", 1)
    assert named in err


def test_results_that_cannot_be_written_are_not_measured(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(record, "device", lambda: ("cpu", "cpu"))
    monkeypatch.setattr(command, "measure", None)
    (tmp_path / "file").write_text("")
    below = tmp_path / "file" / "below"
    with pytest.raises(SystemExit) as ended:
        main(["startup", "--quick", "--output", str(below)])
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, "")
    assert err == f"benchmarks: --output='{below}': cannot be made: Not a directory\n"


def test_a_record_has_the_fields_of_published_results_and_the_commit_of_runs(tmp_path, monkeypatch):
    commit = source_code.commit()
    source_code.commit.cache_clear()
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other"))  # of a hook, say
    described = record.describe("python -m benchmarks startup", ("cpu", "cpu"))
    published = json.loads((ROOT / "benchmarks" / "results" / "startup.json").read_text())
    assert described.keys() == published.keys() - {"benchmark", "quick", "cases"}
    assert described["commit"] == commit
    assert json.loads(json.dumps(described)) == described


def test_help_names_every_benchmark(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    out, err = capsys.readouterr()
    assert (ended.value.code, err) == (0, "")
    assert all(name in out for name in BENCHMARKS)


def test_what_cannot_be_measured_is_left_out_with_its_reason(tmp_path, monkeypatch):
    (tmp_path / "made_up.py").write_text(
        "from benchmarks.cases import Work\n"
        "def steady(amount): return Work(lambda times: 0.5 * times, amount)\n"
        "def broken(): raise ValueError('no such kernel')\n"
        "def killed(): import os; os._exit(9)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    variants = (
        Variant("one", "made_up:steady", {"amount": 1}),
        Variant("three", "made_up:steady", {"amount": 3}),
        Variant("broken", "made_up:broken"),
        Variant("killed", "made_up:killed"),
        Variant("absent", "made_up:steady", {"amount": 1}, needs=("no_such_package",)),
    )
    lines: list[str] = []
    case = Case("made up", "images/s", variants, reference="one")
    record = rounds.measure(case, rounds=3, round_seconds=0, tell=lines.append)
    measured = {variant["name"]: variant for variant in record["variants"]}
    assert set(measured) == {"one", "three"}
    assert measured["three"]["value"] == {"median": 6.0, "low": 6.0, "high": 6.0, "n": 3}
    assert measured["three"]["ratio"]["median"] == pytest.approx(3)
    assert measured["three"]["subject_ratio"]["median"] == pytest.approx(1 / 3)
    reasons = {entry["name"]: entry["reason"] for entry in record["left_out"]}
    assert "no such kernel" in reasons["broken"]
    assert "9" in reasons["killed"]
    assert "no_such_package" in reasons["absent"]
    assert len(lines) == 3


def test_ratios_are_of_rounds_not_of_medians():
    """A machine twice as slow in every other round, for both: the ratio does not see it."""
    case = Case("c", "images/s", (Variant("a", ""), Variant("b", "")), reference="a")
    entries = [
        rounds.Measured(variant, {"amount": 1.0}, [seconds * slow for slow in (1, 2, 1, 2)])
        for variant, seconds in zip(case.variants, (1.0, 4.0), strict=True)
    ]
    ratio = rounds.summarize(case, entries, [])["variants"][1]["ratio"]
    assert ratio == {"median": 0.25, "low": 0.25, "high": 0.25, "n": 4}


# -- the same work everywhere ----------------------------------------------------------------------


def test_operations_are_those_of_the_model():
    """Multiply-adds of the operations listed, repeats included, are those counted in the model."""
    listed = list(architectures.every_operation("xception", 96))
    taps = {"depthwise": lambda o: 9, "pointwise": lambda o: o.channels}
    taps["conv"] = lambda o: 9 * o.channels
    total = 0
    for operation in listed:
        if operation.kind in taps:
            size = operation.size - (2 if operation.padding == "VALID" else 0)
            pixels = (-(-size // operation.strides)) ** 2
            total += pixels * operation.features * taps[operation.kind](operation)
    # The reference implementation is one convolution; its multiply-adds are counted as such.
    model = model_function("xception", depthwise_implementation="lax")
    whole = count(model, (96, 96, 3))[0]
    assert whole.path == ""
    assert total + 2048 * 1000 == whole.macs  # and the classifier


def parameters_of_peers(described: dict) -> dict[str, int]:
    """The number of trainable parameters in plain Flax, and in PyTorch where it is installed."""
    from flax import nnx

    from benchmarks.peers import flax_plain

    model = nnx.eval_shape(lambda: flax_plain.build(described))
    counts = {"flax": flax_plain.count(model)}
    if find_spec("torch"):
        import torch

        from benchmarks.peers import pytorch

        with torch.device("meta"):
            counts["torch"] = pytorch.count(pytorch.model_of(described))
    return counts


@pytest.mark.parametrize("name", ["xception", "inception_v3", "alexnet"])
def test_peers_have_as_many_parameters(name):
    function = model_function(name)
    own = sum(int(np.prod(leaf.shape)) for leaf in function.parameters)
    assert set(parameters_of_peers(architectures.architecture(name)).values()) == {own}
    if name == "xception":
        assert own == PARAMETERS


@pytest.mark.slow
def test_every_arm_of_every_experiment_has_peers():
    """An arm that the peers could not build would raise; each has our number of parameters."""
    from benchmarks import experiments
    from benchmarks.cases import Settings

    seen = 0
    for case in experiments.cases(Settings()):
        by_name = {variant.name: variant for variant in case.variants}
        ours, theirs = (by_name[n].arguments for n in ("alone", "PyTorch, one by one"))
        function = model_function(
            num_classes=ours["classes"], in_channels=ours["channels"], **ours["model"]
        )
        own = sum(int(np.prod(leaf.shape)) for leaf in function.parameters)
        assert set(parameters_of_peers(theirs["architecture"]).values()) == {own}, case.name
        assert by_name["plain Flax, one by one"].arguments == theirs
        seen += 1
    assert seen > 20


@pytest.mark.slow
def test_keras_has_as_many_parameters():
    pytest.importorskip("keras")
    from benchmarks.peers import keras_jax

    assert keras_jax.count(keras_jax.build(size=96)) == PARAMETERS


# Between them: both orders, all kinds of segments, every activation of the experiments, plain
# stacks, normalization between the operations, towers, forks, one-dimensional kernels, all pools
# and heads.
MODELS: dict[str, dict[str, Any]] = {
    "relu": {"name": "xception_tiny", "intermediate_activation": "relu"},
    "order": {
        "name": "xception_tiny",
        "order": "pointwise_first",
        "intermediate_activation": "elu",
        "segments": 4,
        "width": 1.3,
        "middle_modules": 1,
    },
    "plain": {"name": "xception_tiny", "residual": False, "segments": 1, "middle_modules": 1},
    "norm": {"name": "xception_tiny", "intermediate_norm": True, "middle_modules": 0},
    "vgg": {"name": "separable_vgg_tiny", "kernel_size": 5, "fully_connected": (12, 8)},
    "inception": {"name": "inception_v3", "width": 0.1},
    "separable towers": {"name": "inception_tiny", "separable": True, "segments": 2},
    "alexnet": {"name": "alexnet", "width": 0.05},
    "separable alexnet": {"name": "alexnet_tiny", "separable": True},
}
PIXELS = {"inception": 75, "alexnet": 67}
# Both compute in float32 through up to some 90 convolutions, each adding up at most 1,728 products.
TOLERANCE: dict[str, Any] = {"rtol": 1e-3, "atol": 1e-4}


def ours(which: str, padding: str, rng: np.random.Generator) -> tuple[dict, np.ndarray, np.ndarray]:
    """Random values of everything in a model, images, and the model's logits."""
    size = PIXELS.get(which, 18)
    function = model_function(num_classes=10, padding=padding, **MODELS[which])
    values = {
        leaf.path: jnp.asarray(
            rng.uniform(0.5, 1.5, leaf.shape)
            if leaf.path.endswith(("scale", "variance"))
            else rng.normal(0, np.prod(leaf.shape[:-1]) ** -0.5, leaf.shape),
            jnp.float32,
        )
        for leaf in (*function.parameters, *function.batch_stats)
    }
    images = rng.uniform(-1, 1, (2, size, size, 3)).astype(np.float32)
    split = [
        {leaf.path: values[leaf.path] for leaf in leaves}
        for leaves in (function.parameters, function.batch_stats)
    ]
    logits, _ = jax.jit(function.apply, static_argnames="train")(*split, images, train=False)
    return values, images, np.asarray(logits)


@pytest.mark.parametrize(
    "which",
    # XLA takes long to compile so many convolutions.
    [pytest.param(which, marks=[pytest.mark.slow] * (which != "order")) for which in MODELS],
)
def test_plain_flax_gives_our_logits(which, rng):
    from flax import nnx

    from benchmarks.peers import flax_plain

    values, images, logits = ours(which, "same", rng)
    model = flax_plain.build(architectures.architecture(num_classes=10, **MODELS[which]))
    used = set()
    for path, variable in flax_plain.arrays(model):
        used.add(path)
        variable.set_value(values[path].reshape(variable.get_value().shape))
    assert used == values.keys()
    model.eval()
    theirs = nnx.jit(lambda model, images: model(images))(model, images)
    np.testing.assert_allclose(theirs, logits, **TOLERANCE)


@pytest.mark.parametrize("which", MODELS)
def test_pytorch_gives_our_logits(which, rng):
    """Ours pads as PyTorch does, which differs where what is halved is even."""
    torch = pytest.importorskip("torch")
    from benchmarks.peers import pytorch

    values, images, logits = ours(which, "torch", rng)
    described = architectures.architecture(num_classes=10, **MODELS[which])
    model = pytorch.model_of(described).eval()
    used = set()
    with torch.no_grad():
        for path, tensor in pytorch.arrays(model, described):
            used.add(path)
            value = np.asarray(values[path])
            value = value.transpose(3, 2, 0, 1) if value.ndim == 4 else value.T
            tensor.copy_(torch.from_numpy(value.copy()))
        found = model(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))
    assert used == values.keys()
    np.testing.assert_allclose(found, logits, **TOLERANCE)
