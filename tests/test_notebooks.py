"""The notebooks: the contract each keeps, and every one of them executed on every task type."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from lib.batch.feasible import REFUSED
from lib.data.base import Task
from lib.params import PARAMETERS, notebook_defaults
from lib.run import COLUMNS
from lib.statistics.predictions import read_predictions
from tests.conftest import ROOT
from tests.executed import cells, execute, execute_here, source
from tests.tiny import write_npz

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
TASKS = [("binary", 1), ("multi-class", 3), ("ordinal", 3), ("multi-label", 1)]
QUICK = {"epochs": 1, "batch_size": 16, "knn_every": 1, "knn_k": 5, "stem": "strided"}


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


# A notebook is typed at a terminal for one kind of task, and executed in this process for others.
TYPED: Task = "multi-class"


def execute_for(task: Task) -> Callable[..., dict[str, Any]]:
    return execute if task == TYPED else execute_here


@dataclass(frozen=True)
class Trained:
    """A tiny data set on disk and an encoder that 01_pretrain made of it."""

    dataset: str
    encoder: Path
    metrics: dict[str, Any]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Task, int], Trained]:
    """Pretraining once for each task in each worker."""

    @cache
    def make(task: Task, channels: int) -> Trained:
        folder = tmp_path_factory.mktemp(task)
        dataset = f"npz:{write_npz(folder / 'tiny.npz', task, channels)}"
        common = {"dataset": dataset, "device": "cpu"}
        metrics = execute_for(task)("01_pretrain", folder / "pretrain", folder, **common, **QUICK)
        return Trained(dataset, folder / "pretrain" / "encoder.safetensors", metrics)

    return make


every_task = pytest.mark.parametrize(("task", "channels"), TASKS, ids=[t for t, _ in TASKS])


@every_task
def test_data_and_pretrain(
    task: Task, channels: int, trained: Callable[[Task, int], Trained], tmp_path: Path
) -> None:
    made = trained(task, channels)
    common = {"dataset": made.dataset, "device": "cpu"}
    looked = execute_for(task)("00_data", tmp_path / "data", tmp_path, **common, gallery=4)
    assert {row["split"]: row["value"] for row in looked["rows"]} == {
        "train": 48, "val": 24, "test": 32
    }  # fmt: skip
    assert {row["metric"] for row in made.metrics["rows"]} >= {
        "loss", "knn_auroc", "epoch_selected"
    }  # fmt: skip
    history = pd.read_csv(made.encoder.with_name("history.csv"))
    assert list(history["epoch"]) == [1]


@every_task
def test_probe(
    task: Task, channels: int, trained: Callable[[Task, int], Trained], tmp_path: Path
) -> None:
    made = trained(task, channels)
    probed = execute_for(task)(
        "02_probe",
        tmp_path / "probe",
        tmp_path,
        dataset=made.dataset,
        device="cpu",
        init=made.encoder,
        labels="12,all,5000",
        bootstrap=100,
    )
    rows = pd.DataFrame(probed["rows"])
    assert list(rows.columns) == list(COLUMNS)
    assert set(rows["method"]) == {"simclr", "random", "pixels"}
    assert set(rows["labels"]) == {"12", "all"}  # 5,000 is more than there are: left out
    assert set(rows.loc[rows["method"] == "simclr", "augment"]) == {"novel"}
    check_predictions(tmp_path / "probe", rows)
    used = yaml.safe_load((tmp_path / "probe" / "params.yaml").read_text(encoding="utf-8"))
    assert used["init"] == made.metrics["run"]
    text = (tmp_path / "probe" / "params.yaml").read_text(encoding="utf-8")
    assert str(tmp_path.parent) not in text


def check_predictions(folder: Path, rows: pd.DataFrame) -> None:
    """Every number can be recomputed from the predictions."""
    from lib.statistics.metrics import compute_metrics

    parts = read_predictions(folder / "predictions.csv")
    assert parts
    for part in parts:
        again = compute_metrics(part.y, part.scores, part.task, part.classes)
        key = {**part.key, "split": part.split}
        mine = rows[(rows[list(key)] == pd.Series(key)).all(axis=1)].set_index("metric")["value"]
        for name, value in again.items():
            assert mine[name] == pytest.approx(value, abs=1e-12)


SHORT_FINETUNE = {"epochs": 1, "min_steps": 2, "batch_size": 16}
# Notebook → quick parameters, and what its rows must hold.
DOWNSTREAM: dict[str, tuple[dict[str, object], dict[str, set[str]]]] = {
    "03_finetune": (
        {"labels": "12,all", "bootstrap": 100, **SHORT_FINETUNE},
        {
            "protocol": {"finetune", "probe"},
            "method": {"simclr", "random"},
            "labels": {"12", "all"},
        },
    ),
    "04_imbalance": (
        {"undersample_to": "4", "bootstrap": 100},
        {
            "protocol": {"probe", "probe+undersample", "probe+focal"},
            "metric": {"balanced_accuracy"},
        },
    ),
    "05_transfer": (
        {"labels": "all", "bootstrap": 100, "further_epochs": 1, **SHORT_FINETUNE},
        {"protocol": {"finetune", "probe"}, "method": {"random"}, "metric": {"auroc"}},
    ),
    "07_retrieval": (
        {"bootstrap": 100, "top_k": "1,5", "gallery": 3},
        {"protocol": {"retrieval"}, "metric": {"map", "precision@5"}, "method": {"pixels"}},
    ),
    "08_features": (
        {"perplexities": "5", "max_points": 32},
        {"protocol": {"features"}, "metric": {"alignment", "uniformity"}, "method": {"simclr"}},
    ),
    "11_selection": (
        {"labels": "12,all", "halvings": 5, **SHORT_FINETUNE},
        {
            "protocol": {"finetune", "frozen"},
            "method": {"simclr", "random"},
            "metric": {"accuracy, chosen by test", "auroc, overstated by choosing on test"},
        },
    ),
    "10_retinopathy": (
        {"perplexities": "5", "neighbours": "1,5", "references": "1,4", "reference_choices": 2},
        {
            "protocol": {"probe", "knn", "retrieval", "severity"},
            "metric": {"auroc", "grade_mae", "spearman", "kendall"},
            "method": {"simclr", "random", "pixels"},
        },
    ),
}


@every_task
@pytest.mark.parametrize("notebook", DOWNSTREAM)
def test_what_follows_pretraining(
    notebook: str,
    task: Task,
    channels: int,
    trained: Callable[[Task, int], Trained],
    tmp_path: Path,
) -> None:
    if (notebook, task) in REFUSED:
        pytest.skip(f"refused at planning: {REFUSED[notebook, task]}")
    made = trained(task, channels)
    params, expected = DOWNSTREAM[notebook]
    common = {"dataset": made.dataset, "device": "cpu", "init": made.encoder}
    done = execute_for(task)(notebook, tmp_path / "run", tmp_path, **common, **params)
    rows = pd.DataFrame(done["rows"])
    assert list(rows.columns) == list(COLUMNS)
    for column, values in expected.items():
        assert set(rows[column]) >= values
    assert rows["value"].notna().all()
    assert done["headline"]
    if notebook == "10_retinopathy" and task == "ordinal":
        assert set(rows["metric"]) >= {"auroc_ovo", "auroc_referable", "quadratic_kappa"}
    if notebook in ("03_finetune", "04_imbalance", "05_transfer", "10_retinopathy"):
        check_predictions(tmp_path / "run", rows)


@every_task
def test_downsampling(task: Task, channels: int, tmp_path: Path) -> None:
    dataset = f"npz:{write_npz(tmp_path / 'tiny.npz', task, channels)}"
    done = execute_for(task)(
        "06_downsampling",
        tmp_path / "run",
        tmp_path,
        dataset=dataset,
        device="cpu",
        sizes="14,7",
        labels="all",
        bootstrap=100,
        **QUICK,
    )
    rows = pd.DataFrame(done["rows"])
    assert set(rows["size"]) == {14, 7}
    assert set(rows["metric"]) >= {"auroc", "seconds", "peak_memory_mb"}


def test_supcon_and_folds(tmp_path: Path) -> None:
    dataset = f"npz:{write_npz(tmp_path / 'tiny.npz', 'ordinal')}"
    common = {"dataset": dataset, "device": "cpu", "folds": 3, "fold": 1, "method": "supcon"}
    done = execute_here(
        "01_pretrain", tmp_path / "run", tmp_path, **common, **QUICK, balanced_batches=True
    )
    rows = pd.DataFrame(done["rows"])
    assert set(rows["method"]) == {"supcon"}
    assert set(rows["fold"]) == {1}


def test_a_recipe_is_tried_without_the_test_split(tmp_path: Path) -> None:
    dataset = f"npz:{write_npz(tmp_path / 'tiny.npz', 'ordinal')}"
    tried = {"augment": "novel jitter=0.5 rotation=20", "projection_norm": "batch"}
    folds = {"folds": 3, "folds_of": "trainval", "fold": 1}
    done = execute_here(
        "01_pretrain", tmp_path / "run", tmp_path,
        dataset=dataset, device="cpu", **folds, **tried, **QUICK, projection_layers=3,
    )  # fmt: skip
    rows = pd.DataFrame(done["rows"])
    assert set(rows["augment"]) == {"novel rotation=20 jitter=0.5"}
    assert all(name.endswith("/tiny.npz (trainval)") for name in set(rows["dataset"]))


def test_a_misspelt_value_stops_a_notebook_at_once(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="augment: expected one of"):
        execute("00_data", tmp_path / "data", tmp_path, augment="novell")
