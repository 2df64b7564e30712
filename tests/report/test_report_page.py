"""Whole reports: what is written, what the page says, and how a browser shows it."""

import csv
import itertools
import json
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from tests.report.figure_checks import artists, points, texts
from tests.synthetic_sweep import STEPS, NewSweep, SweepWriter, saturating, write_log, write_run
from tests.synthetic_verdicts import CLAIM, ENDPOINT, verdicts_on
from xception_jax.errors import InputError
from xception_jax.regular_files import write_regular
from xception_jax.report import write_report
from xception_jax.report.canvas import NARROW, WIDE
from xception_jax.report.effects import effect_figure, effect_frame
from xception_jax.report.figures import report_figures
from xception_jax.report.page import MadeBy, PageFigure, render_page
from xception_jax.report.reading import read_directory
from xception_jax.report.summary import summarize
from xception_jax.statistics.audit import audit
from xception_jax.sweep import Claim

KINDS = ("svg", "pdf", "png")
FILES = {
    "index.html",
    *(f"{name}.{kind}" for name in ("results", "curves") for kind in ("csv", "parquet")),
    *(f"{name}.{kind}" for name in ("validation_top1", "validation_loss") for kind in KINDS),
    *(f"{name}.{kind}" for name in ("paired_difference", "cost") for kind in KINDS),
    "audit.json",
    "checklist.md",
    "results.tex",
    "verdicts.json",
}
HOSTILE = (
    '"><script>alert(1)</script><img src=x onerror=alert(2)>&amp; $style {{ 7 * 7 }} {% raw %}'
)


def test_writes_the_files_that_readers_expect(finished_sweep: SweepWriter) -> None:
    result = write_report(finished_sweep.directory, command="xception-jax report W")
    folder = finished_sweep.directory / "report"
    assert {path.name for path in folder.iterdir()} == FILES
    assert set(result.paths) == set(folder.iterdir())
    assert result.page == folder / "index.html"
    assert result.headline == "nonlinearity: 9 of 9 runs done"
    assert [row[0] for row in result.rows] == ["none", "relu", "elu"]
    assert all(len(row) == len(result.columns) for row in result.rows)
    assert result.rows[0][1] == "3 of 3 done"
    assert result.rows[0][3] == "0.8920 ± 0.0020"
    assert result.rows[0][4].endswith("(3 of 3)")
    _, _, listed = result.page.read_text().partition("Data files")
    figures_and_page = {".svg", ".pdf", ".png", ".html"}
    data_files = {name for name in FILES if Path(name).suffix not in figures_and_page}
    assert set(re.findall(r"\w+\.\w+", listed.partition("</dd>")[0])) == data_files


@pytest.mark.usefixtures("undrawn_figures")
def test_data_files_agree_and_hold_every_run_and_row(finished_sweep: SweepWriter) -> None:
    write_report(finished_sweep.directory)
    folder = finished_sweep.directory / "report"
    results = pl.read_parquet(folder / "results.parquet")
    with (folder / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["arm"] for row in rows] == results["arm"].to_list()
    assert [float(row["valid_top1"]) for row in rows] == results["valid_top1"].to_list()
    assert results["status"].to_list() == ["done"] * 9
    curves = pl.read_parquet(folder / "curves.parquet")
    assert curves.equals(pl.read_csv(folder / "curves.csv", schema=curves.schema))
    assert curves.height == 9 * len(STEPS) * 2


def test_report_of_a_troubled_sweep_counts_everything(troubled_sweep: SweepWriter) -> None:
    result = write_report(troubled_sweep.directory)
    page = result.page.read_text()
    assert result.headline == (
        "nonlinearity: 4 of 12 runs done, 1 running, 5 not started, 1 diverged, 1 failed"
    )
    rows = {row[0]: row for row in result.rows}
    assert rows["relu"][1] == "1 of 3 done, 1 running, 1 not started"
    assert rows["relu"][2] == f"{saturating(0.88)[-1]:.4f}"  # one seed: no deviation
    assert rows["elu"][2] == "—"
    assert rows["elu"][4] == "not reached (0 of 1)"
    assert rows["selu"][1] == "0 of 3 done, 3 not started"
    for text in ("loss is nan", "OSError: disk full", "not tested", "has not ended"):
        assert text in page
    assert "counted, not averaged" in page
    assert "fashion_mnist_mini (10,800 training images)" in page


@pytest.mark.usefixtures("undrawn_figures")
def test_single_run(tmp_path: Path) -> None:
    entry = {"arm": "none", "seed": 3, "id": "0" * 64}
    write_run(tmp_path, entry, status="done", test_top1=0.8)
    write_log(tmp_path / "metrics.jsonl", STEPS, saturating(0.8), [0.5] * len(STEPS))
    result = write_report(tmp_path)
    assert result.headline == f"{tmp_path.name}: 1 of 1 runs done"
    assert "one finished run, on fashion_mnist_mini" in result.page.read_text()


