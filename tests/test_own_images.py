"""docs/own-images.md walked through, command by command, on a folder of generated images."""

from __future__ import annotations

import csv
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pyarrow.parquet as pq
import pytest
from PIL import Image

import lib.describe.__main__
import lib.export.__main__
import lib.features
from lib.batch.plan import plan_study
from lib.batch.study import read_study
from lib.data.phantom import draw_cells
from lib.data.tables import read_csv
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "own-images.md").read_text(encoding="utf-8")
OWN = (ROOT / "params" / "own.yaml").read_text(encoding="utf-8")
HERE = {
    "lib.describe": lib.describe.__main__.main,
    "lib.export": lib.export.__main__.main,
    "lib.features": lib.features.main,
}
# The same study, as small as can be: what is run is the page's, what it costs is not.
SMALLER = {
    "size: 64, ": "size: 14, ",
    "epochs: 50}": "epochs: 1, batch_size: 32, knn_every: 1, knn_k: 5}",
    "seed: [0, 1, 2]": "seed: [0]",
    "labels: [50, 100, all]}": "labels: [20, all], bootstrap: 100}",
    "03_finetune, set: {": "03_finetune, set: {epochs: 1, min_steps: 1, lrs: 1e-3, ",
}


def commands() -> list[str]:
    """Every line of the page's sh blocks."""
    return [
        line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.S) for line in block.splitlines()
    ]


def smaller(text: str) -> str:
    for before, after in SMALLER.items():
        assert before in text, before
        text = text.replace(before, after)
    return text


