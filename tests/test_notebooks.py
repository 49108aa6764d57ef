"""The notebooks: the contract each keeps, and every one of them executed on every task type."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from lib.params import PARAMETERS, notebook_defaults
from lib.predictions import read_predictions
from lib.run import COLUMNS
from tests.conftest import ROOT
from tests.tiny import write_npz

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
TASKS = [("binary", 1), ("multi-class", 3), ("ordinal", 3), ("multi-label", 1)]
QUICK = {"epochs": 1, "batch_size": 16, "knn_every": 1, "knn_k": 5, "stem": "strided"}


def cells(path: Path) -> list[dict[str, Any]]:
    return list(json.loads(path.read_text(encoding="utf-8"))["cells"])


def source(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
class TestContract:
    def test_one_title_with_one_question(self, path: Path) -> None:
        headings = [
            line
            for cell in cells(path)
            if cell["cell_type"] == "markdown"
            for line in source(cell).splitlines()
            if line.startswith("# ")
        ]
        assert len(headings) == 1
        assert headings[0].count("?") == 1
        assert source(cells(path)[0]).startswith(headings[0])

    def test_one_parameters_cell_with_a_comment_on_every_line(self, path: Path) -> None:
        tagged = [c for c in cells(path) if "parameters" in c["metadata"].get("tags", [])]
        assert len(tagged) == 1
        for line in source(tagged[0]).splitlines():
            assert re.match(r"^[a-z_]+ = \S.*  # \S+", line), line
        defaults = notebook_defaults(path.stem)
        assert set(defaults) <= set(PARAMETERS)
        assert {"results", "study", "out", "data_root"} <= set(defaults)

    def test_short_cells_without_definitions(self, path: Path) -> None:
        for cell in cells(path):
            if cell["cell_type"] != "code" or "parameters" in cell["metadata"].get("tags", []):
                continue
            assert len([line for line in source(cell).splitlines() if line.strip()]) <= 12
            for node in ast.walk(ast.parse(source(cell))):
                assert not isinstance(node, ast.FunctionDef | ast.ClassDef | ast.For | ast.While)

    def test_stripped_and_readable(self, path: Path) -> None:
        content = json.loads(path.read_text(encoding="utf-8"))
        assert content["metadata"]["kernelspec"]["name"] == "python3"
        for cell in content["cells"]:
            assert re.fullmatch(r"[a-z][a-z-]+", cell["id"]), cell["id"]
            if cell["cell_type"] == "code":
                assert cell["outputs"] == []
                assert cell["execution_count"] is None

    def test_no_result_is_typed_into_prose(self, path: Path) -> None:
        for cell in cells(path):
            if cell["cell_type"] == "markdown":
                found = re.findall(r"\b0\.\d{2,}\b|\d+(?:\.\d+)? ?%", source(cell))
                assert found == [], source(cell)


def execute(notebook: str, out: Path, folder: Path, **params: object) -> dict[str, Any]:
    """Run a notebook by papermill from some other folder, as typed; return its metrics."""
    command = [sys.executable, "-m", "papermill", str(ROOT / "notebooks" / f"{notebook}.ipynb")]
    command += [str(folder / f"{notebook}.ipynb"), "--no-progress-bar", "-p", "out", str(out)]
    for name, value in params.items():
        command += ["-p", name, str(value)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads((out / "metrics.json").read_text(encoding="utf-8")))


@pytest.mark.parametrize(("task", "channels"), TASKS, ids=[t for t, _ in TASKS])
def test_every_notebook_on_every_task(task: Any, channels: int, tmp_path: Path) -> None:
    dataset = f"npz:{write_npz(tmp_path / 'tiny.npz', task, channels)}"
    common = {"dataset": dataset, "device": "cpu"}
    looked = execute("00_data", tmp_path / "data", tmp_path, **common, gallery=4)
    assert {row["split"]: row["value"] for row in looked["rows"]} == {
        "train": 48, "val": 24, "test": 32
    }  # fmt: skip
    trained = execute("01_pretrain", tmp_path / "pretrain", tmp_path, **common, **QUICK)
    assert {row["metric"] for row in trained["rows"]} >= {"loss", "knn_auroc", "epoch_selected"}
    history = pd.read_csv(tmp_path / "pretrain" / "history.csv")
    assert list(history["epoch"]) == [1]
    probed = execute(
        "02_probe",
        tmp_path / "probe",
        tmp_path,
        **common,
        init=tmp_path / "pretrain" / "encoder.safetensors",
        labels="12,all,5000",
        bootstrap=100,
    )
    rows = pd.DataFrame(probed["rows"])
    assert list(rows.columns) == list(COLUMNS)
    assert set(rows["method"]) == {"simclr", "random", "pixels"}
    assert set(rows["labels"]) == {"12", "all"}  # 5,000 is more than there are: left out
    assert set(rows.loc[rows["method"] == "simclr", "augment"]) == {"novel"}
    # Every number can be recomputed from the predictions.
    from lib.metrics import compute_metrics

    for part in read_predictions(tmp_path / "probe" / "predictions.csv"):
        again = compute_metrics(part.y, part.scores, part.task, part.classes)
        key = {**part.key, "split": part.split}
        mine = rows[(rows[list(key)] == pd.Series(key)).all(axis=1)].set_index("metric")["value"]
        for name, value in again.items():
            assert mine[name] == pytest.approx(value, abs=1e-12)
    used = yaml.safe_load((tmp_path / "probe" / "params.yaml").read_text(encoding="utf-8"))
    assert used["init"] == trained["run"]
    text = (tmp_path / "probe" / "params.yaml").read_text(encoding="utf-8")
    assert str(tmp_path.parent) not in text


def test_a_misspelt_value_stops_a_notebook_at_once(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="augment: expected one of"):
        execute("00_data", tmp_path / "data", tmp_path, augment="novell")
