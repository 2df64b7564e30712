"""Archives at the command line: where they may be written, who reads them, and damaged ones."""

import hashlib
import io
import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzzing import Damage, damage, damages, fuzzed
from tests.programs import Call
from tests.synthetic_sweep import SweepWriter, edit_sweep
from xception_jax.errors import InputError
from xception_jax.report.archive import RECORD_SCHEMA
from xception_jax.report.archiving import write_archive
from xception_jax.report.reading import read_directory


@pytest.fixture
def archive(finished_sweep: SweepWriter, tmp_path: Path) -> Path:
    write_archive(finished_sweep.directory, tmp_path / "archive")
    return tmp_path / "archive"


def content_of(directory: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


# -- writing and reading -----------------------------------------------------------------------


@pytest.mark.usefixtures("undrawn_figures")
def test_the_command_writes_an_archive_that_other_commands_read(
    call: Call, finished_sweep: SweepWriter, tmp_path: Path
) -> None:
    out = tmp_path / "docs" / "studies" / "nonlinearity"
    code, said, err = call("report", finished_sweep.directory, "--archive", out)
    assert (code, err) == (0, "")
    assert "6 files" in said
    assert (finished_sweep.directory / "report" / "index.html").exists()
    before = content_of(out)
    for command in ("status", "audit"):
        ours, theirs = (call(command, home) for home in (finished_sweep.directory, out))
        assert ours == theirs
        assert ours[0] == 0
    assert content_of(out) == before
    assert call("report", out)[0] == 0
    verdicts = (out / "report" / "verdicts.json").read_bytes()
    assert verdicts == (finished_sweep.directory / "report" / "verdicts.json").read_bytes()
    (out / "figure.svg").write_text("kept")
    assert call("report", finished_sweep.directory, "--archive", out)[0] == 0  # once more
    assert (out / "figure.svg").read_text() == "kept"


def test_status_of_an_archive_says_what_was_changed(
    call: Call, finished_sweep: SweepWriter, tmp_path: Path
) -> None:
    path = finished_sweep.run_directory("relu", 1) / "run.json"
    path.write_text(path.read_text().replace('"done"', '"diverged"'))
    write_archive(finished_sweep.directory, tmp_path / "archive")
    code, said, _ = call("status", tmp_path / "archive")
    assert code == 0
    assert "unreadable" in said
    assert "was changed after" in said


def test_an_archive_replaces_nothing_else(
    call: Call, finished_sweep: SweepWriter, tmp_path: Path
) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("precious")
    other = SweepWriter(tmp_path / "other", name="another", arms={"none": {}}, seeds=(0,))
    write_archive(other.directory, tmp_path / "taken")
    (tmp_path / "file").write_text("precious")
    before = content_of(tmp_path)
    for name in ("notes", "other", "sweep", "taken", "file", "file/below"):
        code, _, err = call("report", finished_sweep.directory, "--archive", tmp_path / name)
        assert (code, len(err.splitlines())) == (2, 1), err
        assert "--archive" in err
    assert content_of(tmp_path) == before


def test_an_archive_needs_a_name_a_sweep_and_no_watching(
    call: Call, finished_sweep: SweepWriter, tmp_path: Path
) -> None:
    run = finished_sweep.run_directory("relu", 1)
    for words in (
        (finished_sweep.directory, "--archive", ""),
        (finished_sweep.directory, "--archive", tmp_path / "out", "--watch"),
        (run, "--archive", tmp_path / "out"),
    ):
        code, _, err = call("report", *words)
        assert (code, len(err.splitlines())) == (2, 1), err
        assert "--archive" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("undrawn_figures")
def test_an_archive_above_the_current_directory_is_written_there_alone(
    call: Call, finished_sweep: SweepWriter, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (archive / "records.parquet").write_text("to be written again")
    below = archive / "sub"
    below.mkdir()
    (below / "results.parquet").write_text("precious")
    monkeypatch.chdir(below)
    code, _, err = call("report", finished_sweep.directory, "--archive", "..")
    assert (code, err) == (0, "")
    assert content_of(below) == {str(below / "results.parquet"): b"precious"}
    assert len(read_directory(archive).runs) == 9


def test_no_archive_is_synced(call: Call, archive: Path) -> None:
    before = content_of(archive)
    code, _, err = call("sync", archive)
    assert (code, len(err.splitlines())) == (2, 1)
    assert "is an archive" in err
    assert content_of(archive) == before


def test_an_archive_that_cannot_be_written_leaves_nothing(
    call: Call, finished_sweep: SweepWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    before = content_of(tmp_path)
    monkeypatch.setattr("xception_jax.report.placing.write_regular", full)
    code, _, err = call("report", finished_sweep.directory, "--archive", tmp_path / "out")
    assert (code, len(err.splitlines())) == (2, 1)
    assert "No space left" in err
    assert content_of(tmp_path) == before
    assert not (tmp_path / "out").exists()


# -- damage ------------------------------------------------------------------------------------


def forge(archive: Path, name: str, content: bytes) -> None:
    """Puts another file in an archive, with its digest."""
    (archive / name).write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    edit_sweep(archive, lambda record: record["archived"]["files"].update({name: digest}))


def parquet(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()


def refusal(call: Call, archive: Path, name: str) -> str:
    """The one line in which `report` refuses an archive, naming the file."""
    code, _, err = call("report", archive)
    assert (code, len(err.splitlines())) == (2, 1), err
    assert name in err
    assert not (archive / "report").exists()
    return err


@pytest.mark.parametrize("name", ["records.parquet", "curves.parquet"])
def test_a_file_that_is_not_the_archived_one_is_named(call: Call, archive: Path, name: str) -> None:
    content = (archive / name).read_bytes()
    (archive / name).write_bytes(content[:-1])
    assert "it was changed" in refusal(call, archive, name)
    (archive / name).unlink()
    assert "No such file" in refusal(call, archive, name)
    with (archive / name).open("wb") as file:
        file.truncate((1 << 26) + 1)
    assert "more than" in refusal(call, archive, name)


@pytest.mark.parametrize("name", ["records.parquet", "curves.parquet"])
def test_a_file_that_is_no_table_of_an_archive_is_named(
    call: Call, archive: Path, name: str
) -> None:
    frame = pl.read_parquet(archive / name)
    first = frame.columns[0]
    for content, words in (
        (b"", "is not a table"),
        (b"PAR1 and no more", "is not a table"),
        (parquet(frame)[:-9], "is not a table"),
        (parquet(frame.drop(first)), f"other columns than an archive: {first}"),
        (parquet(frame.with_columns(pl.lit(1.5).alias(first))), f": {first}"),
        (parquet(frame.with_columns(pl.lit(1).alias("more"))), ": more"),
    ):
        forge(archive, name, content)
        assert words in refusal(call, archive, name)


def test_a_table_of_millions_of_empty_rows_is_refused(call: Call, archive: Path) -> None:
    """Rows that are alike take no space in a file, and much in memory."""
    columns = [pl.lit(None, kind).alias(name) for name, kind in RECORD_SCHEMA.items()]
    frame = pl.select(pl.int_range(1 << 22).alias("row")).with_columns(columns).drop("row")
    forge(archive, "records.parquet", parquet(frame))
    assert (archive / "records.parquet").stat().st_size < 1 << 20
    assert "rows" in refusal(call, archive, "records.parquet")


@pytest.mark.parametrize("name", ["records.parquet", "curves.parquet"])
def test_a_table_that_unpacks_to_gigabytes_is_refused_unread(
    call: Call, archive: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Polars unpacks a page whole, whatever the footer says of its size."""
    column = "record" if name == "records.parquet" else "split"
    frame = pl.read_parquet(archive / name).head(1)
    texts = [f"{number:>{1 << 21}}" for number in range(9)]
    large = pl.concat([frame] * len(texts)).with_columns(pl.Series(column, texts))
    forge(archive, name, parquet(large))
    assert (archive / name).stat().st_size < 1 << 16
    monkeypatch.setattr("xception_jax.report.archive._MOST_UNPACKED", 1 << 24)
    read, scan = [], pl.scan_parquet

    def noted(file: io.BytesIO) -> pl.LazyFrame:
        read.append(file)
        return scan(file)

    monkeypatch.setattr(pl, "scan_parquet", noted)
    assert "unpacks to more than 16,777,216 bytes" in refusal(call, archive, name)
    assert len(read) == (name == "curves.parquet")  # the other file, which comes first


@pytest.mark.parametrize("name", ["records.parquet", "curves.parquet"])
def test_texts_that_a_dictionary_repeats_without_end_are_refused(
    call: Call, archive: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    column = "record" if name == "records.parquet" else "split"
    frame = pl.read_parquet(archive / name).head(1).with_columns(pl.lit("x" * 10**5).alias(column))
    forge(archive, name, parquet(pl.concat([frame] * 100)))
    monkeypatch.setattr("xception_jax.report.archive._MOST_UNPACKED", 1 << 20)
    assert "bytes; the limit is 1,048,576" in refusal(call, archive, name)


def test_cells_that_are_no_records_are_noted_as_in_a_directory(archive: Path) -> None:
    frame = pl.read_parquet(archive / "records.parquet")
    values = {"record": "{", "config": "[]", "pairing": "nan", "changed": "{", "examples": 10**12}
    damaged = frame.with_columns(pl.lit(value).alias(name) for name, value in values.items())
    damaged = damaged.with_columns(pl.lit(b"x").alias("correct"))
    forge(archive, "records.parquet", parquet(damaged.cast(RECORD_SCHEMA)))
    sweep = read_directory(archive)
    assert {run.status for run in sweep.runs} == {"unreadable"}
    assert any("run.json cannot be read" in note for note in sweep.notes)
    assert {sweep.read_predictions(run) for run in sweep.runs} == {None}


@pytest.mark.parametrize(
    ("status", "shown"),
    [
        (5, "5"),
        (["done"], "['done']"),
        ({"a": 1}, "{'a': 1}"),
        (True, "True"),
        ("done\x1b[2J", "done\ufffd[2J"),
    ],
)
def test_a_status_that_is_none_is_shown_as_text(
    call: Call, archive: Path, status: object, shown: str
) -> None:
    record = pl.lit(json.dumps({"status": status})).alias("record")
    frame = pl.read_parquet(archive / "records.parquet").with_columns(record)
    forge(archive, "records.parquet", parquet(frame.cast(RECORD_SCHEMA)))
    code, said, err = call("status", archive)
    assert (code, err) == (0, "")
    assert f"none seed 0 {shown}" in " ".join(said.split())
    assert "\x1b" not in said


@pytest.mark.parametrize("version", [None, 2, "1"])
def test_an_archive_of_another_version_is_refused(
    call: Call, archive: Path, version: object
) -> None:
    edit_sweep(archive, lambda record: record["archived"].update(schema=version))
    refusal(call, archive, "schema")


@fuzzed
@given(changes=damages(), cut=st.none() | st.integers(0, 5000))
@pytest.mark.parametrize("name", ["records.parquet", "curves.parquet"])
def test_damaged_tables(name: str, changes: Damage, cut: int | None, archive: Path) -> None:
    whole = archive.parent / f"{name}.whole"
    if not whole.exists():
        whole.write_bytes((archive / name).read_bytes())
    forge(archive, name, damage(whole.read_bytes(), changes, cut))
    try:
        read_directory(archive)
    except InputError as error:
        assert "\n" not in str(error)
