"""Pages of a study in a real browser: nothing missing or loaded, usable by hand and by key."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from axe_playwright_python.sync_playwright import Axe
from nbformat import v4

from lib.batch.index_runs import COLUMNS, FILES, runs_table
from lib.batch.plan import PlannedRun
from lib.figures.classifiers import plot_confusion
from lib.figures.features import make_key
from lib.figures.hover import hover_map
from lib.identity import Origin
from lib.pages.page import page as make_page
from lib.pages.render import render_notebook
from tests.browser import WIDTHS, chromium, opened
from tests.built import Built, build_study
from tests.tiny import make_dataset

# Where continuous integration wants pictures of every page; empty: none are kept.
SCREENSHOTS = "REPORT_SCREENSHOTS"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build_study(tmp_path_factory)


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with each kind of output that a notebook can have, long and wide ones."""
    wide = pd.DataFrame({f"a long name of column {i}": [0.5, 12345.678] for i in range(14)})
    shown = [
        v4.new_output("display_data", data={"text/html": wide.to_html()}),
        v4.new_output("stream", name="stdout", text="x" * 400 + "\n"),
        v4.new_output("stream", name="stderr", text="\x1b[31mcareful\x1b[0m\n"),
        v4.new_output("error", ename="ValueError", evalue="no", traceback=["\x1b[32mline\x1b[0m"]),
    ]
    figure = plot_confusion(pd.DataFrame([[8, 2], [1, 9]]).to_numpy(), ("a", "b"))
    data, metadata = figure._repr_mimebundle_()  # type: ignore[attr-defined]
    shown.insert(0, v4.new_output("display_data", data=data, metadata=metadata))
    cells = make_dataset("multi-class")
    key = make_key(np.asarray(cells.splits["test"].y, np.int64), cells)
    places = np.random.default_rng(0).normal(size=(len(key.group), 2))
    seen = hover_map(places, key, cells.splits["test"].images, "A map")
    shown.insert(0, v4.new_output("display_data", data={"text/html": seen.data}))
    long = r"$$\sum_{i=1}^{N} " + " + ".join(f"x_{{{i}}}" for i in range(60)) + "$$"
    written = [
        v4.new_markdown_cell("# A page with everything\n\n`" + "word" * 60 + "`\n\n" + long),
        v4.new_code_cell("seed = 0  # of everything", metadata={"tags": ["parameters"]}),
        *(v4.new_markdown_cell(f"## Part {i}\n\ntext\n\n### More") for i in range(3)),
        v4.new_code_cell("def f(x: int) -> str:\n    return 'a' * x  # why", outputs=shown),
    ]
    folder = tmp_path_factory.mktemp("everything")
    render_notebook(
        v4.new_notebook(cells=written),
        folder / "report.html",
        banner="Synthetic",
        footer={"run": "x"},
    )
    return folder / "report.html"


@pytest.fixture(scope="module")
def pages(study: Built, everything: Path) -> dict[str, Path]:
    """Every page of the study by its name, and the one with everything."""
    found = {"index": study.folder / "index.html", "everything": everything}
    reports = {p.parent.name.partition("-")[0]: p for p in study.folder.glob("runs/*/report.html")}
    assert set(reports) == {"pretrain", "probe"}
    return found | reports


KINDS = ("index", "pretrain", "probe", "everything")


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_is_whole_and_loads_nothing(kind: str, pages: dict[str, Path], browser: Any) -> None:
    with opened(browser, pages[kind]) as found:
        page = found.page
        page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert page.title()
        broken = page.evaluate(
            "Array.from(document.images).filter(i => !i.complete || !i.naturalWidth).length"
        )
        assert broken == 0
        for alt in page.evaluate("Array.from(document.images).map(i => i.alt)"):
            assert len(alt) > 20 and alt != "figure", alt
        for link in page.evaluate("Array.from(document.links).map(a => a.href)"):
            address, _, place = link.partition("#")
            if address.startswith("file:"):
                assert Path(address.removeprefix("file://")).exists(), link
            if place and address == pages[kind].as_uri():
                assert page.evaluate("id => !!document.getElementById(id)", place), link
        assert found.wrong == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", KINDS)
