"""Broken, half-written and foreign files."""

import itertools
import json
from pathlib import Path

import pytest

from tests.synthetic_sweep import (
    STEPS,
    NewSweep,
    SweepWriter,
    edit_sweep,
    saturating,
    write_log,
    write_run,
)
from xception_jax.checksums import with_checksum
from xception_jax.errors import InputError
from xception_jax.report import write_report
from xception_jax.report.archiving import write_archive
from xception_jax.report.reading import read_directory

pytestmark = pytest.mark.usefixtures("undrawn_figures")


def one_run(new_sweep: NewSweep, **changes) -> tuple[SweepWriter, Path]:
    sweep = new_sweep(arms={"none": {}}, seeds=(0,))
    top1 = saturating(0.9)
    return sweep, sweep.add_run("none", 0, steps=STEPS, top1=top1, test_top1=0.9, **changes)


def test_reads_what_was_written(new_sweep: NewSweep) -> None:
    sweep, _ = one_run(new_sweep)
    read = read_directory(sweep.directory)
    run = read.runs[0]
    assert (run.arm, run.seed, run.status, run.steps) == ("none", 0, "done", 1000)
    assert (run.dataset, run.model, run.test_examples) == (
        "fashion_mnist_mini",
        "xception_mini",
        2000,
    )
    valid = read.curves.filter(split="valid")
    assert valid["step"].to_list() == list(STEPS)
    assert valid["top1"].to_list() == saturating(0.9)
    assert read.curves.filter(split="train")["learning_rate"].null_count() == 0
    assert read.notes == ()


def test_torn_last_line_is_left_out_without_a_word(new_sweep: NewSweep) -> None:
    sweep, path = one_run(new_sweep)
    with (path / "metrics.jsonl").open("a") as log:
        log.write('{"step": 1100, "split": "va')
    read = read_directory(sweep.directory)
    assert read.curves["step"].max() == 1000
    assert read.notes == ()


def test_whole_last_line_without_its_end_is_used(new_sweep: NewSweep) -> None:
    sweep, path = one_run(new_sweep)
    log = path / "metrics.jsonl"
    log.write_text(log.read_text().rstrip("\n"))
    assert read_directory(sweep.directory).curves.height == 2 * len(STEPS)


def test_broken_and_repeated_lines_are_counted(new_sweep: NewSweep) -> None:
    sweep, path = one_run(new_sweep)
    log = path / "metrics.jsonl"
    again = json.dumps({"step": 1000, "split": "valid", "top1": 0.5, "loss": 1.0})
    log.write_text(f'nonsense\n[1]\n{{"step": 1.5, "split": "valid"}}\n{log.read_text()}{again}\n')
    read = read_directory(sweep.directory)
    assert read.curves.height == 2 * len(STEPS)
    assert read.curves.filter(split="valid", step=1000)["top1"].item() == 0.5
    assert len(read.notes) == 1
    assert "4 broken or repeated rows" in read.notes[0]


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity", "null", "1e306", "-1e306"])
def test_values_that_are_no_numbers_or_none_of_float32_become_null(
    new_sweep: NewSweep, word: str
) -> None:
    sweep, path = one_run(new_sweep)
    row = f'{{"step": 1100, "split": "valid", "loss": {word}, "top1":{word}}}\n'
    with (path / "metrics.jsonl").open("a") as log:
        log.write(row)
    last = read_directory(sweep.directory).curves.filter(step=1100)
    assert last.height == 1
    assert last["loss"].null_count() == last["top1"].null_count() == 1


def test_a_log_that_cannot_be_read_is_named_and_a_missing_one_is_not(new_sweep: NewSweep) -> None:
    sweep = new_sweep(arms={"none": {}}, seeds=(0, 1))
    logs = [sweep.add_run("none", seed, test_top1=0.9) / "metrics.jsonl" for seed in sweep.seeds]
    for log in logs:
        log.unlink()
    logs[0].mkdir()
    (note,) = read_directory(sweep.directory).notes
    assert note.startswith(f"{logs[0].parent.name}/metrics.jsonl: cannot be read: ")


def test_run_without_files_is_planned(new_sweep: NewSweep) -> None:
    sweep = new_sweep(arms={"none": {}}, seeds=(0, 1))
    assert [run.status for run in read_directory(sweep.directory).runs] == ["planned", "planned"]