@pytest.mark.parametrize("arms", [{}, {"none": {}}])
def test_sweep_that_has_not_begun(new_sweep: NewSweep, arms) -> None:
    sweep = new_sweep(arms=arms)
    result = write_report(sweep.directory)
    assert "No run has been validated yet." in result.page.read_text()
    assert len(result.rows) == len(arms)


@pytest.mark.usefixtures("undrawn_figures")
def test_without_a_run_of_the_pilot_the_page_says_what_a_target_needs(new_sweep: NewSweep) -> None:
    claim = json.loads(
        json.dumps(Claim("a", "b", "better", ("steps_to_target",), pilot_seeds=2).describe())
    )
    sweep = new_sweep(arms={"a": {}, "b": {}}, seeds=(0, 1, 2), claims=[claim])
    sweep.add_run("a", 2, steps=STEPS, top1=saturating(0.9), test_top1=0.8)
    page = write_report(sweep.directory).page.read_text()
    assert "no target yet: it comes from done runs, of the pilot seeds if there are any" in page
    assert "Images/s is what each run measured as it trained" in page


def test_every_text_from_a_file_is_escaped(new_sweep: NewSweep) -> None:
    sweep = new_sweep(
        name=HOSTILE,
        hypothesis=HOSTILE,
        arms={HOSTILE: {HOSTILE: HOSTILE}, "x" * 400: {}},
        claims=[{HOSTILE: HOSTILE}, HOSTILE],
        seeds=(0, 1),
    )
    sweep.add_run(
        HOSTILE,
        0,
        status="failed",
        steps=STEPS,
        top1=saturating(0.5),
        reason=HOSTILE + "\x00\x1b[31m\ud800\u202e",
        devices=[HOSTILE],
        versions={HOSTILE: HOSTILE},
        commit=HOSTILE,
    )
    sweep.add_run("x" * 400, 0, steps=STEPS, top1=saturating(0.5), test_top1=0.4)
    (sweep.run_directory("x" * 400, 1) / "run.json").write_text("<script>")
    result = write_report(sweep.directory, command=HOSTILE)
    page = result.page.read_text()
    assert not re.search(r"<script|<img src=x|onerror=alert\(2\)>", page)
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 10
    assert "<script" not in (result.page.parent / "validation_top1.svg").read_text()
    assert "x" * 400 in page
    assert "{{ 7 * 7 }}" in page


