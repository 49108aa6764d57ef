"""run_all.py from the command line: real notebooks on tiny data, and what it leaves on disk."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pandas as pd
import pytest

from lib.models.weights import load_encoder
from lib.run import COLUMNS
from tests.built import STUDY, build_study, run_all
from tests.conftest import ROOT
from tests.test_notebooks import execute
from tests.tiny import write_npz


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """A params file, the results it gave, and what was printed."""
    built = build_study(tmp_path_factory)
    return built.params, built.results, built.printed


def run_folder(results: Path, kind: str) -> Path:
    (folder,) = (results / "tiny" / "runs").glob(f"{kind}-*")
    return folder


def test_leaves_the_files_of_the_contract(study: tuple[Path, Path, str]) -> None:
    _, results, printed = study
    assert f"report: {results / 'tiny' / 'index.html'}" in printed
    summary = pd.read_csv(results / "tiny" / "summary.csv")
    assert list(summary.columns) == list(COLUMNS)
    assert {"loss", "auroc", "accuracy"} <= set(summary["metric"])
    for kind, files in {
        "pretrain": ["encoder.safetensors", "history.csv"],
        "probe": ["predictions.csv"],
    }.items():
        folder = run_folder(results, kind)
        assert re.fullmatch(rf"{kind}-npz-tiny-simclr-natural-s0-[0-9a-f]{{8}}", folder.name)
        for name in ["params.yaml", "report.html", "notebook.ipynb", "metrics.json", *files]:
            assert (folder / name).stat().st_size > 0, name
        assert json.loads((folder / "metrics.json").read_text())["run"] == folder.name
    # Checkpoints and scratch files are gone, and nothing was left half made.
    work = (results / "tiny" / "work").iterdir()
    assert not [path for path in work if path.name not in (".locks", ".summary")]  # locks, empty
    assert not list((results / "tiny").rglob("*.ckpt"))


def test_pages_need_no_network_and_name_no_folder_of_this_machine(
    study: tuple[Path, Path, str],
) -> None:
    _, results, _ = study
    pages = list((results / "tiny").rglob("*.html"))
    assert len(pages) == 3
    for page in pages:
        text = page.read_text(encoding="utf-8")
        # The index alone has a script, which stands in it; the reports run nothing.
        assert not re.search(r"<(link|iframe)\b|<script\s", text)
        assert text.count("<script>") == (page.name == "index.html")
        assert not re.search(r"src=[\"'](?!data:)", text)
        assert "data:image/svg+xml;base64," in text
        assert str(results) not in text
        assert str(ROOT) not in text
    notebook = run_folder(results, "probe") / "notebook.ipynb"
    assert str(results.parent) not in notebook.read_text(encoding="utf-8")


def test_the_encoder_loads_in_one_call(study: tuple[Path, Path, str]) -> None:
    _, results, _ = study
    encoder, header = load_encoder(run_folder(results, "pretrain"))
    assert encoder.feature_dim == 512
    assert header["parameters"]["augment"] == "natural"
    assert header["parameters"]["run"] == run_folder(results, "pretrain").name


def test_what_is_done_is_not_done_again(study: tuple[Path, Path, str]) -> None:
    params, results, _ = study
    before = {p: p.stat().st_mtime_ns for p in (results / "tiny" / "runs").rglob("*")}
    plan = run_all(params, "--results", results, "--dry-run")
    assert "2 runs, 2 done, 0 to do" in plan.stdout
    done = run_all(params, "--results", results)
    assert done.returncode == 0
    assert "2 already done" in done.stdout
    assert before == {p: p.stat().st_mtime_ns for p in (results / "tiny" / "runs").rglob("*")}


def test_papermill_by_hand_gives_the_same_numbers(
    study: tuple[Path, Path, str], tmp_path: Path
) -> None:
    params, results, _ = study
    data = f"npz:{params.parent / 'tiny.npz'}"
    quick = {"epochs": 1, "batch_size": 16, "knn_every": 1, "knn_k": 5, "stem": "strided"}
    trained = execute(
        "01_pretrain",
        tmp_path / "a",
        tmp_path,
        dataset=data,
        device="cpu",
        augment="natural",
        **quick,
    )
    probe = {"labels": "12,all", "bootstrap": 100, "device": "cpu", "dataset": data}
    encoder = tmp_path / "a" / "encoder.safetensors"
    probed = execute("02_probe", tmp_path / "b", tmp_path, init=encoder, **probe)
    for mine, kind in ((trained, "pretrain"), (probed, "probe")):
        theirs = json.loads((run_folder(results, kind) / "metrics.json").read_text())
        # The same parameters, data and code are the same run, wherever they ran.
        assert mine["run"] == theirs["run"]
        timings = {"seconds", "images_per_second"}
        for a, b in zip(mine["rows"], theirs["rows"], strict=True):
            assert a["metric"] == b["metric"]
            if a["metric"] not in timings:
                assert a["value"] == pytest.approx(b["value"], abs=1e-6), a["metric"]


def test_a_failed_run_is_named_with_its_cell_and_report(tmp_path: Path) -> None:
    data = write_npz(tmp_path / "tiny.npz", "multi-class")
    params = tmp_path / "tiny.yaml"
    params.write_text(STUDY.format(data=data), encoding="utf-8")
    # Seven images a class cannot be decided on by a batch that needs more memory than there is.
    done = run_all(
        params, "--results", tmp_path / "r", "--set", "pretrain.projection_dim=1000000000000"
    )
    assert done.returncode == 1, done.stdout
    assert re.search(r"failed +pretrain-npz-tiny.*: cell \d+: \w*Error", done.stdout)
    assert re.search(r"skipped +probe-npz-tiny.*: needs pretrain-npz-tiny", done.stdout)
    report = re.search(r"see (\S+report\.html)", done.stdout)
    assert report is not None
    assert "Traceback" in Path(report.group(1)).read_text(encoding="utf-8")
    assert not (tmp_path / "r" / "tiny" / "runs").exists()


# Notebooks that start and finish a run and do nothing else.
PLACES = 'data_root = ""  # no\nresults = ""  # no\nstudy = ""  # no\nout = ""  # no\n'
STAND_INS = {
    "00_data": [
        'dataset = ""  # name\nsize = 28  # px\n'
        "split_seed = 0  # seed\nmax_unreadable = 0.0  # share\n" + PLACES,
        "from lib.run import start\n"
        'run = start("00_data", globals())\nassert run.params.size == 28',
        'run.finish([run.row("images", 1.0)])',
    ],
    "09_report": [
        'summary = ""  # a table\n' + PLACES,
        "from pathlib import Path\nfrom lib.run import start, summary_file\n"
        'run = start("09_report", globals())\n'
        "text = summary_file(vars(run.params), Path(run.params.results)).read_text()",
        'run.finish([], headline=" ".join(line.split(",")[1] for line in text.splitlines()[1:]))',
    ],
}


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of the code with such notebooks, and a study of one run and a report on it."""
    root = tmp_path / "copy"
    shutil.copytree(ROOT / "lib", root / "lib", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "run_all.py", root)
    (root / "notebooks").mkdir()
    for name, sources in STAND_INS.items():
        cells = [nbformat.v4.new_code_cell(text) for text in sources]
        cells[0]["metadata"]["tags"] = ["parameters"]
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
        nbformat.write(notebook, root / "notebooks" / f"{name}.ipynb")
    data = write_npz(tmp_path / "tiny.npz", "multi-class")
    experiments = "experiments:\n  report: {notebook: 09_report}\n"
    experiments += f'  data: {{notebook: 00_data, set: {{dataset: "npz:{data}"}}}}\n'
    (root / "study.yaml").write_text(f"study: tiny\n{experiments}", encoding="utf-8")
    return root


