"""The fixed cost of a run: what starting it, its kernel, its imports and its report take.

`python -m bench.overhead [--quick]`. A notebook that does nothing but import what 02_probe imports
is executed as a study's runs are, `--jobs` at a time: as forks of a process that has imported
everything (`lib.batch.forkserver`), and as a fresh process with a fresh kernel each. The parts of a
fresh run are timed one by one.

Its share of a study is reckoned from `params/demo.yaml`, executed whole: a short run is one of the
demo's. The fixed cost of 100 of them is the start of the fork server, 100 runs that do nothing, and
100 times what rendering the demo's reports takes beyond that of nothing; the whole is the same
start and 100 times what the demo's runs took on average.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

import nbformat

import lib.batch.launch
import lib.batch.runner
from bench.measuring import OUT, Goal, say_goals, write_rows
from lib.batch.engine import open_engine
from lib.batch.forkserver import IMPORTS, can_fork
from lib.batch.launch import execute_in_process
from lib.batch.plan import plan_study
from lib.batch.runner import run_plan
from lib.batch.spec import Outcome, Spec
from lib.batch.study import read_study
from lib.batch.summary import write_summary
from lib.pages.render import render_notebook
from lib.params import NOTEBOOKS, ROOT

GOAL, RUNS = 0.15, 100
METRICS = """from pathlib import Path

Path(out, "metrics.json").write_text("{}")"""


def imports_of(notebook: str) -> str:
    """The cell of a notebook that imports."""
    cells = nbformat.read(NOTEBOOKS / f"{notebook}.ipynb", as_version=4).cells
    [found] = [
        cell.source
        for cell in cells
        if cell.cell_type == "code" and "from lib.run import start" in cell.source
    ]
    return str(found)


def write_nothing(path: Path) -> Path:
    """A notebook that imports what 02_probe does and writes metrics without a number."""
    v4 = nbformat.v4
    parameters = v4.new_code_cell('out = ""  # where the run is made')
    parameters.metadata["tags"] = ["parameters"]
    cells = [
        v4.new_markdown_cell("# Nothing: what does a run cost that does nothing?"),
        parameters,
        v4.new_code_cell(imports_of("02_probe")),
        v4.new_code_cell(METRICS),
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(v4.new_notebook(cells=cells, metadata=kernel), path)
    return path


def run_nothing(notebook: Path, study: Path, runs: int, jobs: int) -> float:
    """Seconds that a run takes of one of `jobs` slots, several executed side by side."""
    specs = [
        Spec(f"nothing-{i}", str(notebook.with_suffix("")), {}, str(study), jobs)
        for i in range(runs)
    ]
    began = time.perf_counter()
    with ThreadPoolExecutor(jobs) as pool:
        outcomes = list(pool.map(execute_in_process, specs))
    passed = time.perf_counter() - began
    check(outcomes)
    return passed * jobs / runs


def check(outcomes: Sequence[Outcome]) -> None:
    """RuntimeError where a run failed: its time would mean nothing."""
    for outcome in outcomes:
        if not outcome.ok:
            raise RuntimeError(f"{outcome.name}: {outcome.error} (see {outcome.report})")


def timed(function: Callable[[], object]) -> float:
    """Seconds of a call."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def parts(executed: Path, folder: Path) -> dict[str, float]:
    """Seconds of the parts of a fresh run, each alone; executed: the notebook that did nothing."""
    from jupyter_client.manager import start_new_kernel

    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    code = "; ".join(f"import {name}" for name in IMPORTS)
    command = [sys.executable, "-c", code]
    found = {
        "imports of the run": timed(lambda: subprocess.run(command, env=environment, check=True))
    }
    kernel: list[Any] = []
    found["kernel start"] = timed(
        lambda: kernel.extend(
            start_new_kernel(kernel_name="python3", env=environment, stderr=subprocess.DEVNULL)
        )
    )
    manager, client = kernel
    try:
        source = imports_of("02_probe")
        found["imports in the kernel"] = timed(
            lambda: client.execute_interactive(source, output_hook=lambda _: None)
        )
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    found["rendering"] = timed(lambda: render_notebook(executed, folder / "again.html"))
    return found