def test_broken_run_json_is_unreadable_not_planned(new_sweep: NewSweep) -> None:
    sweep, path = one_run(new_sweep)
    (path / "run.json").write_text('{"status": "do')
    read = read_directory(sweep.directory)
    assert read.runs[0].status == "unreadable"
    assert "run.json cannot be read" in read.notes[0]


def test_fields_of_the_wrong_type_are_not_known(new_sweep: NewSweep) -> None:
    sweep, path = one_run(new_sweep)
    wrong = {"steps": "many", "parameters": True, "devices": "cpu", "result": 3, "examples": []}
    record = with_checksum({"status": "done", "versions": None, **wrong})
    (path / "run.json").write_text(json.dumps(record))
    run = read_directory(sweep.directory).runs[0]
    assert (run.steps, run.parameters, run.devices, run.test_top1) == (None, None, (), None)
    write_report(sweep.directory)


def test_run_directories_that_the_sweep_does_not_list_are_named(new_sweep: NewSweep) -> None:
    sweep, path = one_run(new_sweep)
    other = path.parent / "other-s9-00000000"
    other.mkdir()
    (other / "run.json").write_text("{}")
    read = read_directory(sweep.directory)
    assert len(read.runs) == 1
    assert "other-s9-00000000" in read.notes[0]


def page_and_archive(sweep: SweepWriter) -> str:
    """The text of the page; an archive is written, too."""
    write_archive(sweep.directory, sweep.directory.parent / "archive")
    return write_report(sweep.directory).page.read_text()


@pytest.mark.parametrize("setting", [{"model.name": "\ud800"}, {"model.\ud800": 1}])
def test_settings_that_are_no_text_end_no_report(new_sweep: NewSweep, setting) -> None:
    sweep = new_sweep(arms={"none": setting, "relu": {}}, seeds=(0, 1))
    for arm, seed in itertools.product(sweep.arms, sweep.seeds):
        sweep.add_run(arm, seed, steps=STEPS, top1=saturating(0.9), test_top1=0.9)
    (name, value), *_ = setting.items()
    assert f"{name}={value}".replace("\ud800", "?") in page_and_archive(sweep)


def test_a_run_directory_whose_name_is_no_text_ends_no_report(new_sweep: NewSweep) -> None:
    sweep, path = one_run(new_sweep)
    stray = path.parent / "\udcff"
    try:
        stray.mkdir()
    except OSError:
        pytest.skip("this file system has no such names")
    (stray / "run.json").write_text("{}")
    assert "one finished run" in page_and_archive(sweep)


def test_directory_of_neither_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--workdir"):
        write_report(tmp_path)
    with pytest.raises(InputError, match="no such directory"):
        write_report(tmp_path / "missing")
    assert list(tmp_path.iterdir()) == []


def test_directory_beside_a_sweep_is_told_where_it_is(new_sweep: NewSweep) -> None:
    sweep, path = one_run(new_sweep)
    for slip in (path.parent, sweep.directory.parent):
        with pytest.raises(InputError) as caught:
            write_report(slip)
        assert caught.value.nearest == str(sweep.directory)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"schema": 2, "experiment": {}}'])
def test_unusable_sweep_json_is_an_input_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "sweep.json").write_text(content)
    with pytest.raises(InputError) as caught:
        write_report(tmp_path)
    assert "sweep.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_log_alone_is_enough_for_a_single_run(tmp_path: Path) -> None:
    write_log(tmp_path / "metrics.jsonl", [1, 2], [0.1, 0.2], [2.0, 1.5])
    read = read_directory(tmp_path)
    assert read.is_single_run
    assert read.curves.height == 4


@pytest.mark.parametrize("place", ["../outside", "/etc", "runs/../../outside", "", 3, "runs/\x00"])
def test_a_run_that_is_listed_elsewhere_is_not_read(new_sweep, tmp_path, place) -> None:
    """Whoever edits sweep.json does not make a report, or W&B, out of other people's files."""
    sweep = new_sweep(arms={"none": {}}, seeds=(0,))
    outside = sweep.directory.parent / "outside"
    outside.mkdir(exist_ok=True)
    entry = {"arm": "none", "seed": 0, "id": "0" * 64}
    write_run(outside, entry, status="done", test_top1=0.8)
    elsewhere = {**sweep.runs[0], "directory": place}
    edit_sweep(sweep.directory, lambda record: record["runs"].append(elsewhere))
    read = read_directory(sweep.directory)
    assert [run.status for run in read.runs] == ["planned"]
    assert [note for note in read.notes if "is not inside of the sweep" in note]
