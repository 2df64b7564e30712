"""Archives: small directories from which a sweep's report is made again, value for value."""

import json
import re
import socket
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.known_effects import ARMS, FACTORS, build, build_factorial
from tests.synthetic_bases import build_on_bases
from tests.synthetic_sweep import DECLARED, NewSweep, SweepWriter, edit_run, edit_sweep
from tests.synthetic_tuning import add_tuning, fill, hill
from xception_jax.checksums import with_checksum
from xception_jax.errors import InputError
from xception_jax.report import write_report
from xception_jax.report.archiving import write_archive
from xception_jax.report.evaluation import Evaluation, evaluate
from xception_jax.report.reading import read_directory
from xception_jax.report.sensitivity import tuning_runs_frame
from xception_jax.report.tables import results_frame
from xception_jax.statistics.confirmation import kept_verdicts
from xception_jax.statistics.declared import read_declared
from xception_jax.statistics.verdicts import judge
from xception_jax.sweep import Claim, Interaction
from xception_jax.sweep.declarations import Known, with_declaration

FILES = {
    "sweep.json", "records.parquet", "curves.parquet", "results.parquet", "verdicts.json",
    "checklist.md",
}  # fmt: skip


def evaluated(directory: Path) -> Evaluation:
    return evaluate(read_directory(directory))


def require_same(directory: Path, archive: Path) -> Evaluation:
    """Everything that a report says of both is the same; returns what that is."""
    one, other = evaluated(directory), evaluated(archive)
    assert other.verdicts == one.verdicts
    assert other.findings == one.findings
    assert other.summary == one.summary
    assert other.checklist_file() == one.checklist_file()
    assert results_frame(other.summary).equals(results_frame(one.summary))
    assert other.sweep.curves.equals(one.sweep.curves)
    assert other.sweep.notes == one.sweep.notes
    assert other.sweep.tuning_runs == one.sweep.tuning_runs
    return one


# -- the same report ---------------------------------------------------------------------------


@pytest.fixture
def judged(new_sweep: NewSweep, rng: np.random.Generator) -> SweepWriter:
    """Two claims over eight seeds, with predictions, a diverged run and one that is missing."""
    claims = [Claim("a", "b", "better", ("final_top1", "steps_to_target")), Claim("c", "b")]
    effects = {"a": 0.03, "b": 0.0, "c": 0.01}
    return build(new_sweep, claims, effects, rng, diverged=(("a", 3),), skip=(("c", 7),))


def test_an_archive_makes_the_same_report_file_by_file(judged: SweepWriter, tmp_path: Path) -> None:
    out = tmp_path / "archive"
    written = write_archive(judged.directory, out)
    assert {path.name for path in written} == {path.name for path in out.iterdir()} == FILES
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    first, again = write_report(judged.directory), write_report(out)
    assert first.verdicts["claims"][0]["endpoints"][0]["example_interval"] is not None
    assert len(first.verdicts["noise"]) >= 3
    assert [path.name for path in again.paths] == [path.name for path in first.paths]
    for one, other in zip(first.paths, again.paths, strict=True):
        contents = [path.read_bytes() for path in (one, other)]
        if one.name == "index.html":
            contents = [re.sub(rb"[\d-]+ [\d:]+ UTC", b"", content) for content in contents]
        assert contents[0] == contents[1], one.name
    assert (out / "verdicts.json").read_bytes() == (out / "report/verdicts.json").read_bytes()


def test_a_sweep_with_tuning(new_sweep: NewSweep, tmp_path: Path) -> None:
    sweep = new_sweep(arms={"none": {}, "relu": {}}, seeds=range(4))
    scores = {"none": hill(0.1), "relu": hill(0.4)}
    scores["relu"][0.1,] = [None, 0.7]
    add_tuning(sweep, scores)
    fill(sweep)
    write_archive(sweep.directory, tmp_path / "archive")
    evaluation = require_same(sweep.directory, tmp_path / "archive")
    assert evaluation.verdicts["compute"]["tuning"] > 0
    frames = [
        tuning_runs_frame(read_directory(home)) for home in (sweep.directory, tmp_path / "archive")
    ]
    assert frames[0] is not None
    assert frames[1] is not None
    assert frames[0].equals(frames[1])


