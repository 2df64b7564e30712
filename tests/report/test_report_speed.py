"""Speed columns: a pack is one measurement, however many runs it holds."""

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
from matplotlib.lines import Line2D

from tests.report.figure_checks import artists, points
from tests.synthetic_sweep import STEPS, NewSweep, SweepWriter, edit_run, saturating
from xception_jax.report import write_report
from xception_jax.report.canvas import WIDE
from xception_jax.report.costs import cost_figure
from xception_jax.report.reading import read_directory

pytestmark = pytest.mark.usefixtures("undrawn_figures")


def packed(new_sweep: NewSweep, speeds: dict[tuple[str, ...], float], **fields: Any) -> SweepWriter:
    """A sweep whose runs, named `arm-s0`, trained in these packs at these speeds."""
    arms = dict.fromkeys(run.rpartition("-s")[0] for names in speeds for run in names)
    sweep = new_sweep(arms={arm: {} for arm in arms}, seeds=range(4), **fields)
    for names, speed in speeds.items():
        for name in names:
            arm, _, seed = name.rpartition("-s")
            pack = {"size": len(names), "runs": list(names)} if len(names) > 1 else None
            sweep.add_run(
                arm,
                int(seed),
                steps=STEPS,
                top1=saturating(0.9),
                test_top1=0.8,
                images_per_second=speed,
                pack=pack,
            )
    return sweep


ONE_EACH: dict[tuple[str, ...], float] = {
    ("none-s0", "none-s1", "none-s2", "none-s3"): 190.0,
    ("relu-s0", "relu-s1", "relu-s2", "relu-s3"): 242.0,
}
SEVERAL: dict[tuple[str, ...], float] = {
    ("none-s0", "none-s1"): 180.0,
    ("none-s2", "none-s3"): 200.0,
    ("relu-s0", "relu-s1"): 240.0,
    ("relu-s2",): 250.0,
    ("relu-s3",): 260.0,
}


def test_a_pack_is_one_measurement_without_a_spread(new_sweep: NewSweep) -> None:
    result = write_report(packed(new_sweep, ONE_EACH).directory)
    assert [row[-1] for row in result.rows] == ["190 (1 pack)", "242 (1 pack)"]
    assert "one pack has none" in result.page.read_text()


def test_the_spread_is_over_packs_and_runs_alone(new_sweep: NewSweep) -> None:
    result = write_report(packed(new_sweep, SEVERAL).directory)
    none, relu = (np.std(v, ddof=1) for v in ([180, 200], [240, 250, 260]))
    assert [row[-1] for row in result.rows] == [
        f"190 ± {none:.0f} (2 packs)",
        f"250 ± {relu:.0f} (1 pack, 2 runs alone)",
    ]
    results = pl.read_parquet(result.page.parent / "results.parquet")
    assert results["speed_measurement"].to_list() == [1, 1, 2, 2, 3, 3, 4, 5]


def test_runs_that_do_not_name_their_pack_are_not_counted_as_many(new_sweep: NewSweep) -> None:
    sweep = packed(new_sweep, ONE_EACH)
    for run in (sweep.directory / "runs").iterdir():
        edit_run(run, lambda record: record.update(pack={"size": 4}))
    result = write_report(sweep.directory)
    assert [row[-1] for row in result.rows] == ["190 (1 pack)", "242 (1 pack)"]


def test_arms_of_one_pack_are_said_to_share_its_speed(new_sweep: NewSweep) -> None:
    shared = {tuple(f"{arm}-s{seed}" for arm in ("none", "relu") for seed in range(4)): 190.0}
    text = write_report(packed(new_sweep, shared).directory).page.read_text()
    assert "none and relu trained in packs with each other" in text


def test_the_cost_figure_weighs_packs_and_not_runs(new_sweep: NewSweep) -> None:
    unequal = {
        ("none-s0", "none-s1", "none-s2"): 100.0,
        ("none-s3",): 200.0,
        ("relu-s0",): 50.0,
    }
    figure = cost_figure(read_directory(packed(new_sweep, unequal).directory))
    assert figure is not None
    means = artists(figure.draw(WIDE), "mean-", Line2D)
    at, _ = points(means["mean-images_per_second-arm-0"])
    np.testing.assert_allclose(at, [150.0])


def test_status_names_the_pack(new_sweep: NewSweep, call: Callable[..., Any]) -> None:
    code, out, _ = call("status", packed(new_sweep, ONE_EACH).directory)
    assert code == 0
    assert out.count("190 (pack of 4)") == 4


def test_a_pack_with_empty_slots_is_as_large_as_its_runs(
    new_sweep: NewSweep, call: Callable[..., Any]
) -> None:
    sweep = packed(new_sweep, SEVERAL)
    for run in (sweep.directory / "runs").iterdir():
        edit_run(run, lambda record: record["pack"] and record["pack"].update(size=4))
    result = write_report(sweep.directory)
    assert pl.read_parquet(result.page.parent / "results.parquet")["pack"].max() == 2
    page = result.page.read_text()
    assert "6 in packs of 2" in page
    assert page.count("1 other<") == 6
    assert call("status", sweep.directory)[1].count("(pack of 2)") == 6
