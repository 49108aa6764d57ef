"""Executing a run: the parts that need no notebook."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from lib.batch import launch as module
from lib.batch.done import earlier, interrupted, is_done, place, recover
from lib.batch.execute import LOG_BYTES, forget_paths, shorten_log
from lib.batch.launch import execute_in_process
from lib.batch.locks import hold, lock_path
from lib.batch.spec import LOG, Outcome, Spec
from lib.params import ROOT
from lib.run import PLANNED


def make_spec(lab: Any, dataset: str = "phantom") -> Spec:
    return Spec("probe-a", "02_probe", {"dataset": dataset}, str(lab.results / "tiny"), 2)


class Ended:
    """A process that has ended."""

    def __init__(self, status: int) -> None:
        self.status = status

    def wait(self) -> int:
        return self.status

    def kill(self) -> None:
        raise AssertionError("nobody asked for that")


class FakeProcess:
    """Stands in for `python -m lib.batch.execute`. ok: how it ends; None: without an answer."""

    def __init__(self, ok: bool | None) -> None:
        self.ok = ok
        self.env: dict[str, str] = {}
        self.spec: Spec | None = None

    def __call__(self, command: list[str], env: dict[str, str], stdout: Any, **_: Any) -> Any:
        assert command[1:3] == ["-m", "lib.batch.execute"]
        self.spec = spec = Spec.read(Path(command[3]))
        self.env = env
        if self.ok is None:
            stdout.write(b"first\nKilled, out of memory\n\n")
            return Ended(-9)
        folder = spec.work
        if self.ok:
            (spec.work / "metrics.json").write_text("{}", encoding="utf-8")
            place(spec.work, spec.final)
            folder = spec.final
        outcome = Outcome(spec.name, self.ok, 1.0, "report.html", None if self.ok else 4, "")
        (folder / "outcome.json").write_text(json.dumps(asdict(outcome)), encoding="utf-8")
        return Ended(0 if self.ok else 1)


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> FakeProcess:
    fake = FakeProcess(ok=True)
    monkeypatch.setattr(module, "start_on_lifeline", fake)
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
    assert {p.name for p in spec.final.iterdir()} == {"metrics.json", LOG}
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


def two_versions(lab: Any) -> Spec:
    """A complete work folder, and an earlier run of that name in its place."""
    spec = make_spec(lab)
    for folder, text in ((spec.final, "old"), (spec.work, "new")):
        (folder / "checkpoints").mkdir(parents=True)
        (folder / "metrics.json").write_text(json.dumps(text), encoding="utf-8")
        (folder / f"{text}.txt").touch()
    for scrap in ("spec.json", "outcome.json", "progress", ".partial-metrics-a1.json"):
        (spec.work / scrap).touch()
    return spec


def test_a_complete_run_replaces_an_earlier_one_without_scraps(lab: Any) -> None:
    spec = two_versions(lab)
    place(spec.work, spec.final)
    assert {p.name for p in spec.final.iterdir()} == {"metrics.json", "new.txt"}
    assert json.loads((spec.final / "metrics.json").read_text(encoding="utf-8")) == "new"
    assert [p.name for p in spec.final.parent.iterdir()] == ["probe-a"]
    assert not spec.work.exists()


class KilledError(BaseException):
    """The process is gone: nothing after this happens."""


def test_a_kill_between_any_two_steps_of_the_move_loses_nothing(
    lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every step that changes the disk is the last one once; then the next start tidies up."""
    left = 0
    for step in range(100):
        spec = two_versions(lab)
        steps = [0]

        def counted(real: Any, steps: list[int] = steps, last: int = step) -> Any:
            def act(*args: Any, **kwargs: Any) -> Any:
                if steps[0] == last:
                    raise KilledError
                steps[0] += 1
                return real(*args, **kwargs)

            return act

        with monkeypatch.context() as patch:
            for name in ("replace", "unlink", "mkdir"):
                patch.setattr(Path, name, counted(getattr(Path, name)))
            patch.setattr(shutil, "rmtree", counted(shutil.rmtree))
            try:
                place(spec.work, spec.final)
                break
            except KilledError:
                left += 1
        found = interrupted(lab.results / "tiny")
        recover(spec.work, spec.final)
        assert interrupted(lab.results / "tiny") == []
        files = {p.name for p in spec.final.iterdir()} - {"checkpoints"}
        text = json.loads((spec.final / "metrics.json").read_text(encoding="utf-8"))
        assert files == {"metrics.json", f"{text}.txt"}, step
        assert [p.name for p in spec.final.parent.iterdir()] == ["probe-a"]
        if text == "old":  # killed before the new one was marked as complete
            assert found == []
            assert (spec.work / "checkpoints").exists()
            assert not (spec.work / "metrics.json").exists()
        else:
            assert not spec.work.exists()
        shutil.rmtree(lab.results)
    assert left >= 8


