"""What the tests of a batch share: a place to write, tiny data, and a stand-in for notebooks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lib.batch.plan import ENCODER_NOTEBOOKS
from lib.batch.spec import Outcome, Spec
from lib.identity import short_name
from lib.run import COLUMNS

Row = dict[str, Any]


@pytest.fixture(autouse=True)
def private_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the user's data root or cache, or a notebook's parameters of a caller."""
    monkeypatch.setenv("MEDMNIST_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("CONTRASTIVE_CACHE", str(tmp_path / "cache"))


def make_row(**columns: Any) -> Row:
    """One row of summary.csv: a SimCLR probe unless told otherwise."""
    usual = {
        "study": "tiny",
        "run": "probe-cells-simclr-novel-s0-00000000",
        "notebook": "02_probe",
        "dataset": "cells",
        "size": 28,
        "method": "simclr",
        "augment": "novel",
        "encoder": "resnet18",
        "protocol": "probe",
        "labels": "100",
        "seed": 0,
        "split": "test",
        "metric": "auroc",
        "value": 0.8,
        "commit": "abc",
    }
    return {**dict.fromkeys(COLUMNS, ""), **usual, **columns}


class Lab:
    """A folder to write params files and data in. results: where runs go."""

    row = staticmethod(make_row)

    def __init__(self, folder: Path) -> None:
        self.folder, self.results = folder, folder / "results"

    def write(self, text: str, name: str = "study.yaml") -> Path:
        """A params file; lines may be indented as in the test."""
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return path

    def npz(self, name: str = "cells.npz", seed: int = 0, n: int = 12, unlabelled: int = 0) -> str:
        """A tiny data set in MedMNIST's format: `npz:PATH`."""
        rng = np.random.default_rng(seed)
        content: dict[str, Any] = {}
        for split, count in (("train", n), ("val", 4), ("test", 6)):
            content[f"{split}_images"] = rng.integers(0, 256, (count, 28, 28), np.uint8)
            content[f"{split}_labels"] = (np.arange(count) % 2).astype(np.uint8)[:, None]
        if unlabelled:
            more = rng.integers(0, 256, (unlabelled, 28, 28), np.uint8)
            content["unlabelled_images"] = more
        np.savez(self.folder / name, **content)
        return f"npz:{self.folder / name}"

    def finish(
        self, name: str, rows: list[Row] | None = None, study: str = "tiny", **extra: Any
    ) -> Path:
        """Leave a finished run behind, with the rows given."""
        folder = self.results / study / "runs" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "report.html").write_text("<p>report</p>", encoding="utf-8")
        content = {"run": name, "seconds": 2.0, "headline": "done & dusted", "rows": rows or []}
        content |= extra
        (folder / "metrics.json").write_text(json.dumps(content), encoding="utf-8")
        return folder

    def summary(self, rows: list[Row]) -> Any:
        """Rows as `read_summary` gives them."""
        from lib.batch.summary import write_summary
        from lib.study.measurements import read_summary

        self.finish("only", rows)
        return read_summary(write_summary(self.results / "tiny", ["only"]))

    def files(self) -> set[str]:
        """Everything written so far, apart from what is remembered of the data."""
        found = (p.relative_to(self.folder) for p in self.folder.rglob("*"))
        return {str(p) for p in found if p.parts[0] != "cache"}


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


class FakeExecution:
    """Stands in for papermill: leaves the run's metrics.json at once, or fails.

    failing: parts of the names of runs that fail; dying: of those whose worker dies instead.
    specs: what was started, in order.
    """

    def __init__(self) -> None:
        self.failing: set[str] = set()
        self.dying: set[str] = set()
        self.specs: list[Spec] = []

    @property
    def started(self) -> list[str]:
        return [spec.name for spec in self.specs]

    def __call__(self, spec: Spec) -> Outcome:
        self.specs.append(spec)
        need = spec.params.get("init", "")
        if need.startswith("pretrain-"):
            assert (spec.final.parent / need / "metrics.json").exists(), "started too early"
        if any(part in spec.name for part in self.dying):
            raise RuntimeError("the worker is gone")
        report = spec.work / "report.html"
        if any(part in spec.name for part in self.failing):
            spec.work.mkdir(parents=True, exist_ok=True)
            return Outcome(spec.name, False, 1.0, str(report), 7, "ValueError: no such luck")
        spec.final.mkdir(parents=True, exist_ok=True)
        (spec.final / "report.html").write_text("<p>report</p>", encoding="utf-8")
        if spec.notebook in ENCODER_NOTEBOOKS:
            (spec.final / "encoder.safetensors").write_bytes(bytes(1000))
        content = {"run": spec.name, "seconds": 2.0, "headline": "fine", "rows": rows_of(spec)}
        (spec.final / "metrics.json").write_text(json.dumps(content), encoding="utf-8")
        return Outcome(spec.name, True, 1.0, str(spec.final / "report.html"))


def rows_of(spec: Spec) -> list[Row]:
    """What a probe would note: SimCLR better with each seed, and both floors."""
    if spec.notebook != "02_probe":
        return []
    p = spec.params
    common = {"study": p["study"], "run": spec.name, "dataset": short_name(p["dataset"])}
    common["seed"] = p["seed"]
    rows = []
    for labels in str(p["labels"]).split(","):
        here = {**common, "labels": labels}
        rows += [
            make_row(**here, value=0.8 + 0.01 * p["seed"], low=0.7, high=0.9),
            make_row(**here, method="random", augment="", value=0.7),
            make_row(**here, method="pixels", augment="", encoder="", protocol="knn", value=0.6),
        ]
    return rows


@pytest.fixture
def stand_in() -> FakeExecution:
    return FakeExecution()


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeExecution:
    execution = FakeExecution()
    monkeypatch.setattr("lib.batch.runner.execute_in_process", execution)
    monkeypatch.setattr("lib.batch.engine.warm_up", lambda _: None)
    return execution


@pytest.fixture(params=["", '{"seconds": 2.0, "rows": [{"ru', "[1]"], ids=["empty", "half", "list"])
def damaged(request: pytest.FixtureRequest) -> str:
    """What a metrics.json may hold that is of no use."""
    return str(request.param)


@pytest.fixture
def run_all(lab: Lab) -> Callable[..., int]:
    """`run_all.py PARAMS …` with this test's results folder; the exit status."""
    import run_all

    def call(params: Path, *arguments: str) -> int:
        return run_all.main([str(params), "--results", str(lab.results), *arguments])

    return call


@pytest.fixture
def chain(lab: Lab) -> Path:
    """A params file of two pretrainings, a probe of each, and a look at the data."""
    return lab.write(
        f"""
study: tiny
title: A tiny study
question: Does 1 < 2 hold?
defaults: {{dataset: "{lab.npz()}", epochs: 2}}
experiments:
  probe:
    notebook: 02_probe
    set: {{init: pretrain, labels: [4, all]}}
  data: {{notebook: 00_data}}
  pretrain:
    notebook: 01_pretrain
    matrix: {{seed: [0, 1]}}
"""
    )
