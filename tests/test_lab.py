"""JupyterLab as a newcomer meets it, in a real browser: start page, notebook, sliders.

`LAB_SCREENSHOTS=FOLDER` keeps a picture of each step.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest

from lib.widgets.map import HOW
from tests.lab_server import (
    copy_notebooks,
    find_chromium,
    open_page,
    run_all_cells,
    running_lab,
    set_parameters,
    shoot,
    wait_for_kernel,
)
from tests.widgets.test_hits import encoded

ERRORS = ", ".join(
    f'.jp-OutputArea-output[data-mime-type="application/vnd.jupyter.{kind}"]'
    for kind in ("error", "stderr")
)
# Done, or failed: whatever comes first, so that a failure is not waited out.
FINISHED = f'.jp-OutputArea-output:has-text("written: data-phantom"), {ERRORS}'


def test_a_newcomers_first_steps(tmp_path: Path) -> None:
    chromium = find_chromium()
    folder, home, results = (tmp_path / name for name in ("repository", "home", "results"))
    folder.mkdir()
    home.mkdir()
    copy_notebooks(folder)
    small = {"gallery": 3, "cap_per_class": 4, "results": str(results)}
    set_parameters(folder / "notebooks" / "00_data.ipynb", **small)
    with running_lab(folder, home) as server, open_page(chromium) as (page, outside):
        page.goto(f"{server['url']}?token={server['token']}")
        open_from_start_page(page)
        run_to_the_end(page)
        turn_a_slider(page)
        assert outside == []  # everything comes from this machine
    (metrics,) = results.glob("interactive/runs/data-phantom-*/metrics.json")
    rows = json.loads(metrics.read_text(encoding="utf-8"))["rows"]
    assert {row["split"] for row in rows if row["value"] > 0} == {"train", "val", "test"}


def open_from_start_page(page: Any) -> None:
    """The page is rendered, not in an editor, and its link opens the notebook beside it."""
    page.locator(".jp-MarkdownViewer h1", has_text="Start here").wait_for()
    links = page.locator(".jp-MarkdownViewer td a")
    assert links.count() == 12
    shoot(page, "1-start-page")
    links.first.click()
    page.locator(".jp-Notebook .jp-CodeCell").first.wait_for()
    wait_for_kernel(page)


def run_to_the_end(page: Any) -> None:
    """Every cell, without an error or a warning."""
    run_all_cells(page)
    page.locator(FINISHED).first.wait_for(timeout=240_000)
    assert page.locator(ERRORS).all_inner_texts() == []
    shoot(page, "2-run")


def turn_a_slider(page: Any) -> None:
    """Larger crops: the views change, the originals stay, and the text says what to write."""
    explorer = page.locator(".augmentation-explorer")
    explorer.scroll_into_view_if_needed()
    pictures = explorer.locator("img")
    original, view = (pictures.nth(i).get_attribute("src") for i in (0, 1))
    shoot(page, "3-explorer")
    explorer.get_by_role("slider").first.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    explorer.get_by_text("crop_scale=0.14").wait_for()
    page.wait_for_function(
        "before => document.querySelectorAll('.augmentation-explorer img')[1].src !== before",
        arg=view,
    )
    assert pictures.nth(0).get_attribute("src") == original
    shoot(page, "4-slider-turned")
    view = pictures.nth(1).get_attribute("src")
    explorer.get_by_role("button", name="New draw").click()
    page.wait_for_function(
        "before => document.querySelectorAll('.augmentation-explorer img')[1].src !== before",
        arg=view,
    )
    assert pictures.nth(0).get_attribute("src") == original


MAP = """
import numpy as np
from lib.evaluation.cloud import Sample
from lib.figures.features import make_key
from lib.widgets.map import explore_map
from tests.synthetic import make_data

data = make_data()
rows = np.arange(400) % len(data.splits["test"])
sample = Sample("test", rows, data.splits["test"].y[rows].astype(np.int64), None, 400)
points = np.stack(np.divmod(np.arange(400), 20), 1).astype(float)
explore_map({"grid": points}, make_key(sample.y, data), sample, np.ones(400, bool), data)
"""


SEARCH = """
from pathlib import Path
from lib.widgets.hits import explore_retrieval
from tests.synthetic import make_run
from tests.widgets.test_hits import searched