def test_a_tuning_of_before_is_not_taken_for_one_of_now(
    judged: SweepWriter, tmp_path: Path
) -> None:
    tuned = SweepWriter(tmp_path / "tuned", arms={"none": {}, "relu": {}}, seeds=range(4))
    add_tuning(tuned, {"none": hill(0.1), "relu": hill(0.4)})
    write_archive(tuned.directory, tmp_path / "archive")
    tuning = (tmp_path / "archive" / "tuning.json").read_bytes()
    write_archive(judged.directory, tmp_path / "archive")
    require_same(judged.directory, tmp_path / "archive")
    (tmp_path / "archive" / "tuning.json").write_bytes(tuning)
    with pytest.raises(InputError, match="is not one that the"):
        read_directory(tmp_path / "archive")


def test_a_sweep_with_looks(new_sweep: NewSweep, rng: np.random.Generator, tmp_path: Path) -> None:
    claims, skip = [Claim("a", "b"), Claim("c", "b")], tuple(("c", s) for s in range(9, 12))
    fields: dict[str, Any] = {"seeds": 12, "skip": skip, "looks": (8, 12), "spending": "pocock"}
    sweep = build(new_sweep, claims, {"a": 0.05, "b": 0.0, "c": 0.0}, rng, **fields)
    write_archive(sweep.directory, tmp_path / "archive")
    evaluation = require_same(sweep.directory, tmp_path / "archive")
    look = evaluation.verdicts["claims"][0]["look"]
    assert look is not None
    assert look["number"] == 1


def test_a_sweep_with_factors(
    new_sweep: NewSweep, rng: np.random.Generator, tmp_path: Path
) -> None:
    effects = dict.fromkeys(ARMS, 0.0) | {"dw-relu": -0.02, "pw-relu": 0.04}
    sweep = build_factorial(new_sweep, (Interaction(tuple(FACTORS), ("pw", "relu")),), effects, rng)
    write_archive(sweep.directory, tmp_path / "archive")
    assert require_same(sweep.directory, tmp_path / "archive").verdicts["claims"]


def test_a_sweep_over_several_bases(
    new_sweep: NewSweep, rng: np.random.Generator, tmp_path: Path
) -> None:
    effects = {"mini": {"a": 0.05, "b": 0.0}, "wide": {"a": 0.0, "b": 0.0}}
    sweep = build_on_bases(new_sweep, [Claim("a", "b")], effects, rng)
    write_archive(sweep.directory, tmp_path / "archive")
    (claim,) = require_same(sweep.directory, tmp_path / "archive").verdicts["claims"]
    assert [each["base"] for each in claim["bases"]] == ["mini", "wide"]


