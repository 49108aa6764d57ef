"""Executing a run: the parts that need no notebook."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from lib.batch import execute as module
from lib.batch.execute import Outcome, Spec, execute_in_process, forget_paths, place
from lib.params import ROOT
from lib.run import PLANNED


def make_spec(lab: Any, dataset: str = "phantom") -> Spec:
    return Spec("probe-a", "02_probe", {"dataset": dataset}, str(lab.results / "tiny"), 2)


class FakeProcess:
    """Stands in for `python -m lib.batch.execute`. ok: how it ends; None: without an answer."""

    def __init__(self, ok: bool | None) -> None:
        self.ok = ok
        self.env: dict[str, str] = {}
        self.spec: Spec | None = None

    def __call__(self, command: list[str], stdout: Any, env: dict[str, str], **_: Any) -> Any:
        assert command[1:3] == ["-m", "lib.batch.execute"]
        self.spec = spec = Spec(**json.loads(Path(command[3]).read_text(encoding="utf-8")))
        self.env = env
        if self.ok is None:
            stdout.write("first\nKilled, out of memory\n\n")
            return subprocess.CompletedProcess(command, -9)
        folder = spec.work
        if self.ok:
            (spec.work / "metrics.json").write_text("{}", encoding="utf-8")
            place(spec)
            folder = spec.final
        outcome = Outcome(spec.name, self.ok, 1.0, "report.html", None if self.ok else 4, "")
        (folder / "outcome.json").write_text(json.dumps(asdict(outcome)), encoding="utf-8")
        return subprocess.CompletedProcess(command, 0 if self.ok else 1)


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> FakeProcess:
    fake = FakeProcess(ok=True)
    monkeypatch.setattr(module.subprocess, "run", fake)
    monkeypatch.setattr(module, "can_fork", lambda: False)
    return fake


def test_runs_at_a_time_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert [module.choose_threads(slots) for slots in (1, 2, 3, 100)] == [8, 4, 2, 1]
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert module.choose_threads(2) == 5


def test_a_run_gets_its_spec_threads_and_name(
    lab: Any, process: FakeProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec(lab)
    monkeypatch.setattr(module, "choose_threads", lambda slots: 2)
    assert execute_in_process(spec) == Outcome("probe-a", True, 1.0, "report.html")
    assert process.spec == spec
    assert process.env["OMP_NUM_THREADS"] == "2"
    assert process.env[PLANNED] == "probe-a"
    assert process.env["PYTHONPATH"].split(":")[0] == str(ROOT)
    assert [p.name for p in spec.final.iterdir()] == ["metrics.json"]
    assert not spec.work.exists()


def test_a_failed_run_keeps_its_folder(lab: Any, process: FakeProcess) -> None:
    process.ok = False
    spec = make_spec(lab)
    outcome = execute_in_process(spec)
    assert (outcome.ok, outcome.cell) == (False, 4)
    assert spec.work.exists()
    assert not spec.final.exists()
    process.ok = True
    assert execute_in_process(spec).ok  # and the next try does not read the old answer


def test_a_process_that_dies_says_its_last_line(lab: Any, process: FakeProcess) -> None:
    process.ok = None
    spec = make_spec(lab)
    spec.final.mkdir(parents=True)  # left by a batch that was killed before it tidied up
    old = json.dumps(asdict(Outcome("probe-a", True, 1.0, "")))
    (spec.final / "outcome.json").write_text(old, encoding="utf-8")
    outcome = execute_in_process(spec)
    assert not outcome.ok
    assert outcome.error == "the process ended with status -9: Killed, out of memory"
    assert Path(outcome.report).read_text(encoding="utf-8").startswith("first")


def test_a_complete_run_replaces_an_earlier_one_without_scraps(lab: Any) -> None:
    spec = make_spec(lab)
    for folder, text in ((spec.final, "old"), (spec.work, "new")):
        (folder / "checkpoints").mkdir(parents=True)
        (folder / "metrics.json").write_text(text, encoding="utf-8")
        (folder / f"{text}.txt").touch()
    for scrap in ("spec.json", "process.log", "progress"):
        (spec.work / scrap).touch()
    place(spec)
    assert {p.name for p in spec.final.iterdir()} == {"metrics.json", "new.txt"}
    assert (spec.final / "metrics.json").read_text(encoding="utf-8") == "new"
    assert [p.name for p in spec.final.parent.iterdir()] == ["probe-a"]
    assert not spec.work.exists()


def save_notebook(lab: Any, source: str) -> Path:
    cell = {
        "cell_type": "code",
        "source": [source],
        "metadata": {"tags": ["parameters"], "papermill": {"x": 1}, "execution": {"y": 1}},
    }
    path: Path = lab.folder / "notebook.ipynb"
    content = {"cells": [cell], "metadata": {"papermill": {"output_path": "/secret"}}}
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_this_machines_folders_are_forgotten(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    spec = make_spec(lab, f"npz:{lab.folder}/mine/cells.npz")
    source = f"{spec.work}/a {lab.results} {ROOT}/lib {spec.params['dataset']} /home/somebody/x"
    path = save_notebook(lab, source)
    forget_paths(path, spec)
    notebook = json.loads(path.read_text(encoding="utf-8"))
    [cell] = notebook["cells"]
    assert cell["source"] == ["runs/probe-a/a results ./lib npz:mine/cells.npz ~/x"]
    assert cell["metadata"] == {"tags": ["parameters"]}
    assert notebook["metadata"] == {}


def test_a_user_without_a_home_keeps_slashes(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/")
    path = save_notebook(lab, "text/html of 1/2")
    forget_paths(path, make_spec(lab))
    assert json.loads(path.read_text(encoding="utf-8"))["cells"][0]["source"] == [
        "text/html of 1/2"
    ]
