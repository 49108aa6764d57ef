"""Executing one planned run: papermill, the rendered report, and the move into place.

Each run has a process of its own, a fork of `lib.batch.forkserver` or `python -m lib.batch.execute
SPEC.json`, so that a crash, a leak or a thread setting stays with its run, whether it was started
here or by a worker of a cluster.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any

from lib.batch.forkserver import DIED, ForkServer, can_fork
from lib.identity import DATASETS, commit, short_name
from lib.params import NOTEBOOKS, ROOT
from lib.run import PLANNED, PLANNED_DATA


@dataclass(frozen=True)
class Spec:
    """One run to execute.

    slots: runs at a time on its machine, which share the cores. banner: shown over its report.
    data: what identifies its data.
    """

    name: str
    notebook: str
    params: dict[str, Any]
    study_folder: str
    slots: int
    banner: str = ""
    data: str = ""

    @property
    def work(self) -> Path:
        """Where the run is made."""
        return Path(self.study_folder) / "work" / self.name

    @property
    def final(self) -> Path:
        """Where it is moved when it is complete."""
        return Path(self.study_folder) / "runs" / self.name


@dataclass(frozen=True)
class Outcome:
    """How a run ended. cell: number of the failed cell; error: its one-line reason."""

    name: str
    ok: bool
    seconds: float
    report: str
    cell: int | None = None
    error: str = ""


def choose_threads(slots: int) -> int:
    """CPU threads for each of `slots` runs at a time: OMP_NUM_THREADS if set, or a fair share.

    More threads than cores is worse than slow: on the CPU, convolutions wait for one another in
    busy loops. Another number of threads also sums in another order, which bf16 makes visible.
    """
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdigit() else max(1, (os.cpu_count() or 1) // slots)


_servers: dict[tuple[str, str], ForkServer] = {}
_servers_lock = Lock()


def run_process(task: Path, log: Path, environment: Mapping[str, str]) -> int:
    """Execute a spec file in a process of its own and return its exit status; `log` is its log."""
    if not can_fork():
        command = [sys.executable, "-m", "lib.batch.execute", str(task)]
        with log.open("w", encoding="utf-8") as stream:
            done = subprocess.run(
                command, stdout=stream, stderr=stream, env=dict(environment), check=False
            )
        return done.returncode
    key = (environment["OMP_NUM_THREADS"], environment["PYTHONPATH"])
    with _servers_lock:
        if key not in _servers or not _servers[key].alive:
            _servers[key] = ForkServer(environment)
        server = _servers[key]
    try:
        return server.run(task, log, environment)
    except OSError:
        return DIED


def execute_in_process(spec: Spec) -> Outcome:
    """Execute a spec in a process of its own; a failed run is an outcome, not an exception.

    The work folder is kept when a run fails or is killed: a pretraining resumes from the
    checkpoint in it.
    """
    spec.work.mkdir(parents=True, exist_ok=True)
    task, answer, log = (spec.work / n for n in ("spec.json", "outcome.json", "process.log"))
    final_answer = spec.final / answer.name
    for stale in (answer, final_answer):
        stale.unlink(missing_ok=True)
    task.write_text(json.dumps(asdict(spec)), encoding="utf-8")
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(choose_threads(spec.slots)),
        PLANNED: spec.name,
        PLANNED_DATA: spec.data,
    }
    # The kernel starts in the notebooks' folder: it finds `lib` from there without installation.
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment["PYTHONPATH"] = os.pathsep.join(paths)
    began = time.time()
    status = run_process(task, log, environment)
    if final_answer.exists() and not answer.exists():
        answer = final_answer
    if answer.exists():
        outcome = Outcome(**json.loads(answer.read_text(encoding="utf-8")))
        if outcome.ok:
            answer.unlink()
        return outcome
    text = log.read_text(encoding="utf-8") if log.exists() else ""
    last = [line for line in text.splitlines() if line.strip()]
    reason = f"the process ended with status {status}: {last[-1] if last else 'no output'}"
    return Outcome(spec.name, False, time.time() - began, str(log), None, reason)


def execute(spec: Spec) -> Outcome:
    """Run the notebook of `spec`, render its report, move its folder into place if it worked."""
    import papermill
    from papermill.exceptions import PapermillExecutionError

    from lib.render import render_notebook

    began = time.time()
    executed = spec.work / "notebook.ipynb"
    params = {**spec.params, "out": str(spec.work)}
    failure: tuple[int | None, str] | None = None
    try:
        papermill.execute_notebook(
            str(NOTEBOOKS / f"{spec.notebook}.ipynb"),
            str(executed),
            parameters=params,
            cwd=str(NOTEBOOKS),
            progress_bar=False,
            kernel_name="python3",
        )
        if not (spec.work / "metrics.json").exists():
            failure = (None, "the notebook ended without writing metrics.json")
    except PapermillExecutionError as error:
        failure = (error.exec_count, f"{error.ename}: {' '.join(str(error.evalue).split())}")
    forget_paths(executed, spec)
    footer = {"run": spec.name, "code": commit(), "made": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"}
    report = spec.work / "report.html"
    render_notebook(executed, report, banner=spec.banner or None, footer=footer)
    seconds = time.time() - began
    if failure:
        return Outcome(spec.name, False, seconds, str(report), *failure)
    place(spec)
    return Outcome(spec.name, True, seconds, str(spec.final / "report.html"))


def forget_paths(executed: Path, spec: Spec) -> None:
    """Take this machine's folders out of an executed notebook, which is kept and passed on."""
    notebook = json.loads(executed.read_text(encoding="utf-8"))
    notebook["metadata"].pop("papermill", None)
    for cell in notebook["cells"]:
        cell["metadata"].pop("papermill", None)
        cell["metadata"].pop("execution", None)
    text = json.dumps(notebook, indent=1, ensure_ascii=False)
    results = Path(spec.study_folder).parent
    known = {str(spec.work): f"runs/{spec.name}", str(results): "results", str(ROOT): "."}
    for key in DATASETS:
        dataset = str(spec.params.get(key, ""))
        path, short = dataset.partition(":")[2], short_name(dataset).partition(":")[2]
        if path:
            known[path] = short
    for name in ("data_root", "init", "summary"):
        value = str(spec.params.get(name) or "")
        if Path(value).is_absolute():
            known.setdefault(value, f"{name}/{Path(value).name}")
    known[str(Path.home())] = "~"
    for folder, short in known.items():
        if folder != "/":  # the home of a user without one
            text = text.replace(folder, short)
    executed.write_text(text + "\n", encoding="utf-8")


def place(spec: Spec) -> None:
    """Move a complete work folder to its final name; an earlier run of that name gives way."""
    for scrap in ("spec.json", "process.log", "progress"):
        (spec.work / scrap).unlink(missing_ok=True)
    # Three times the size of the encoder that is kept, and of no use once the run is complete.
    shutil.rmtree(spec.work / "checkpoints", ignore_errors=True)
    spec.final.parent.mkdir(parents=True, exist_ok=True)
    old = spec.final.with_name(f".{spec.final.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if spec.final.exists():
        spec.final.replace(old)
    spec.work.replace(spec.final)
    shutil.rmtree(old, ignore_errors=True)


def execute_task(task: Path) -> int:
    """Execute a spec file, leave the outcome beside it, and return the exit status."""
    from lib.files import write_json

    spec = Spec(**json.loads(task.read_text(encoding="utf-8")))
    outcome = execute(spec)
    folder = spec.final if outcome.ok else spec.work
    write_json(folder / "outcome.json", asdict(outcome))
    return 0 if outcome.ok else 1


if __name__ == "__main__":
    sys.exit(execute_task(Path(sys.argv[1])))
