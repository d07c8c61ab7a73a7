"""Pages in a real browser: tables sort, pictures flip, nothing goes wrong or out to the network.

Needs Chromium, found by its usual names or by CHROMIUM; skipped where there is none.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from panoptic_deeplab.page import Pictures, Section, SortableTable, render_page

playwright = pytest.importorskip("playwright.sync_api")

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
PROGRAM = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no Chromium is installed")


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=PROGRAM, args=["--no-sandbox"])
        yield opened
        opened.close()


def open_page(browser: object, content: bytes, folder: Path) -> tuple[object, list[str]]:
    """The page, and what went wrong or left for the network so far."""
    path = folder / "page.html"
    path.write_bytes(content)
    page, faults = browser.new_page(), []
    page.on("console", lambda message: faults.append(message.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda r: r.url.startswith("http") and faults.append(r.url))
    page.goto(path.as_uri())
    return page, faults


def sections() -> list[Section]:
    rows = (("car", 61.25, 1200), ("<b>road</b>", None, 3))
    table = SortableTable(("class", "PQ", "found"), rows, key="classes")
    grey = [cv2.imencode(".png", np.full((4, 6, 3), v, np.uint8))[1].tobytes() for v in (10, 200)]
    pictures = Pictures({"truth": grey[0], "prediction": grey[1]}, "a & b")
    return [Section("Numbers", (table,)), Section("Pictures", (pictures,))]


def first_column(page: object) -> list[str]:
    return page.locator("#classes tbody tr td:first-child").all_inner_texts()


def test_tables_sort_and_pictures_flip(browser: object, tmp_path: Path) -> None:
    page, faults = open_page(browser, render_page("t", sections()), tmp_path)
    page.click("#classes th:nth-child(1)")
    assert first_column(page) == ["<b>road</b>", "car"]
    page.click("#classes th:nth-child(1)")
    assert first_column(page) == ["car", "<b>road</b>"]
    page.click("#classes th:nth-child(3)")  # numbers: the largest first
    assert first_column(page) == ["car", "<b>road</b>"]
    page.click("#classes th:nth-child(3)")
    assert first_column(page) == ["<b>road</b>", "car"]
    for _ in range(2):  # what does not exist stays last, up or down
        page.click("#classes th:nth-child(2)")
        assert first_column(page) == ["car", "<b>road</b>"]
    shown = page.locator("figure img.shown")
    assert shown.get_attribute("alt") == "truth"
    page.click("figure button:nth-child(2)")
    assert shown.get_attribute("alt") == "prediction"
    assert shown.bounding_box()["width"] > 0
    page.click("figure .frame")
    assert shown.get_attribute("alt") == "truth"
    page.press("figure", "ArrowLeft")
    assert shown.get_attribute("alt") == "prediction"
    assert faults == []