def test_an_archive_that_would_say_something_else_is_not_written(
    judged: SweepWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other(packed: np.ndarray, count: int) -> np.ndarray:
        return np.ones(count, np.uint8)

    monkeypatch.setattr("xception_jax.report.archive.np.unpackbits", other)
    with pytest.raises(InputError, match=r"would not say the same.*claims, noise"):
        write_archive(judged.directory, tmp_path / "archive")
    assert [path.name for path in tmp_path.iterdir()] == [judged.directory.name]


def test_a_confirmation_of_another_sweep(judged: SweepWriter, tmp_path: Path) -> None:
    verdicts = judge(read_directory(judged.directory))
    first = {"directory": "results/first", "at": DECLARED, "seeds": [20, 21]}
    kept = kept_verdicts(verdicts)
    confirms = with_checksum({**first, "claims": json.loads(json.dumps(kept))})
    edit_sweep(judged.directory, lambda record: record.update(confirms=confirms))
    write_archive(judged.directory, tmp_path / "archive")
    evaluation = require_same(judged.directory, tmp_path / "archive")
    assert evaluation.verdicts["claims"][0]["replication"]["outcome"] != "not known"


def test_what_is_wrong_with_a_sweep_is_said_of_its_archive_too(
    judged: SweepWriter, tmp_path: Path
) -> None:
    """Changed, broken and superseded runs, a broken log, a run listed outside of the sweep."""
    log = judged.run_directory("a", 0) / "metrics.jsonl"
    log.write_text(f"nonsense\n{log.read_text()}")
    changed = judged.run_directory("a", 1) / "run.json"
    changed.write_text(changed.read_text().replace('"done"', '"diverged"'))
    (judged.run_directory("b", 2) / "run.json").write_text('{"status": "do')
    (judged.run_directory("b", 5) / "pairing.json").unlink()
    superseded = judged.directory / "runs" / "a-s9-00000000"
    superseded.mkdir()
    record = json.loads((judged.run_directory("b", 0) / "run.json").read_text())
    (superseded / "run.json").write_text(json.dumps(with_checksum(record)))
    row = {"arm": "a", "seed": 99, "id": "0" * 64, "directory": "../elsewhere"}
    edit_sweep(judged.directory, lambda record: record["runs"].append(row))
    write_archive(judged.directory, tmp_path / "archive")
    evaluation = require_same(judged.directory, tmp_path / "archive")
    assert evaluation.verdicts["compute"]["thrown_away"] > 0
    assert [run.status for run in evaluation.sweep.runs].count("unreadable") == 2
    said = " ".join(evaluation.sweep.notes)
    for words in ("1 broken or repeated rows", "was changed after", "is not inside", "a-s9-"):
        assert words in said


def test_an_archive_of_an_archive_is_the_same(judged: SweepWriter, tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    write_archive(judged.directory, one)
    write_archive(one, other)
    for path in one.iterdir():
        assert path.read_bytes() == (other / path.name).read_bytes(), path.name


# -- nothing of the machine --------------------------------------------------------------------


def test_an_archive_says_nothing_of_the_machine(
    judged: SweepWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, host = judged.directory, "node-17.cluster"
    monkeypatch.setattr(socket, "gethostname", lambda: host)
    command = f"xception-jax sweep {home}/mine.py '--workdir={home} two' data.directory={home}/fm"
    experiment = json.loads((home / "sweep.json").read_text())["experiment"]
    history: list[Any] = []
    for number in range(2):
        history = with_declaration(
            history,
            seeds=experiment["seeds"][: 7 + number],
            arms=experiment["arms"],
            claims=experiment["claims"],
            known=Known(),
            command=f"{command} train.epochs={number}",
            at=DECLARED,
        )
    base = {"seed": 0, "data": {"name": "fashion_mnist", "directory": f"{home}/fm"}}
    edit_sweep(
        home,
        lambda record: record.update(base=base, command=command, declarations=history),
    )
    text = f"OSError: [Errno 5] {home}/fm/images: lost on {host}"
    edit_run(judged.run_directory("c", 2), lambda run: run.update(status="failed", reason=text))
    for arm, seed in (("a", 0), ("b", 1)):
        path = judged.run_directory(arm, seed) / "config.json"
        config = json.loads(path.read_text())
        config["data"]["directory"] = f"{home}/fm"
        path.write_text(json.dumps(config))
    write_archive(home, tmp_path / "archive")
    archived = read_directory(tmp_path / "archive")
    for text in texts_of(tmp_path / "archive"):
        assert str(tmp_path) not in text
        assert not re.search(rf"(?<![\w.-]){re.escape(host)}(?![\w-])", text)
    assert archived.command == "xception-jax sweep mine.py '--workdir=sweep two' data.directory=fm"
    assert archived.record["base"]["data"]["directory"] is None
    failed = next(run for run in archived.runs if run.status == "failed")
    assert failed.reason == "OSError: [Errno 5] images: lost on this host"
    declared = read_declared(archived)
    assert (declared.claims_doubt, declared.seeds_doubt) == ("", "")
    assert declared.seeds == tuple(range(8))
    one, other = (evaluated(place).verdicts for place in (home, tmp_path / "archive"))
    assert one == other


def texts_of(archive: Path) -> list[str]:
    """Reads every text that an archive holds, its Parquet files' too."""
    texts = []
    for path in archive.iterdir():
        if path.suffix == ".parquet":
            frame = pl.read_parquet(path)
            columns = [name for name, kind in frame.schema.items() if kind == pl.String]
            texts += [str(text) for name in columns for text in frame[name]]
        else:
            texts.append(path.read_text())
    return texts


def test_what_was_edited_stays_edited(judged: SweepWriter, tmp_path: Path) -> None:
    """New checksums are made for what was as it was written, and for nothing else."""

    def edit(record: dict[str, Any]) -> None:
        record["declarations"][0] |= {"seeds": [0], "command": f"in {tmp_path}/elsewhere"}

    edit_sweep(judged.directory, edit)
    write_archive(judged.directory, tmp_path / "archive")
    declared = read_declared(read_directory(tmp_path / "archive"))
    assert declared.claims_doubt == "the declarations in sweep.json were changed"


def test_a_link_to_itself_is_no_place_for_an_archive(judged: SweepWriter, tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(InputError, match="loop"):
        write_archive(judged.directory, loop)
