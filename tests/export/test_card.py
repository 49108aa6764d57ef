"""The model card says what the runs measured, and its snippets run as they stand."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from lib.export.__main__ import main
from lib.export.card import NOT_STATED, Files, write_card
from lib.export.portable import Taken, take_encoder
from lib.files import write_text
from tests.export.conftest import RUN, SIDE
from tests.summaries import make_row, write


@pytest.fixture
def study(run_folder: Path) -> Path:
    """The encoder's own study: a run that probed it, and one that probed another."""
    folder = run_folder.parents[1]
    known = {"dataset": "phantom", "size": SIDE, "low": 0.75, "high": 0.85}
    mine = {**known, "run": "probe-a"}
    rows = [
        make_row(**mine, labels="all", value=0.9123),
        make_row(**mine, labels="20", value=0.8),
        make_row(**mine, labels="20", value=0.3, split="val"),
        make_row(**mine, labels="20", metric="accuracy", value=0.6),
        make_row(**{**mine, "method": "pixels", "augment": "", "protocol": "knn"}, value=0.7),
        make_row(**{**known, "run": "probe-b"}, labels="20", value=0.1),
    ]
    write(rows, folder / "summary.csv")
    write_text(folder / "runs" / "probe-a" / "params.yaml", f"init: {RUN}\n")
    write_text(folder / "runs" / "probe-b" / "params.yaml", "init: pretrain-of-another\n")
    return folder


def test_figures_are_those_of_the_runs_that_probed_it(study: Path, run_folder: Path) -> None:
    taken = take_encoder(str(run_folder), study.parent)
    card = write_card(taken, study, Files())
    lines = [line for line in card.splitlines() if line.startswith("| phantom")]
    assert lines == [
        "| phantom, 14 px | SimCLR, novel | logistic regression | 20 labels | "
        "0.800 (0.750 to 0.850) | 0.600 (0.750 to 0.850) |",
        "| phantom, 14 px | raw pixels | kNN | 100 labels | 0.700 (0.750 to 0.850) | – |",
        "| phantom, 14 px | SimCLR, novel | logistic regression | all labels | "
        "0.912 (0.750 to 0.850) | – |",
    ]
    assert "not a medical device" in card
    assert "phantom (synthetic)" in card and "abc1234" in card and taken.digest in card
    assert "| `epochs` | 3 |" in card
    assert "No run of the study" not in card


def other(taken: Taken, **header: object) -> Taken:
    return dataclasses.replace(taken, header={**taken.header, **header})


def test_data_and_licence(study: Path, run_folder: Path) -> None:
    taken = take_encoder(str(run_folder), study.parent)
    derma = write_card(other(taken, dataset="dermamnist"), None, Files())
    assert "- licence: CC BY-NC 4.0" in derma and "7,007 train" in derma
    assert "pictures of one lesion on both sides" in derma
    assert "Nothing: no study was given" in derma
    own = other(taken, dataset="folder-mine")
    assert f"- licence: {NOT_STATED}" in write_card(own, None, Files())
    named = write_card(own, None, Files(), source="our clinic", licence="internal")
    assert "- source: our clinic\n- licence: internal" in named
    used = {**taken.header["parameters"], "preprocess": "fundus"}
    assert "`lib/data/fundus.py`" in write_card(other(own, parameters=used), None, Files())
    foreign = dataclasses.replace(taken, header={})
    assert "says nothing of its making" in write_card(foreign, study, Files())


def test_snippets_run_as_they_stand(
    study: Path, run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([str(run_folder), "--torchscript", "e.pt", "--card", "card.md"]) == 0
    snippets = re.findall(r"```python\n(.*?)```", Path("card.md").read_text(), re.S)
    assert main([str(run_folder), "--card", "plain.md"]) == 0
    monkeypatch.chdir(run_folder)
    snippets += re.findall(r"```python\n(.*?)```", (tmp_path / "plain.md").read_text(), re.S)
    assert len(snippets) == 2
    for snippet, folder in zip(snippets, (tmp_path, run_folder), strict=True):
        monkeypatch.chdir(folder)
        space: dict[str, object] = {}
        assert sum(bool(line) for line in snippet.splitlines()) <= 5
        exec(snippet, space)
        assert "encoder" in space
