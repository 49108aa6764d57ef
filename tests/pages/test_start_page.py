"""The page JupyterLab opens on: made from the notebooks, and true of them."""

from __future__ import annotations

import json
import re

import pytest

from lib.pages import start_page
from lib.pages.start_page import (
    PAGE,
    SECONDS,
    needs_of,
    notebooks_table,
    rewrite,
    say_seconds,
    title_and_question,
)
from lib.params import NOTEBOOKS, notebook_defaults
from tests.conftest import ROOT

TEXT = PAGE.read_text(encoding="utf-8")
NAMES = sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))


def test_the_page_is_what_the_notebooks_say() -> None:
    assert rewrite(TEXT, notebooks_table(SECONDS)) == TEXT
    assert sorted(SECONDS) == NAMES
    for name in NAMES:
        assert f"]({name}.ipynb) | {title_and_question(name)[1]} |" in TEXT


def test_every_notebook_takes_less_than_three_minutes() -> None:
    assert max(seconds for seconds in SECONDS.values() if seconds) < 180


def test_every_link_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^)]+)\)", TEXT)
    assert len(links) >= len(NAMES) + 3
    assert [link for link in links if not (NOTEBOOKS / link).exists()] == []


def test_needs_follow_from_the_parameters() -> None:
    assert "init" not in notebook_defaults("00_data")
    assert (
        needs_of("00_data") == needs_of("01_pretrain") == needs_of("06_downsampling") == "nothing"
    )
    for name in ("02_probe", "03_finetune", "04_imbalance", "05_transfer", "07_retrieval"):
        assert needs_of(name).startswith("`init`: an encoder")
    assert "`study`" in needs_of("09_report")


def test_a_title_without_a_question_is_named(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(start_page, "NOTEBOOKS", tmp_path)
    cells = [{"cell_type": "markdown", "source": ["# Only a title\n"]}]
    (tmp_path / "00_bare.ipynb").write_text(json.dumps({"cells": cells}))
    with pytest.raises(ValueError, match=r"expected `# Title: question\?` first.*Only a title"):
        title_and_question("00_bare")
    with pytest.raises(ValueError, match="no place for the table"):
        rewrite("a page without marks", "")


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(3, "15 s"), (15, "15 s"), (16, "30 s"), (45, "45 s"), (46, "1 min"), (150, "2½ min")],
)
def test_durations(seconds: int, said: str) -> None:
    assert say_seconds(seconds) == said


def test_jupyterlab_opens_on_the_page_and_shows_it_rendered() -> None:
    told = ROOT / "notebooks" / ".jupyter"
    server = json.loads((told / "jupyter_server_config.json").read_text(encoding="utf-8"))
    assert server["LabApp"]["default_url"] == f"/lab/tree/{PAGE.relative_to(ROOT).as_posix()}"
    settings = json.loads((told / "labconfig" / "default_setting_overrides.json").read_text())
    viewers = settings["@jupyterlab/docmanager-extension:plugin"]["defaultViewers"]
    assert viewers["markdown"] == "Markdown Preview"
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "$(CURDIR)/notebooks/.jupyter" in makefile