def test_a_run_that_had_to_give_way_comes_back(lab: Any) -> None:
    spec = make_spec(lab)
    earlier(spec.final).mkdir(parents=True)
    (earlier(spec.final) / "metrics.json").write_text("{}", encoding="utf-8")
    recover(spec.work, spec.final)
    assert is_done(lab.results / "tiny", "probe-a")


def test_half_a_metrics_file_is_not_believed(lab: Any) -> None:
    folder = lab.finish("probe-a")
    assert is_done(lab.results / "tiny", "probe-a")
    text = (folder / "metrics.json").read_text(encoding="utf-8")
    for broken in (text[: len(text) // 2], "", "[]"):
        (folder / "metrics.json").write_text(broken, encoding="utf-8")
        assert not is_done(lab.results / "tiny", "probe-a")


def test_a_run_that_another_process_is_at_is_left_alone(lab: Any, process: FakeProcess) -> None:
    spec = make_spec(lab)
    with hold(lab.results / "tiny", "probe-a"):
        outcome = execute_in_process(spec)
        assert f"process {os.getpid()} on " in outcome.busy
        assert process.spec is None
        assert not spec.work.exists()
    assert execute_in_process(spec).ok
    assert not lock_path(lab.results / "tiny", "probe-a").exists()
    again = execute_in_process(spec)  # done meanwhile
    assert (again.ok, again.elsewhere) == (True, True)
    assert not execute_in_process(replace(spec, forced=True)).elsewhere


def test_a_log_is_kept_short_and_without_this_machines_folders(lab: Any) -> None:
    spec = make_spec(lab)
    log = lab.folder / "run.log"
    log.write_text("old\n" + "x" * LOG_BYTES + f"\n{ROOT}/lib/a.py: warned\n", encoding="utf-8")
    shorten_log(log, spec)
    text = log.read_text(encoding="utf-8")
    assert text.endswith("\n./lib/a.py: warned\n")
    assert "old" not in text


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
    source += f" {Path(pytest.__file__).parent}/a"
    path = save_notebook(lab, source)
    forget_paths(path, spec)
    notebook = json.loads(path.read_text(encoding="utf-8"))
    [cell] = notebook["cells"]
    assert cell["source"] == [
        "runs/probe-a/a results ./lib npz:mine/cells.npz ~/x site-packages/pytest/a"
    ]
    assert cell["metadata"] == {"tags": ["parameters"]}
    assert notebook["metadata"] == {}


def test_a_user_without_a_home_keeps_slashes(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/")
    path = save_notebook(lab, "text/html of 1/2")
    forget_paths(path, make_spec(lab))
    assert json.loads(path.read_text(encoding="utf-8"))["cells"][0]["source"] == [
        "text/html of 1/2"
    ]


def test_letters_of_a_picture_and_other_folders_are_left_alone(
    lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/abcd")
    coloured = "File \x1b[32m/abcd/x.py:24\x1b[39m, \x1b[0m/abcd"
    text = "/abcd/x\n/abcd and /abcdfs, src='data:image/png;base64,iVB/abcdQmCC'\n"
    path = save_notebook(lab, text + coloured)
    notebook = json.loads(path.read_text(encoding="utf-8"))
    picture = {"image/png": "iVBORw/abcd/0=", "text/plain": ["<Figure in /abcd>"]}
    notebook["cells"][0]["outputs"] = [{"output_type": "display_data", "data": picture}]
    path.write_text(json.dumps(notebook), encoding="utf-8")
    forget_paths(path, make_spec(lab))
    [cell] = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert "".join(cell["source"]) == (
        "~/x\n~ and /abcdfs, src='data:image/png;base64,iVB/abcdQmCC'\n"
        "File \x1b[32m~/x.py:24\x1b[39m, \x1b[0m~"
    )
    assert cell["outputs"][0]["data"] == {**picture, "text/plain": ["<Figure in ~>"]}
