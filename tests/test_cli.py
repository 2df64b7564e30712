"""The command line: help for everything, light imports, and what people see while runs train."""

import warnings

import pytest
from PIL import Image

from tests.programs import run_program
from tests.shrunk import CONFIG, EXPERIMENT
from xception_jax import cli
from xception_jax.cli import RUNS, WEIGHTS
from xception_jax.commands import display
from xception_jax.commands.console import console, quantity
from xception_jax.config import resolve
from xception_jax.sweep.experiment import PlannedRun
from xception_jax.sweep.local import SweepProgress
from xception_jax.training import Progress


@pytest.mark.parametrize(
    "words",
    [
        (),
        *((command.__name__,) for command in RUNS + WEIGHTS),
        *(("data", *more) for more in ((), ("list",), ("prepare",))),
    ],
    ids=" ".join,
)
def test_help_has_an_example(words, call):
    code, out, _ = call(*words, "--help")
    assert code == 0
    assert "Usage" in out
    assert not words or "Example" in out


def test_a_large_image_is_no_warning(call, monkeypatch, tmp_path):
    Image.new("1", (9600, 9600)).save(path := tmp_path / "large.png")

    def opening(*_, **__):
        with Image.open(path):
            return 0

    monkeypatch.setattr(cli, "app", opening)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert call("predict") == (0, "", "")
    assert not caught


def test_version(call):
    from xception_jax import __version__

    assert call("--version") == (0, f"xception-jax {__version__}\n", "")


@pytest.mark.parametrize("command", ["train", "sweep", "plan"])
def test_every_setting_is_listed_without_further_words(command, call):
    from xception_jax.config import SETTINGS

    code, out, err = call(command, "--settings")
    assert (code, err) == (0, "")
    listed = [line.split()[0] for line in out.splitlines()[1:]]
    assert listed == [*SETTINGS]


def test_data_list(call):
    code, out, _ = call("data", "list")
    assert code == 0
    assert "fashion_mnist_mini" in out


def test_a_bug_is_not_bad_input(call, monkeypatch):
    def fail(_):
        raise RuntimeError("a bug")

    monkeypatch.setattr("xception_jax.sweep.statuses.read_statuses", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        call("status", "anywhere")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--help",), 0),
        (("train", str(CONFIG), "--workdir", "made", "model.ordr=3"), 2),
        (("report", "nowhere"), 2),
    ],
)
def test_what_needs_no_jax_imports_none(words, code):
    """Nor any other package that takes long to import, except that a report needs what draws it."""
    heavy = ["jax", "flax", "orbax", "grain", "tensorflow_datasets", "wandb", "ray"]
    heavy += [] if "report" in words else ["polars", "matplotlib", "jinja2"]
    done = run_program("find_command_imports", ",".join(heavy), *words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"{code} []"


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 "),
        (999.4, "999 "),
        (999.6, "1 k"),
        (999.6e6, "1 G"),
        (8_363_000_000, "8.36 G"),
        (1.5e15, "1.5 P"),
        (2.8e21, "2.8 Z"),
        *((10.0 ** (3 * power), f"1 {unit}") for power, unit in enumerate("kMGTPEZY", 1)),
    ],
)
def test_numbers_with_prefixes_have_no_exponent(number, text):
    assert quantity(number) == text


# -- what people see while runs train --------------------------------------------------------------


def event(step=0, *, number=1, runs=2, phase="train", row=None, speed=None, ended=None, arm="relu"):
    run = PlannedRun(arm, 3, resolve())
    progress = None if ended else Progress(phase, step, 100, step / 10, speed, row)
    left = 100 * runs - 100 * (number - 1) - step
    return SweepProgress((run,), (number,), runs, 100 * runs, left, progress, ended)


ROW = {"split": "valid", "top1": 0.5}
DONE = {"status": "done", "result": {"split": "test", "top1": 0.25}}


@pytest.mark.parametrize(
    ("event", "left", "line"),
    [
        (event(phase="compile"), None, "[1/2] relu seed 3: compiling"),
        (event(1, speed=1e9), None, "[1/2] relu seed 3: epoch 0.1/10"),
        (
            event(25, row=ROW, speed=1234.5),
            "1:10",
            "[1/2] relu seed 3: epoch 2.5/10, 1,234 images/s, 1:10 left, valid top-1 0.500",
        ),
        (event(25, runs=1, row=ROW), None, "relu seed 3: epoch 2.5/10, valid top-1 0.500"),
        (event(ended=DONE), "0:30", "[1/2] relu seed 3: done, test top-1 0.2500, 0:30 left"),
        (
            event(100, number=2, ended={"status": "failed", "reason": "E: [x]"}),
            "0:00",
            "[2/2] relu seed 3: failed: E: [x]",
        ),
    ],
)
def test_lines_of_progress(event, left, line):
    assert display.describe(event, left) == line


def test_a_pack_is_named_by_its_runs():
    members = tuple(PlannedRun(arm, seed, resolve()) for seed in (0, 1) for arm in ("none", "elu"))
    at_hand = SweepProgress(members, (1, 2, 3, 4), 15, 1500, 1500)
    assert display.describe(at_hand, None) == "[runs 1-4 of 15] none, elu, seeds 0-1: compiling"


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (75.2, "1:15"), (3600, "1:00:00")])
def test_durations(seconds, text):
    assert display.duration(seconds) == text


def test_plain_lines_are_few_and_the_time_left_is_sane(monkeypatch, capsys):
    """A compilation of a minute, then two runs of 100 steps, half a second each."""
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    with display.showing(console) as show:
        for number in (1, 2):
            show(event(0, number=number, phase="compile"))
            clock[0] += 60 if number == 1 else 0
            for step in range(1, 101):
                clock[0] += 0.5
                show(event(step, number=number, row=ROW))
            show(event(100, number=number, ended=DONE))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "[1/2] relu seed 3: compiling"
    assert lines[1] == "[1/2] relu seed 3: epoch 0.1/10, valid top-1 0.500"
    left = [line.split(" left")[0].split(", ")[-1] for line in lines[2:-1]]
    assert left[:3] == ["1:24", "1:08", "0:53"]  # half a second for each step that is left
    assert len(lines) <= 2 + 100 / 15 + 2
    assert lines[-1] == "[2/2] relu seed 3: done, test top-1 0.2500"


# Each module and each signal once: one handler answers all nine.
FIRST = {("xception_jax.cli", "SIGINT"), ("typer", "SIGTERM"), ("jaxlib", "SIGHUP")}


@pytest.mark.parametrize(
    ("module", "name"),
    [
        pytest.param(module, name, marks=[pytest.mark.slow] * ((module, name) not in FIRST))
        for module in ("xception_jax.cli", "typer", "jaxlib")
        for name in ("SIGINT", "SIGTERM", "SIGHUP")
    ],
)
def test_a_request_to_stop_is_answered_also_while_modules_are_imported(module, name):
    done = run_program("signal_at_import", module, name, "plan", EXPERIMENT, "--seeds", "4")
    assert (done.returncode, done.stdout, done.stderr) == (75, "", "")


def test_a_misspelt_argument_of_an_experiment_has_its_nearest_name(call, tmp_path):
    text = EXPERIMENT.read_text()
    for right, wrong in (("seeds=", "sedes="), ("hypothesis=", "hypotesis=")):
        assert right in text
        file = tmp_path / f"{wrong[:-1]}.py"
        file.write_text(text.replace(right, wrong))
        code, _, err = call("plan", file)
        assert (code, err.count("\n")) == (2, 1)
        assert f"nearest valid value: '{right[:-1]}'" in err
