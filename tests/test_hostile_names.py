"""Names out of users' data stay text in every page, and what only decoding shows fails its run.

One study, run for real: class names, folders and files with markup in them, and data sets that
are found to be damaged when they are read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from bs4 import BeautifulSoup

from lib.names import plain
from lib.pages.markup import markdown
from tests.conftest import ROOT
from tests.refused import Desk
from tests.refused.running import CASES, Failing
from tests.test_run_all import run_all

SCRIPT = "<script>alert(1)</script>"
MATH = r"$\frac{a$ & **bold** [x](javascript:alert(2)) `code`"
IMAGE = "<img src=x onerror=alert(3)>"
CLASSES = (SCRIPT, MATH, IMAGE)
FOLDER = """<b onclick="alert(4)">own$x$"""
BROKEN = "<i>broken_$y$.png"
STUDY = """
study: hostile
title: "{title}"
question: "{title}"
defaults: {{device: cpu}}
experiments:
  data:
    notebook: 00_data
    set: {{dataset: '{data}', max_unreadable: 0.2, gallery: 2}}
  probe:
    notebook: 02_probe
    set:
      {{dataset: '{data}', max_unreadable: 0.2, init: scratch, stem: imagenet, labels: [12, all],
       bootstrap: 100, knn_k: 3}}
  "{title}":
    notebook: 00_data
    matrix: {{dataset: {failing}}}
"""


@dataclass
class Pages:
    """What a run of the study left and said. failing: the data set of each case."""

    results: Path
    printed: str
    status: int
    failing: dict[str, str]

    def report(self, kind: str) -> str:
        [page] = self.results.glob(f"hostile/runs/{kind}-*/report.html")
        return page.read_text(encoding="utf-8")

    @property
    def index(self) -> str:
        return (self.results / "hostile" / "index.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Pages:
    folder = tmp_path_factory.mktemp("hostile")
    desk = Desk(folder / FOLDER)
    rows = [[f"im{i}.png", CLASSES[i % 3]] for i in range(60)]
    broken = desk.image(f"own/{BROKEN}", size=64)
    broken.write_bytes(broken.read_bytes()[:2000])
    data = desk.table([*rows, [BROKEN, SCRIPT]])
    # The folder with the odd name is the one that titles and tables show.
    (desk.folder / "own").rename(folder / FOLDER / FOLDER)
    data = data.replace("/own/labels.csv", f"/{FOLDER}/labels.csv")
    failing = {case.name: case.make(Desk(folder / f"case{i}")) for i, case in enumerate(CASES)}
    listed = "[" + ", ".join(f"'{name}'" for name in failing.values()) + "]"
    params = folder / "hostile.yaml"
    params.write_text(STUDY.format(data=data, failing=listed, title=SCRIPT), encoding="utf-8")
    done = run_all(params, "--results", folder / "results")
    return Pages(folder / "results", done.stdout + done.stderr, done.returncode, failing)


def check_is_text(page: str) -> BeautifulSoup:
    """A page in which nothing runs, loads or listens."""
    soup = BeautifulSoup(page, "html.parser")
    own = (ROOT / "lib" / "pages" / "templates" / "table.js").read_text(encoding="utf-8").strip()
    for script in soup.find_all("script"):  # the index sorts its table with one of its own
        assert script.get_text().strip() == own and not script.attrs
    assert not soup.find_all(["iframe", "object", "embed", "link"])
    for tag in soup.find_all(True):
        assert not [name for name in tag.attrs if name.startswith("on")], tag
        assert str(tag.get("src", "data:")).startswith("data:"), tag
        assert not str(tag.get("href", "")).lower().startswith("javascript:"), tag
    return soup


def words(soup: Any) -> str:
    """What a reader sees, with single blanks."""
    return " ".join(soup.get_text().split())


def test_class_names_stay_text_in_the_report_on_the_data(pages: Pages) -> None:
    soup = check_is_text(pages.report("data"))
    cells = {cell.get_text() for cell in soup.find_all("th")}
    assert set(CLASSES) <= cells
    seen = words(soup)
    assert f"{FOLDER}/labels.csv: 42 train" in seen
    assert f"1 of 61 images unreadable and left out: {BROKEN} (" in seen
    assert not soup.find_all("math")


def test_class_names_stay_text_in_a_probe(pages: Pages) -> None:
    soup = check_is_text(pages.report("probe"))
    seen = words(soup)
    assert f"{FOLDER}/labels.csv: 42 train" in seen
    assert all(f"recall of {name}" in seen or name in seen for name in CLASSES)


def test_names_stay_text_in_the_index(pages: Pages) -> None:
    soup = check_is_text(pages.index)
    seen = words(soup)
    assert soup.find("h1").get_text() == SCRIPT
    assert f"csv:{FOLDER}/labels.csv, 28 px" in seen
    assert FOLDER in soup.find("table", class_="runs").find_parent("main").get_text()


def test_the_summary_holds_names_as_they_are(pages: Pages) -> None:
    table = pd.read_csv(pages.results / "hostile" / "summary.csv", dtype=str)
    assert set(table["dataset"]) == {f"csv:{FOLDER}/labels.csv"}


def test_the_others_run_and_the_failures_are_listed(pages: Pages) -> None:
    assert pages.status == 1, pages.printed
    assert "2 done in" in pages.printed
    assert f"{len(CASES)} failed" in pages.printed


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_decoding_shows_fails_in_one_line(pages: Pages, case: Failing) -> None:
    path = pages.failing[case.name].partition(":")[2]
    lines = [
        line for line in pages.printed.splitlines() if line.startswith("  failed") and path in line
    ]
    assert len(lines) == 1, pages.printed
    assert re.search(r"failed +data-\S+: cell \d+: DataError: ", lines[0])
    for part in case.says:
        assert part in lines[0]


@pytest.mark.parametrize(
    "name",
    [*CLASSES, BROKEN, r"a\b\\c", "&lt;b&gt; &#36;", "# one", "a|b", "_x_ ~~y~~ ^z^", "1. a"],
)
def test_plain_text_is_shown_sign_by_sign(name: str) -> None:
    soup = BeautifulSoup(markdown(f"The class {plain(name)} has 3."), "html.parser")
    assert soup.get_text().strip() == f"The class {name} has 3."
    assert [tag.name for tag in soup.find_all(True)] == ["p"]


def test_tags_in_what_a_run_says_are_no_markup() -> None:
    shown = markdown("**bold** <b>x</b> <script>alert(1)</script>", tags=False)
    assert shown.strip() == (
        "<p><strong>bold</strong> &lt;b&gt;x&lt;/b&gt; &lt;script&gt;alert(1)&lt;/script&gt;</p>"
    )
