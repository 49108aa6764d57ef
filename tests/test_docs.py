"""The pages of docs/: every command and every block of code on them is executed.

`own-images.md` has a test of its own (tests/test_own_images.py).
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pandas as pd
import pytest

import run_all
from tests.conftest import ROOT
from tests.photographs import write_photographs

DOCS = ROOT / "docs"
CODE = ("lib", "notebooks", "params", "run_all.py", "pyproject.toml")
ELSEWHERE = {"own-images.md"}
# Files that a page itself tells to make.
MADE = {"notebooks/12_brightness.ipynb", "params/mine.yaml"}
# Programs that a page may name; each is started as the newcomer's shell would.
PROGRAMS = {"python": [sys.executable], "papermill": [sys.executable, "-m", "papermill"]}


def blocks(page: str) -> list[tuple[str, str]]:
    """(language, text) of every block of a page, in order; "" for one that is not run."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(r"^```(\w*)\n(.*?)^```$", text, re.S | re.M)


def of_language(page: str, language: str) -> list[str]:
    return [text for found, text in blocks(page) if found == language]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository's code in a folder of its own, where pages may add files to it."""
    folder = tmp_path_factory.mktemp("repository")
    skipped = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints", "*.pyc")
    for name in CODE:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=skipped)
        else:
            shutil.copy(source, folder / name)
    (folder / "data").mkdir()
    return folder


def run(command: list[str], folder: Path) -> str:
    """What a command prints; it must end well."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(folder),
        "OMP_NUM_THREADS": "1",
        "CONTRASTIVE_CACHE": str(folder / "cache"),
    }
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (
        f"{shlex.join(command)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    )
    return done.stdout


def run_line(line: str, folder: Path) -> str:
    program, *arguments = shlex.split(line)
    return run([*PROGRAMS[program], *arguments], folder)


def dry_runs(page: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Run every line of the page's sh blocks, all dry runs, in this process; what each printed."""
    printed = []
    for line in [line for text in of_language(page, "sh") for line in text.splitlines()]:
        program, script, *arguments = shlex.split(line)
        assert (program, script) == ("python", "run_all.py") and "--dry-run" in arguments, line
        assert run_all.main(arguments) == 0, capsys.readouterr().err
        printed.append(capsys.readouterr().out)
    return printed


def test_every_page_is_listed_and_every_link_between_pages_resolves() -> None:
    pages = {path.name for path in DOCS.glob("*.md")} - {"README.md"}
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\]\(([\w-]+\.md)\)", index)) == pages
    for path in DOCS.glob("*.md"):
        text = path.read_text(encoding="utf-8")
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
            assert (DOCS / target).exists(), f"{path.name} links to {target}"


def test_every_page_with_commands_is_executed_here_or_elsewhere() -> None:
    with_commands = {p.name for p in DOCS.glob("*.md") if of_language(p.name, "sh")}
    assert with_commands == {"extending.md", "clusters.md", "replicating.md"} | ELSEWHERE


def test_files_and_parameters_that_pages_name_exist() -> None:
    from lib.params import PARAMETERS

    for path in DOCS.glob("*.md"):
        text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.S | re.M)
        for name in re.findall(r"`((?:lib|params|notebooks|tests|bench)/[\w./-]+)`", text):
            assert name in MADE or (ROOT / name).exists(), f"{path.name} names {name}"
        for key in re.findall(r"`(\w+): [^`]+`", text):
            assert key in PARAMETERS, f"{path.name} names the parameter {key}"