def test_no_barrier_that_axe_knows(
    kind: str, scheme: Any, pages: dict[str, Path], browser: Any
) -> None:
    with opened(browser, pages[kind], "phone", color_scheme=scheme) as found:
        found.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        response = Axe().run(found.page).response
        grave = [
            f"{v['id']}: {node['html'][:200]}: {node['failureSummary']}"
            for v in response["violations"]
            if v["impact"] in ("serious", "critical")
            for node in v["nodes"]
        ]
        assert grave == []


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_page_fits_its_window(
    kind: str, width: str, pages: dict[str, Path], browser: Any
) -> None:
    with opened(browser, pages[kind], width) as found:
        page = found.page
        over = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert page.evaluate(over) == 0
        if os.environ.get(SCREENSHOTS):
            folder = Path(os.environ[SCREENSHOTS])
            folder.mkdir(parents=True, exist_ok=True)
            page.screenshot(path=str(folder / f"{kind}-{width}.png"), full_page=True)
        page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert page.evaluate(over) == 0


def test_a_table_of_runs_with_every_column_is_seen_whole(
    pages: dict[str, Path], tmp_path: Path, browser: Any
) -> None:
    def planned(dataset: str, seed: int) -> PlannedRun:
        name = f"finetune-dermatoscopy-simclr-natural-s{seed}-0123abc{len(dataset) % 10}"
        params = {"dataset": dataset, "size": 28 + seed, "seed": seed, "folds": 5, "fold": seed}
        origin = Origin("simclr", ("natural", "novel")[seed], "x")
        return PlannedRun(name, "finetune", "03_finetune", params, (), 0.0, origin)

    runs = [planned(d, s) for d in ("csv:dermatoscopy/labels.csv", "breastmnist") for s in (0, 1)]
    rows = [{"metric": "auroc", "split": "test", "method": "simclr", "protocol": "probe"}]
    said = "On 78 validation images the kNN AUROC went from 0.805 (untrained) to 0.890 (epoch 150)"
    for run in runs[:3]:
        folder = tmp_path / "runs" / run.name
        folder.mkdir(parents=True)
        numbers = {"rows": [{**rows[0], "value": 0.8}], "seconds": 400.0, "headline": said}
        (folder / "metrics.json").write_text(json.dumps(numbers), encoding="utf-8")
        for file in FILES:
            (folder / file).touch()
    # With contents beside it, as a study's page has.
    body = "<h2>One</h2><h2>Two</h2>" + runs_table(runs, tmp_path)
    file = tmp_path / "index.html"
    file.write_text(make_page("t", body, script="table.js"), encoding="utf-8")
    hidden = "(t => t.scrollWidth - t.clientWidth)(document.querySelector('.scroll.wide'))"
    over = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    with opened(browser, file) as found:
        heads = found.page.locator("table.runs thead th")
        assert [h.removesuffix(" ") for h in heads.all_inner_texts()] == [
            c for c in COLUMNS if c != "experiment"
        ]
        assert (found.page.evaluate(hidden), found.page.evaluate(over)) == (0, 0)
        assert found.page.locator("td", has_text="csv:dermatoscopy/labels.csv").count() == 2
        # In a wider window the table is wider than the text, and still inside.
        found.page.set_viewport_size({"width": 2400, "height": 900})
        width = "document.querySelector('.scroll.wide').clientWidth"
        text = "document.querySelector('main').clientWidth"
        assert found.page.evaluate(width) > found.page.evaluate(text) + 300
        assert found.page.evaluate(over) == 0


def shown_runs(page: Any) -> list[str]:
    return list(
        page.evaluate(
            "Array.from(document.querySelectorAll('table.runs tbody tr')).filter(r => !r.hidden)"
            ".map(r => r.cells[0].textContent.trim().split('-')[0])"
        )
    )


def test_runs_are_sorted_by_click_and_by_key(pages: dict[str, Path], browser: Any) -> None:
    with opened(browser, pages["index"]) as found:
        page = found.page
        assert shown_runs(page) == ["pretrain", "probe"]
        head = page.locator("table.runs th", has_text="run").first
        button = head.get_by_role("button")
        assert head.get_attribute("aria-sort") == "none"
        button.click()
        assert (head.get_attribute("aria-sort"), shown_runs(page)) == (
            "ascending", ["pretrain", "probe"],
        )  # fmt: skip
        button.focus()
        page.keyboard.press("Enter")
        assert (head.get_attribute("aria-sort"), shown_runs(page)) == (
            "descending", ["probe", "pretrain"],
        )  # fmt: skip
        page.keyboard.press("Space")
        assert (head.get_attribute("aria-sort"), shown_runs(page)) == (
            "none", ["pretrain", "probe"],
        )  # fmt: skip
        assert found.wrong == []