def write_images(folder: Path, n: int, stream: int, *parts: str) -> None:
    """n cells of two kinds in data/mine, dealt out over these sub-folders."""
    for i, image in enumerate(draw_cells(np.arange(n) % 2 * 3, 28, seed=3, stream=stream)):
        file = folder / "data" / "mine" / parts[i % len(parts)] / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(file)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data/mine and the params file, as if it were the repository."""
    folder = tmp_path_factory.mktemp("walk")
    write_images(folder, 80, 0, "healthy", "ill")
    (folder / "params").mkdir()
    return folder


def check_folds(params: Path) -> None:
    """What the page says of the params file that is written for fewer than 1,000 images."""
    runs = plan_study(read_study(params), params, params.parent / "none")
    pretrained = [run.name for run in runs if run.notebook == "01_pretrain"]
    assert [re.search(r"-novel-(f\d-s\d)-", name)[1] for name in pretrained] == [  # type: ignore[index]
        f"f{fold}-s0" for fold in range(5)
    ]
    assert "`…-f0-s0` to `…-f4-s0`" in PAGE


def run_all(*arguments: str) -> str:
    """What run_all.py prints; it must end well."""
    command = [sys.executable, str(ROOT / "run_all.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_walkthrough(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("CONTRASTIVE_CACHE", str(folder / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    said = []
    for line in commands():
        program, *arguments = shlex.split(line.replace("64px", "14px"))
        assert program == "python"
        if arguments[0] == "-m":
            assert HERE[arguments[1]](arguments[2:]) == 0, capsys.readouterr().err
            said.append(capsys.readouterr().out)
            if arguments[1] == "lib.describe":
                # Of more images it would be the page's file; that one is run, made smaller.
                check_folds(folder / "params" / "mine.yaml")
                mine = smaller(OWN).replace("study: own", "study: mine")
                (folder / "params" / "mine.yaml").write_text(mine, encoding="utf-8")
        else:
            assert arguments[0] == "run_all.py"
            said.append(run_all(*arguments[1:]))
    assert len(said) == 5
    assert "80, not split yet" in said[0]
    assert "5 runs, 0 done" in said[1]
    assert "5 done" in said[2]
    [metrics] = folder.glob("results/mine/runs/report-*/metrics.json")
    [answer] = json.loads(metrics.read_text())["worth"]
    assert answer == (
        "On folder:data/mine (14 px), pretraining (SimCLR, novel), finetuned against training from "
        "scratch, cannot be judged with 20 or all labels (there is one seed only)."
    )
    report = metrics.with_name("report.html").read_text(encoding="utf-8")
    assert answer in re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", report))

    card = (folder / "mine.md").read_text(encoding="utf-8")
    assert "- licence: not to be passed on" in card
    assert "| folder:data/mine, 14 px | SimCLR, novel | finetuned | 20 labels | " in card
    assert pq.read_table(folder / "mine.parquet").num_rows == 80

    snippets = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    assert len(snippets) == 2
    features = []
    for snippet in snippets:
        assert sum(bool(line) for line in snippet.splitlines()) <= 5
        space: dict[str, object] = {}
        exec(snippet.replace("64", "14"), space)
        features.append(space["features"])
    assert [f.shape for f in features] == [(8, 512), (8, 512)]  # type: ignore[attr-defined]
    assert onnxruntime.InferenceSession("mine.onnx").get_inputs()[0].shape[0] == "batch"


def test_many_images_few_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The page's own commands, with a folder of unlabelled images beside the classes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CONTRASTIVE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert "`data/mine/unlabelled/`" in PAGE
    write_images(tmp_path, 60, 0, "healthy", "ill")
    write_images(tmp_path, 90, 1, "unlabelled")
    (tmp_path / "params").mkdir()

    describe, plan, run = (shlex.split(line)[1:] for line in commands()[:3])
    assert describe[:2] == ["-m", "lib.describe"] and plan[0] == run[0] == "run_all.py"
    assert lib.describe.__main__.main(describe[2:]) == 0
    said = capsys.readouterr().out
    assert re.search(r"without labels +90, for pretraining alone", said)
    assert "42 training images and 90 without labels" in " ".join(said.split())
    params = tmp_path / "params" / "mine.yaml"
    suggested = params.read_text(encoding="utf-8")
    assert "folds: 5" in suggested and "labels: [25, all]" in suggested
    assert "17 runs, 0 done" in run_all("params/mine.yaml", "--dry-run")

    # Five folds take their time: the page's own file, made smaller, is what is run.
    params.write_text(smaller(OWN).replace("study: own", "study: mine"), encoding="utf-8")
    assert "5 runs, 0 done" in run_all(*plan[1:])
    assert "5 done" in run_all(*run[1:])
    folder = tmp_path / "results" / "mine"
    rows = list(csv.DictReader((folder / "summary.csv").open(encoding="utf-8")))
    images = {row["split"]: float(row["value"]) for row in rows if row["metric"] == "images"}
    assert images == {"train": 42, "val": 6, "test": 12, "unlabelled": 90}
    trained = {row["metric"]: float(row["value"]) for row in rows if row["protocol"] == "pretrain"}
    assert round(trained["images_per_second"] * trained["seconds"]) == 42 + 90
    [metrics] = folder.glob("runs/report-*/metrics.json")
    [answer] = json.loads(metrics.read_text())["worth"]
    assert answer.startswith("On folder:data/mine (14 px), pretraining (SimCLR, novel), finetuned")
    [data] = folder.glob("runs/data-*/report.html")
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", data.read_text(encoding="utf-8")))
    assert "90 images without a label: only pretraining sees them." in text
    assert "nothing is known about whether they show patients of the test split" in text


def test_the_page_s_table_is_read_as_it_says(tmp_path: Path) -> None:
    [table] = [block for block in re.findall(r"```\n(.*?)```", PAGE, re.S) if "image," in block]
    (tmp_path / "labels.csv").write_text(table, encoding="utf-8")
    found = read_csv(tmp_path / "labels.csv")
    assert found.unlabelled == [False, False, True, True]
    assert found.groups == ["p1", "p2", "p3", "p3"]


def test_the_page_shows_the_params_file_as_it_is() -> None:
    [shown] = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)
    assert OWN.endswith(shown)
    assert len(OWN.splitlines()) <= 10
    study = read_study(ROOT / "params" / "own.yaml")
    assert [e.notebook[:2] for e in study.experiments] == ["00", "01", "02", "03", "09"]