def run_study(params: Path, results: Path, jobs: int) -> tuple[dict[str, float], dict[str, float]]:
    """Execute a study; seconds of each run as a whole, and of rendering its report once more."""
    study = read_study(params)
    runs = plan_study(study, params, results)
    whole: dict[str, float] = {}

    def execute(spec: Spec) -> Outcome:
        began = time.perf_counter()
        outcome = execute_in_process(spec)
        whole[spec.name] = time.perf_counter() - began
        return outcome

    folder, names = results / study.name, [run.name for run in runs]
    with (
        mock.patch.object(lib.batch.runner, "execute_in_process", execute),
        open_engine(jobs) as engine,
    ):
        report = run_plan(
            runs,
            study.name,
            folder,
            engine,
            show=lambda _: None,
            after_each=lambda *_: write_summary(folder, names),
        )
    check(list(report.outcomes.values()))
    rendered = {
        name: timed(
            lambda name=name: render_notebook(  # type: ignore[misc]
                folder / "runs" / name / "notebook.ipynb", results / "again.html"
            )
        )
        for name in whole
    }
    return whole, rendered


def share(start: float, each: float, report: float, whole: float, runs: int = RUNS) -> float:
    """Fixed cost over the whole of a study.

    start: of the fork server; each: a run that does nothing; report: what rendering a real report
    takes beyond that; whole: a real run. Seconds.
    """
    return (start + runs * (each + report)) / (start + runs * whole)


def main(arguments: list[str] | None = None) -> int:
    """Measure, print the table, write CSV and JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.overhead", description=__doc__)
    parser.add_argument("--runs", type=int, default=8, help="runs that do nothing, of each kind")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--params", type=Path, default=ROOT / "params" / "demo.yaml")
    parser.add_argument("--quick", action="store_true", help="without the study")
    parser.add_argument("--out", type=Path, default=OUT / "overhead.csv")
    options = parser.parse_args(arguments)
    rows: list[dict[str, Any]] = []

    def note(what: str, seconds: float, runs: int = 1) -> float:
        rows.append({"what": what, "seconds": round(seconds, 3), "runs": runs})
        print(f"{what:<44}{seconds:>8.2f} s", flush=True)
        return seconds

    value, reason = None, "" if can_fork() else "runs are no forks on this system"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        notebook, results = write_nothing(folder / "nothing.ipynb"), folder / "results"
        jobs = options.jobs
        with mock.patch.object(lib.batch.launch, "can_fork", lambda: False):
            each = run_nothing(notebook, results / "fresh", options.runs, jobs)
            fresh = note("a run, a fresh process", each, options.runs)
        executed = results / "fresh" / "runs" / "nothing-0" / "notebook.ipynb"
        alone = parts(executed, folder)
        for what, seconds in alone.items():
            note(f"  alone: {what}", seconds)
        if can_fork():
            # Each time in a folder of its own: what is done is not done again.
            first = timed(lambda: run_nothing(notebook, results / "first", 1, jobs))
            each = run_nothing(notebook, results / "forked", options.runs, jobs)
            note("a run, forked after imports", each, options.runs)
            start = note("start of the fork server, once a study", max(first - each, 0.0))
            print(f"a fork is {fresh / each:.1f}× cheaper than a fresh process")
        if can_fork() and not options.quick:
            whole, rendered = run_study(options.params, folder / "results", jobs)
            mean = note("a short run, mean", statistics.fmean(whole.values()), len(whole))
            report = statistics.fmean(rendered.values())
            note("rendering its report, mean", report, len(rendered))
            value = round(share(start, each, report - alone["rendering"], mean), 4)
        elif options.quick:
            reason = "--quick leaves the study out"
    what = f"fixed cost of {RUNS} runs of {options.params.stem}, {options.jobs} at a time, share"
    goals = [Goal(what, value, GOAL, "of time", False, reason)]
    print(say_goals(goals))
    write_rows(options.out, rows, goals, vars(options))
    return 0


if __name__ == "__main__":
    sys.exit(main())