@pytest.mark.usefixtures("undrawn_figures")
def test_reader_never_sees_a_partial_file(
    finished_sweep: SweepWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While files are written, readers find those of before; then each takes its name at once."""
    first = write_report(finished_sweep.directory)
    before = {file: file.read_bytes() for file in first.paths}
    written: list[Path] = []

    def write(path: Path, content: bytes) -> None:
        assert path not in before
        write_regular(path, content)
        written.append(path)
        assert {file: file.read_bytes() for file in before} == before

    monkeypatch.setattr("xception_jax.report.placing.write_regular", write)
    again = write_report(finished_sweep.directory, command="again")
    assert len(written) == len(again.paths)
    assert again.page.read_bytes() != before[again.page]


@pytest.mark.usefixtures("undrawn_figures")
def test_folder_that_cannot_be_made_is_an_input_error(finished_sweep: SweepWriter) -> None:
    (finished_sweep.directory / "report").write_text("not a folder")
    with pytest.raises(InputError, match="cannot be written"):
        write_report(finished_sweep.directory)


@pytest.mark.slow
def test_300_runs_of_2000_points(new_sweep: NewSweep) -> None:
    """The data files hold every row, and the page stays small enough to open."""
    arms: dict[str, dict[str, Any]] = {f"arm {index}": {} for index in range(15)}
    sweep = new_sweep(arms=arms, seeds=range(20))
    steps = range(10, 20010, 10)
    for index, arm in enumerate(arms):
        rows = [
            f'{{"step":{step},"epoch":1.0,"split":"valid","loss":0.5,"top1":{value:.5f}}}\n'
            for step, value in zip(steps, saturating(0.9 - 0.01 * index, steps=steps), strict=True)
        ]
        for seed in sweep.seeds:
            path = sweep.add_run(arm, seed, test_top1=0.8)
            (path / "metrics.jsonl").write_text("".join(rows))
    result = write_report(sweep.directory)
    curves = pl.scan_parquet(sweep.directory / "report" / "curves.parquet")
    assert curves.select(pl.len()).collect().item() == 600_000
    assert result.headline == "nonlinearity: 300 of 300 runs done"
    assert "Drawn at evenly spaced evaluations" in result.page.read_text()
    assert result.page.stat().st_size < 5e6


def test_verdicts_come_first_and_every_word_of_them_is_escaped(
    finished_sweep: SweepWriter,
) -> None:
    hostile = dict.fromkeys(("title", "sentence", "grade"), HOSTILE)
    sweep = read_directory(finished_sweep.directory)
    verdicts = verdicts_on({}, hostile)
    page = render_page(
        sweep,
        summarize(sweep),
        [PageFigure(figure, "") for figure in report_figures(sweep, verdicts)],
        audit=audit(sweep),
        verdicts=verdicts,
        made_by=MadeBy(None, "now", ()),
    )
    text = page[page.index('<ol class="verdicts"') : page.index("</ol>")]
    assert page.index("</ol>") < page.index("<h2>")
    words = ("none better than relu: final top-1", "supported", "grade A", "3 pairs of 3 planned")
    for word in (*words, "declared before the runs", "0.003 to 0.021"):
        assert word in text
    assert "<script" not in text
    assert text.count("&lt;script&gt;alert(1)") == 3


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_forest_has_a_row_an_effect_and_a_margin(finished_sweep: SweepWriter, width: float) -> None:
    declared = CLAIM["claim"] | {"direction": "equivalent", "margin": 0.01}
    equivalent = {"claim": declared, "verdict": "equivalent"}
    untested = {"endpoints": [ENDPOINT | {"effect": None, "interval": None}]}
    sweep = read_directory(finished_sweep.directory)
    figure = effect_figure(sweep, verdicts_on({}, equivalent, untested))
    assert figure is not None
    drawn = figure.draw(width)
    assert sum("+0.0120 [+0.0030, +0.0210]" in text for text in texts(drawn)) == 2
    (margin,) = artists(drawn, "margin-", Rectangle).values()
    assert (margin.get_x(), margin.get_width()) == (-0.01, 0.02)
    effects = artists(drawn, "effect-", Line2D)
    assert list(effects) == ["effect-0.0-arm-0-arm-1", "effect-0.1-arm-0-arm-1"]
    assert [points(effect)[0][0] for effect in effects.values()] == [0.012, 0.012]
    ends = [points(line)[0].tolist() for line in artists(drawn, "interval-", Line2D).values()]
    assert ends == [[0.003, 0.021]] * 2
    assert len({(effect.get_color(), effect.get_marker()) for effect in effects.values()}) == 2
    assert sum("equivalent" in text for text in texts(drawn)) == 1
    assert effect_figure(sweep, verdicts_on(untested)) is None


@pytest.mark.parametrize("direction", ["equivalent", "not_worse", "better"])
def test_only_an_equivalence_over_bases_is_shaded(direction: str) -> None:
    """Over bases no difference is tested, so that no row of the mean has an edge."""
    declared = CLAIM["claim"] | {"direction": direction, "margin": 0.01}
    on_base = {**CLAIM, "claim": declared, "base": "x", "arms": ["x-none", "x-relu"]}
    over = {"claim": declared, "bases": [on_base], "at_least": 1}
    rows = effect_frame(verdicts_on(over)).filter(pl.col("is_mean"))
    assert rows["margin"].to_list() == [0.01 if direction == "equivalent" else None]


@pytest.mark.usefixtures("undrawn_figures")
def test_the_page_says_when_there_is_no_claim(finished_sweep: SweepWriter) -> None:
    assert "draws no verdict" in write_report(finished_sweep.directory).page.read_text()


@pytest.mark.usefixtures("undrawn_figures")
def test_sets_of_labels_are_reported_by_map100(new_sweep: NewSweep) -> None:
    sweep = new_sweep(arms={"none": {}, "relu": {}}, seeds=(0, 1))
    for arm, seed in itertools.product(sweep.arms, sweep.seeds):
        result = {"loss": 1.0, "top1": 0.9, "top5": 1.0, "map100": 0.4 + 0.1 * seed}
        path = sweep.add_run(arm, seed, metric="map100", result=result)
        rows = [
            {
                "step": step,
                "epoch": 1.0,
                "split": "valid",
                "loss": 0.5,
                "top1": 0.9,
                "map100": value,
            }
            for step, value in zip(STEPS, saturating(0.4 + 0.1 * seed), strict=True)
        ]
        (path / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    written = write_report(sweep.directory)
    folder = written.page.parent
    assert "test MAP@100" in written.columns
    assert written.rows[0][3] == "0.4500 ± 0.0707"
    assert (folder / "validation_map100.svg").is_file()
    assert not (folder / "validation_top1.svg").exists()
    results = pl.read_parquet(folder / "results.parquet")
    assert results["test_map100"].to_list() == [0.4, 0.5, 0.4, 0.5]
    assert results["metric"].unique().to_list() == ["map100"]
    assert "top-1" not in written.page.read_text()


@pytest.mark.usefixtures("undrawn_figures")
def test_packed_runs_are_named(new_sweep: NewSweep) -> None:
    sweep = new_sweep(arms={"none": {}}, seeds=(0, 1))
    for seed in sweep.seeds:
        pack: dict[str, Any] = {"pack": {"size": 2, "runs": ["none-s0", "none-s1"]}} if seed else {}
        sweep.add_run("none", seed, steps=STEPS, top1=saturating(0.9), test_top1=0.8, **pack)
    text = write_report(sweep.directory).page.read_text()
    assert "Packed runs, trained together in one program: 1 in packs of 2." in text
    assert text.count("1 other<") == 1
