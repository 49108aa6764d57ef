"""Starting a run in a process of its own, waiting for it, and ending it before its time.

The process is a fork of `lib.batch.forkserver` or `python -m lib.batch.execute SPEC.json`, so that
a crash, a leak or a thread setting stays with its run, whether it was started here or by a worker
of a cluster.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from threading import Event, Lock

from lib.batch.disk import CANNOT_WRITE
from lib.batch.done import is_done, recover
from lib.batch.execute import shorten_log
from lib.batch.forkserver import DIED, ForkServer, can_fork
from lib.batch.gpus import take_gpus
from lib.batch.lifeline import start_on_lifeline
from lib.batch.locks import hold
from lib.batch.spec import LOG, Outcome, Spec
from lib.files import write_text
from lib.params import ROOT
from lib.run import PLANNED, PLANNED_DATA


def choose_threads(slots: int) -> int:
    """CPU threads for each of `slots` runs at a time: OMP_NUM_THREADS if set, or a fair share.

    More threads than cores is worse than slow: on the CPU, convolutions wait for one another in
    busy loops. Another number of threads also sums in another order, which bf16 makes visible.
    """
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdigit() else max(1, (os.cpu_count() or 1) // slots)


_servers: dict[tuple[str, str], ForkServer] = {}
_servers_lock = Lock()
# What ends each run that is being executed in this process's name, and whether all shall end.
_endings: dict[str, Callable[[], None]] = {}
_stopped = Event()
# Runs that this process was asked to execute and is not through with; those of them to be ended.
_under_way: set[str] = set()
_unwanted: set[str] = set()


def stop_runs() -> None:
    """End every run that this process executes, and start none until `allow_runs`."""
    _stopped.set()
    for end in list(_endings.values()):
        end()


def allow_runs() -> None:
    """Let runs be started again after `stop_runs`."""
    _stopped.clear()


def end_named(names: Iterable[str], patience: float = 20.0) -> list[str]:
    """End those of the named runs that this process executes; names that are still there then."""
    mine = _under_way.intersection(names)
    _unwanted.update(mine)
    for name in mine:
        _endings.get(name, lambda: None)()
    end = time.monotonic() + patience
    while mine & _under_way and time.monotonic() < end:
        time.sleep(0.05)
    return sorted(mine & _under_way)


def is_unwanted(name: str) -> bool:
    """Whether a run that this process executes is to end."""
    return _stopped.is_set() or name in _unwanted


def server_for(environment: Mapping[str, str]) -> ForkServer:
    """The fork server for runs with this environment; started where there is none."""
    key = (environment["OMP_NUM_THREADS"], environment["PYTHONPATH"])
    with _servers_lock:
        if key not in _servers or not _servers[key].alive:
            _servers[key] = ForkServer(environment)
        return _servers[key]


def warm_up(slots: int) -> None:
    """Start what the first of runs to come would wait for, as many at a time: its imports."""
    if can_fork():
        server_for(environment_of(choose_threads(slots)))


def run_process(
    task: Path,
    log: Path,
    environment: Mapping[str, str],
    started: Callable[[Callable[[], None]], object] = lambda end: None,
) -> int:
    """Execute a spec file in a process of its own and return its exit status.

    log: what it prints is added to it. started: is given what ends the process before its time.
    """
    if not can_fork():
        command = [sys.executable, "-m", "lib.batch.execute", str(task)]
        with log.open("ab") as stream:
            process = start_on_lifeline(command, environment, stdout=stream, stderr=stream)
            started(process.kill)
            return process.wait()
    try:
        return server_for(environment).run(task, log, environment, started)
    except OSError:
        return DIED


def execute_in_process(spec: Spec) -> Outcome:
    """Execute a spec in a process of its own; a failed run is an outcome, not an exception.

    The run's lock is held meanwhile: where another process holds it, the outcome says who, and
    nothing was done. The work folder is kept when a run fails or is killed: a training goes on
    from the checkpoint in it. A full or read-only disk is a failed run too.
    """
    study_folder = Path(spec.study_folder)

    def leave() -> None:
        _endings.get(spec.name, lambda: None)()

    began = time.time()
    _under_way.add(spec.name)
    try:
        with hold(study_folder, spec.name, leave) as other:
            if other is not None:
                return Outcome(spec.name, False, 0.0, "", busy=str(other))
            recover(spec.work, spec.final)
            if not spec.forced and is_done(study_folder, spec.name):
                report = str(spec.final / "report.html")
                return Outcome(spec.name, True, 0.0, report, elsewhere=True)
            return execute_held(spec)
    except OSError as error:
        reason = f"cannot write {error.filename or spec.work}: {error.strerror or error}"
        return Outcome(spec.name, False, time.time() - began, "", None, reason)
    finally:
        _under_way.discard(spec.name)
        _unwanted.discard(spec.name)


def environment_of(threads: int) -> dict[str, str]:
    """What a run with so many threads finds in its environment, whichever run it is."""
    # The kernel starts in the notebooks' folder: it finds `lib` from there without installation.
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "PYTHONPATH": os.pathsep.join(paths),
    }


def execute_held(spec: Spec) -> Outcome:
    """`execute_in_process` with the run's lock held."""
    spec.work.mkdir(parents=True, exist_ok=True)
    task, answer = spec.work / "spec.json", spec.work / "outcome.json"
    final_answer = spec.final / answer.name
    final_answer.unlink(missing_ok=True)
    write_text(task, json.dumps(asdict(spec)))
    environment = {
        **environment_of(spec.threads or choose_threads(spec.slots)),
        PLANNED: spec.name,
        PLANNED_DATA: spec.data,
    }
    if spec.threads:  # a worker of Dask has numbers of its own here
        for name in ("MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            environment.pop(name, None)
    began = time.time()

    def unwanted() -> bool:
        return is_unwanted(spec.name)

    def note(end: Callable[[], None]) -> None:
        _endings[spec.name] = end
        if unwanted():
            end()

    progress = spec.work / "progress"

    def wait() -> None:
        write_text(progress, "waits for a GPU")

    try:
        with take_gpus(spec.params, spec.per_gpu, unwanted, wait) as devices:
            environment |= devices
            progress.unlink(missing_ok=True)
            status = DIED if unwanted() else run_process(task, spec.log, environment, note)
    finally:
        _endings.pop(spec.name, None)
    if final_answer.exists() and not answer.exists():
        answer = final_answer
    if answer.exists():
        outcome = Outcome(**json.loads(answer.read_text(encoding="utf-8")))
        if outcome.ok:
            answer.unlink()
            shorten_log(spec.final / LOG, spec)
        return outcome
    text = spec.log.read_text(encoding="utf-8", errors="replace") if spec.log.exists() else ""
    last = [line for line in text.splitlines() if line.strip()]
    reason = f"the process ended with status {status}: {last[-1] if last else 'no output'}"
    if status == CANNOT_WRITE:
        reason = f"cannot write to {spec.work}: {last[-1] if last else 'is the disk full?'}"
    return Outcome(spec.name, False, time.time() - began, str(spec.log), None, reason)