def run_copy(root: Path, *arguments: str) -> str:
    command = [sys.executable, "run_all.py", "study.yaml", *arguments]
    done = subprocess.run(
        command, cwd=root, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    return f"{done.returncode} {done.stdout}{done.stderr}"


def test_a_report_is_made_of_the_finished_summary(copied: Path) -> None:
    first = run_copy(copied)
    assert "2 runs: 2 done" in first, first
    folders = {p.name.partition("-")[0]: p for p in (copied / "results/tiny/runs").iterdir()}
    report = json.loads((folders["report"] / "metrics.json").read_text(encoding="utf-8"))
    assert report["headline"] == folders["data"].name
    assert report["run"] == folders["report"].name
    assert "2 already done" in run_copy(copied)
    # Done again alone, it finds the summary of the runs that are done.
    (copied / "results" / "tiny" / "summary.csv").unlink()
    alone = run_copy(copied, "--only", "report", "--force")
    assert "2 runs: 1 done" in alone, alone
    assert "1 already done" in alone
    page = (copied / "results" / "tiny" / "index.html").read_text(encoding="utf-8")
    assert folders["report"].name in page


def test_a_report_on_a_failed_study_is_skipped(copied: Path) -> None:
    failed = run_copy(copied, "--set", "size=32")
    assert failed.startswith("1 "), failed
    assert "1 failed, 1 skipped" in failed
    assert re.search(r"skipped +report-\w+: needs data-npz-tiny", failed)


def test_refused_before_anything_is_written(tmp_path: Path) -> None:
    params = tmp_path / "bad.yaml"
    params.write_text(STUDY.format(data="missing.npz").replace("epochs", "epoch"), encoding="utf-8")
    done = run_all(params, "--results", tmp_path / "r")
    assert done.returncode == 2
    assert "epoch: unknown key (did you mean epochs?)" in done.stderr
    assert str(params) in done.stderr
    assert not (tmp_path / "r").exists()