def test_runs_are_filtered_by_words_and_lists(pages: dict[str, Path], browser: Any) -> None:
    with opened(browser, pages["index"]) as found:
        page = found.page
        count = page.get_by_role("status")
        assert count.text_content() == "2 of 2 shown"
        page.get_by_label("contains").focus()
        page.keyboard.type("PROBE natural")
        assert (shown_runs(page), count.text_content()) == (["probe"], "1 of 2 shown")
        # A page that reads itself again keeps what was chosen.
        page.reload()
        assert shown_runs(page) == ["probe"]
        page.get_by_role("button", name="show all").press("Enter")
        assert shown_runs(page) == ["pretrain", "probe"]
        page.get_by_label("experiment").select_option("pretrain")
        assert shown_runs(page) == ["pretrain"]
        page.get_by_label("contains").fill("nothing like it")
        assert (shown_runs(page), count.text_content()) == ([], "0 of 2 shown")
        assert found.wrong == []


def test_numbers_are_sorted_as_numbers_and_gaps_stand_last(tmp_path: Path, browser: Any) -> None:
    values = ["9", "100", "", "-1.5", "x"]
    rows = "".join(f"<tr><td data-value='{v}'>{v}</td></tr>" for v in values)
    table = f"<table data-table><thead><tr><th>n</th></tr></thead><tbody>{rows}</tbody></table>"
    file = tmp_path / "table.html"
    file.write_text(make_page("t", table, script="table.js"), encoding="utf-8")
    cells = "Array.from(document.querySelectorAll('td')).map(c => c.textContent)"
    with opened(browser, file) as found:
        button = found.page.get_by_role("button", name="n", exact=True)
        button.click()
        assert found.page.evaluate(cells) == ["-1.5", "9", "100", "x", ""]
        button.click()
        assert found.page.evaluate(cells) == ["x", "100", "9", "-1.5", ""]


def test_without_scripts_there_is_a_plain_table(pages: dict[str, Path], browser: Any) -> None:
    with opened(browser, pages["index"], java_script_enabled=False) as found:
        page = found.page
        assert page.locator("table.runs tbody tr").count() == 2
        assert page.locator("table.runs th").first.text_content() == "run"
        assert page.locator(".filters").count() == 0
        assert page.locator("table.runs tbody a").first.is_visible()


def test_reports_lead_to_each_other_and_back(pages: dict[str, Path], browser: Any) -> None:
    with opened(browser, pages["index"]) as found:
        page = found.page
        page.locator("table.runs tbody a").first.click()
        assert page.url == pages["pretrain"].as_uri()
        page.get_by_role("link", name="next:").click()
        assert page.url == pages["probe"].as_uri()
        page.get_by_role("link", name="A tiny study").click()
        assert page.url == pages["index"].as_uri()
        assert found.wrong == []


def test_a_map_shows_the_image_under_the_pointer(everything: Path, browser: Any) -> None:
    with opened(browser, everything) as found:
        page = found.page
        first, last = page.locator("svg.map .point").first, page.locator("svg.map .point").last
        assert not first.locator(".seen").is_visible()
        first.locator(".hit").hover(force=True)
        assert first.locator(".seen").is_visible()
        last.locator(".hit").hover(force=True)
        assert last.locator("image").is_visible() and not first.locator(".seen").is_visible()


def test_code_unfolds_by_key(pages: dict[str, Path], browser: Any) -> None:
    with opened(browser, pages["probe"]) as found:
        page = found.page
        code = page.locator("details.code pre").first
        assert not code.is_visible()
        page.locator("details.code summary").first.focus()
        page.keyboard.press("Enter")
        assert code.is_visible()


def test_a_page_is_printed_without_its_tools(pages: dict[str, Path], browser: Any) -> None:
    with opened(browser, pages["index"]) as found:
        page = found.page
        page.emulate_media(media="print")
        assert not page.locator(".filters").is_visible()
        assert not page.locator("nav.contents").is_visible()
        assert page.locator("table.runs").is_visible()