def test_the_tables_of_the_photographs_are_made_as_the_page_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    skin, retina = of_language("data.md", "python")
    folders = [tmp_path / "data" / name for name in ("dermatoscopy", "retinopathy")]
    for folder in folders:
        folder.mkdir(parents=True)
    header = "lesion_id,image_id,dx,dx_type,age,sex,localization,dataset\n"
    row = "HAM_0000118,ISIC_0027419,bkl,histo,80.0,male,scalp,vidir_modern\n"
    (folders[0] / "HAM10000_metadata.csv").write_text(header + row)
    exec(skin, {})
    made = (folders[0] / "labels.csv").read_text()
    assert made == "image,label,group\nimages/ISIC_0027419.jpg,bkl,HAM_0000118\n"
    patients = (10, 13, 15, 10003, 17665)
    every = [f"{p}_{side},{p % 5}" for p in patients for side in ("left", "right")]
    path = folders[1] / "trainLabels.csv"
    path.write_text("\n".join(["image,level", *every]) + "\n")
    exec(retina.replace("6742", "8"), {})
    kept = path.read_text().split()
    # As text 10003 comes before 13, and 17665 last: of both one eye is left.
    gone = {"10003_left,3", "17665_right,0"}
    assert kept == ["image,level", *(row for row in every if row not in gone)]


def test_numbers_are_read_with_each_floor_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    [code] = of_language("reading-the-report.md", "python")
    space: dict[str, pd.DataFrame] = {}
    exec(code, space)  # type: ignore[arg-type]
    assert set(space["table"]["count"]) == {5}  # seeds
    assert "mean" in capsys.readouterr().out
    headline = (ROOT / "README.md").read_text(encoding="utf-8")
    [floor] = space["table"].query("method == 'random' and labels == '100'").itertuples()
    assert f"| {floor.mean:.3f} ± {floor.std:.3f} |" in headline


def test_extending(copy: Path) -> None:
    array, sequence, parameters, work, finish = of_language("extending.md", "python")
    [study] = of_language("extending.md", "yaml")
    describe, probe, look, bright = [
        line for text in of_language("extending.md", "sh") for line in text.splitlines()
    ]

    run([sys.executable, "-c", array], copy)
    assert "120: 60 train, 20 val, 40 test" in run_line(describe, copy)
    run_line(f"{probe} -p out probed", copy)
    rows = json.loads((copy / "probed" / "metrics.json").read_text())["rows"]
    assert {r["metric"] for r in rows} >= {"auroc", "accuracy"}

    with (copy / "lib" / "augment" / "sequences.py").open("a", encoding="utf-8") as file:
        file.write(f"\n\n{sequence}")
    # A new sequence is a name like the others; the page's own line shows one that was there before.
    run_line(f"{look.replace('microscopy', 'gentle')} -p cap_per_class 5 -p out looked", copy)
    assert "augment: gentle" in (copy / "looked" / "params.yaml").read_text()

    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(text) for text in (parameters, work, finish)]
    notebook.cells[0].metadata["tags"] = ["parameters"]
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "", "language": "python"}
    nbformat.write(notebook, copy / "notebooks" / "12_brightness.ipynb")
    (copy / "params" / "bright.yaml").write_text(study, encoding="utf-8")
    assert "1 done" in run_line(bright, copy)
    summary = (copy / "results" / "bright" / "summary.csv").read_text()
    assert summary.count("mean_brightness") == 3


def test_clusters(
    copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(copy)
    [slurm] = of_language("clusters.md", "yaml")
    (copy / "slurm.yaml").write_text(slurm, encoding="utf-8")
    for printed in dry_runs("clusters.md", capsys):
        assert "runs, 0 done" in printed
    # What stands in the block that needs a scheduler is executed by tests/batch/test_cluster.py.
    [unlabelled] = of_language("clusters.md", "")
    assert all(line.startswith(("dask ", "python run_all.py")) for line in unlabelled.splitlines())


def test_slurms_arguments_are_slurmclusters(copy: Path) -> None:
    import dask.distributed  # noqa: F401  # which brings the defaults of its configuration
    import yaml
    from dask_jobqueue import SLURMCluster

    [slurm] = of_language("clusters.md", "yaml")
    options = {"scheduler_options": {"dashboard_address": ":0"}, **yaml.safe_load(slurm)}
    with SLURMCluster(**options) as cluster:
        script = cluster.job_script()
    assert "#SBATCH --gres=gpu:1" in script and "#SBATCH -t 08:00:00" in script


def test_replicating(
    copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(copy)
    monkeypatch.setenv("CONTRASTIVE_CACHE", str(copy / "cache"))
    write_photographs(copy / "data" / "retinopathy", n=40)
    for printed in dry_runs("replicating.md", capsys):
        assert " to do" in printed