features, result = searched(data)
explore_retrieval(result, features, data, make_run(Path("nothing is written")))
"""


def test_explorers_answer_to_hand_and_mouse(tmp_path: Path) -> None:
    """Every loop on the map shows its images, and every query and picture its neighbours."""
    chromium = find_chromium()
    folder, home = (tmp_path / name for name in ("repository", "home"))
    folder.mkdir()
    home.mkdir()
    copy_notebooks(folder)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in (MAP, SEARCH)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, folder / "notebooks" / "explorers.ipynb")
    with running_lab(folder, home) as server, open_page(chromium) as (page, outside):
        page.goto(f"{server['url']}lab/tree/notebooks/explorers.ipynb?token={server['token']}")
        page.locator(".jp-Notebook .jp-CodeCell").first.wait_for()
        wait_for_kernel(page)
        run_all_cells(page)
        page.locator(".retrieval-explorer img").first.wait_for(state="attached")
        assert page.locator(ERRORS).all_inner_texts() == []
        draw_loops(page)
        ask_for_neighbours(page)
        assert outside == []


def draw_loops(page: Any) -> None:
    """Also the first loop counts, and also where the mouse goes on over other points at once."""
    explorer = page.locator(".map-explorer")
    plot = explorer.locator(".nsewdrag").first
    plot.wait_for()
    plot.scroll_into_view_if_needed()
    corners = ((0, 0.5), "100 images"), ((0.6, 1), "64 images"), ((0, 0.4), "64 images")
    for i, (part, said) in enumerate(corners, 5):
        draw_loop(page, plot.bounding_box(), *part)
        explorer.get_by_text(said).wait_for(timeout=20_000)
        shoot(page, f"{i}-loop")
        page.wait_for_function("document.querySelectorAll('.map-explorer img').length === 60")
        box = plot.bounding_box()
        page.mouse.dblclick(box["x"] + 0.55 * box["width"], box["y"] + 0.45 * box["height"])
        explorer.get_by_text(HOW).wait_for(timeout=20_000)


def ask_for_neighbours(page: Any) -> None:
    """Queries of a class, another one, and a picture from outside: what stands first follows."""
    explorer = page.locator(".retrieval-explorer")
    explorer.scroll_into_view_if_needed()
    first = explorer.locator("img").first
    seen = {first.get_attribute("src")}
    explorer.get_by_role("combobox").select_option("ring")
    explorer.get_by_role("spinbutton").fill("3")
    explorer.get_by_role("spinbutton").press("Enter")
    wait_for_another(page, seen)
    explorer.get_by_role("button", name="Another query").click()
    wait_for_another(page, seen)
    file = {
        "name": "mine.png",
        "mimeType": "image/png",
        "buffer": encoded((np.eye(30) * 200).astype(np.uint8)),
    }
    with page.expect_file_chooser() as chooser:
        explorer.get_by_role("button", name="Your picture").click()
    chooser.value.set_files(file)
    explorer.get_by_text("as the encoder sees it, 12 px").wait_for()
    assert explorer.locator("img").count() == 11
    shoot(page, "8-picture")


def wait_for_another(page: Any, seen: set[str]) -> None:
    """Until the explorer's query is none of those seen; it is then one of them."""
    shown = page.wait_for_function(
        """seen => {
            const now = document.querySelector('.retrieval-explorer img').src;
            return seen.includes(now) ? null : now;
        }""",
        arg=sorted(seen),
    )
    seen.add(shown.json_value())


def draw_loop(page: Any, box: dict[str, float], start: float, end: float) -> None:
    """Over the points, around those between two shares of both sides, and over the points again."""
    x0, x1 = (box["x"] + share * box["width"] for share in (start, end))
    y0, y1 = (box["y"] + share * box["height"] for share in (start, end))
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.9 * box["height"], steps=10)
    page.mouse.move(x0 + 1, y0 + 1, steps=20)
    page.mouse.down()
    for x, y in ((x1 - 1, y0 + 1), (x1 - 1, y1 - 1), (x0 + 1, y1 - 1), (x0 + 1, y0 + 1)):
        page.mouse.move(x, y, steps=10)
    page.mouse.up()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.9 * box["height"], steps=20)


def test_without_a_browser_the_reason_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(pytest.skip.Exception, match="no browser: none of chromium"):
        find_chromium()
