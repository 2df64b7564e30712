"""The page of a report in a browser: drawn on any width, chosen from, and printed."""

from pathlib import Path
from typing import Any

import pytest

from tests.report.headless_browser import CHROMIUM, chromium
from tests.synthetic_sweep import SweepWriter, edit_sweep
from xception_jax.report import write_report

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
SHOWN_FIGURES = (
    "[...document.querySelectorAll('figure svg')].map(i => i.getBoundingClientRect().width)"
    ".filter(width => width > 0)"
)
UNTIL_STILL = "Promise.all(document.getAnimations().map(each => each.finished)).then(() => 0)"


def test_page_in_a_browser(troubled_sweep: SweepWriter, tmp_path: Path) -> None:
    """From disk, without network: no complaint, no sideways scrolling, every figure drawn."""
    arm = "a_name_without_any_place_to_break_it_" * 8

    def change(record: dict[str, Any]) -> None:
        record["experiment"]["name"] = arm
        record["experiment"]["arms"][arm] = {arm: arm}

    edit_sweep(troubled_sweep.directory, change)
    page_file = write_report(troubled_sweep.directory, command=f"xception-jax report {arm}").page
    with chromium(tmp_path / "profile") as page:
        for width, figure_width in ((1280, 600), (390, 300)):
            for dark in (False, True):
                page.open(page_file, width=width, dark=dark)
                assert page.complaints() == []
                assert page.requests() == [page_file.as_uri()]
                assert page.evaluate("document.documentElement.scrollWidth") <= width
                shown = page.evaluate(SHOWN_FIGURES)
                assert len(shown) == 3
                assert min(shown) >= figure_width
                ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
                ink = page.evaluate("getComputedStyle(document.querySelector('figure text')).fill")
                assert (ground == "rgb(22, 24, 27)") == (ink == "rgb(232, 230, 225)") == dark


def test_choosing_arms_in_a_browser(finished_sweep: SweepWriter, tmp_path: Path) -> None:
    """An arm that is not ticked fades from every figure and leaves every table; no script."""
    page_file = write_report(finished_sweep.directory).page
    assert "<script" not in page_file.read_text()
    shown = "[...document.querySelectorAll('tbody tr.a1')].filter(r => r.offsetHeight).length"
    fade = "[...document.querySelectorAll('figure .a1')].map(g => getComputedStyle(g).opacity)"
    with chromium(tmp_path / "profile") as page:
        page.open(page_file, width=1280)
        before = page.evaluate(shown)
        assert before >= 3
        assert set(page.evaluate(fade)) == {"1"}
        page.evaluate("document.getElementById('s1').click()")
        page.evaluate(UNTIL_STILL, wait=True)
        assert page.evaluate(shown) == 0
        assert set(page.evaluate(fade)) == {"0.07"}
        assert page.complaints() == []


def test_printed_page_is_light_and_fits_the_paper(
    finished_sweep: SweepWriter, tmp_path: Path
) -> None:
    with chromium(tmp_path / "profile") as page:
        page.open(write_report(finished_sweep.directory).page, width=720, dark=True)
        scheme = {"name": "prefers-color-scheme", "value": "dark"}
        page.call("Emulation.setEmulatedMedia", media="print", features=[scheme])
        assert page.evaluate("document.documentElement.scrollWidth") <= 720
        assert page.evaluate("getComputedStyle(document.querySelector('figure text')).fill") == (
            "rgb(27, 29, 32)"
        )
        assert page.evaluate("document.querySelector('fieldset').offsetHeight") == 0
