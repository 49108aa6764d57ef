"""params/kaggle_dr.yaml on a generated folder in the competition's layout, bad files included."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from lib.batch.plan import PlannedRun, plan_study
from lib.batch.study import StudyError, read_study
from lib.data import DataError, DataSet, load_dataset
from tests.conftest import ROOT
from tests.executed import execute_here
from tests.photographs import photograph

PATIENTS = 30
GRADES = (0, 0, 0, 1, 2, 0, 3, 4, 1, 2)
SIZES = ((90, 120), (150, 100), (128, 128), (300, 420), (64, 400))  # height, width
QUICK: dict[str, Any] = {
    "size": 32, "encoder": "resnet18", "supcon.init": "scratch", "simclr.init": "scratch",
    "cross_entropy.init": "scratch", "supcon.epochs": 1, "simclr.epochs": 1,
    "cross_entropy.epochs": 1, "cross_entropy.warmup_epochs": 0, "supcon.batch_size": 16,
    "simclr.batch_size": 16, "cross_entropy.batch_size": 16, "bootstrap": 100, "knn_k": 5,
    "grade_supcon.references": [1, 3], "neighbours": [1, 5], "reference_choices": 2,
    "perplexities": 3, "max_unreadable": 0.2, "device": "cpu",
}  # fmt: skip


def draw(height: int, width: int, seed: int) -> np.ndarray:
    """A photograph of any shape, its disc off the centre."""
    radius = 0.46 * min(height, width)
    return photograph(height, width, (width / 2 + seed % 3, height / 2, radius), seed=seed)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 photographs of 30 patients: most readable, some not, one row without a file."""
    made = tmp_path_factory.mktemp("kaggle")
    names = [f"{p}_{side}" for p in range(PATIENTS) for side in ("left", "right")]
    for i, name in enumerate(names):
        image = draw(*SIZES[i % len(SIZES)], seed=i)
        assert cv2.imwrite(str(made / f"{name}.jpeg"), image[..., ::-1])
    (made / "3_left.jpeg").write_bytes((made / "3_left.jpeg").read_bytes()[:300])  # cut short
    (made / "4_right.jpeg").write_bytes(b"")
    (made / "5_left.jpeg").write_text("<html>404</html>", encoding="utf-8")
    (made / "6_left.jpeg").unlink()
    grey = draw(200, 200, seed=99)[..., 0].astype(np.uint16) * 16
    (made / "7_left.jpeg").write_bytes(cv2.imencode(".png", grey)[1].tobytes())  # 12 bit, grey
    assert cv2.imwrite(str(made / "8_left.jpeg"), draw(2400, 3600, seed=8)[..., ::-1])
    assert cv2.imwrite(str(made / "9_left.jpeg"), np.zeros((80, 80, 3), np.uint8))  # lens cap
    rows = [[name, str(GRADES[i % len(GRADES)])] for i, name in enumerate(names)]
    with (made / "trainLabels.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["image", "level"], *rows])
    return made


@pytest.fixture
def cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CONTRASTIVE_CACHE", str(folder / "cache"))
    return folder / "cache"


def plan(folder: Path, tmp_path: Path, **changes: Any) -> list[PlannedRun]:
    path = ROOT / "params" / "kaggle_dr.yaml"
    overrides = {**QUICK, "dataset": f"csv:{folder / 'trainLabels.csv'}", **changes}
    return plan_study(read_study(path, overrides), path, tmp_path)


def test_bad_files_are_counted_and_named(folder: Path, cache: Path) -> None:
    name = f"csv:{folder / 'trainLabels.csv'}"
    options = {"preprocess": "fundus", "max_unreadable": 0.2, "progress": False}
    data = load_dataset(name, 32, **options)  # type: ignore[arg-type]
    notes = "\n".join(data.notes)
    assert "5 of 60 images unreadable and left out: 3_left (" in notes
    assert not {"3_left", "4_right", "5_left", "6_left", "9_left"} & set(names_of(data))
    assert sum(len(split) for split in data.splits.values()) == 2 * PATIENTS - 5
    assert (data.task, data.channels) == ("ordinal", 3)
    assert {"7_left", "8_left"} <= set(names_of(data))
    patients = [set(map(str, split.groups)) for split in data.splits.values()]  # type: ignore[arg-type]
    assert sum(map(len, patients)) == len(set.union(*patients)) == PATIENTS


def names_of(data: DataSet) -> list[str]:
    return [str(i) for split in data.splits.values() for i in split.ids]


def test_too_many_bad_files_stop_it(folder: Path, cache: Path) -> None:
    with pytest.raises(DataError, match="unreadable"):
        load_dataset(
            f"csv:{folder / 'trainLabels.csv'}", 32, preprocess="fundus", max_unreadable=0.01
        )


def test_the_plan(folder: Path, cache: Path, tmp_path: Path) -> None:
    runs = plan(folder, tmp_path)
    assert len(runs) == 31
    assert {run.params["fold"] for run in runs if "fold" in run.params} == set(range(5))
    for run in runs:
        if run.notebook != "09_report":
            assert run.params["preprocess"] == "fundus"
            assert run.params["folds"] == 5
    with pytest.raises(StudyError, match="queries: "):
        plan(folder, tmp_path, queries="csv:nowhere/labels.csv")


def test_supcon_and_grading_of_one_fold(folder: Path, cache: Path, tmp_path: Path) -> None:
    runs = [run for run in plan(folder, tmp_path) if run.params.get("fold") == 0]
    pretrain, grade = (
        next(run for run in runs if run.experiment == name) for name in ("supcon", "grade_supcon")
    )
    done = execute_here("01_pretrain", tmp_path / "a", tmp_path, **settings(pretrain), device="cpu")
    assert {row["method"] for row in done["rows"]} == {"supcon"}
    encoder = tmp_path / "a" / "encoder.safetensors"
    graded = execute_here(
        "10_retinopathy", tmp_path / "b", tmp_path, **settings(grade), device="cpu", init=encoder
    )
    rows = pd.DataFrame(graded["rows"])
    assert set(rows["fold"]) == {0}
    assert set(rows["protocol"]) == {"probe", "knn", "retrieval", "severity"}
    assert {"auroc_referable", "quadratic_kappa", "grade_mae", "spearman"} <= set(rows["metric"])
    assert "fundus" in set(rows["augment"])


def settings(run: PlannedRun) -> dict[str, Any]:
    """A planned run's parameters, less those that say where it runs."""
    left_out = ("results", "study", "out", "device", "init")
    return {k: v for k, v in run.params.items() if k not in left_out}
