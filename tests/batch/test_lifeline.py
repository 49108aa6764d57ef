"""Processes started anew end with their starter; where runs cannot be forks, theirs do too."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from lib.batch import launch
from lib.batch.lifeline import lock_folder, start_on_lifeline
from lib.batch.spec import LOG, Spec
from lib.data import describe_dataset
from lib.identity import RANDOM, run_name
from lib.params import ROOT, notebook_defaults

SLEEPER = "import time; from lib.batch.lifeline import watch_lifeline as w; w(); time.sleep(600)"


def wait_for(found: Callable[[], bool], seconds: float = 240) -> bool:
    end = time.monotonic() + seconds
    while not (seen := found()) and time.monotonic() < end:
        time.sleep(0.02)
    return seen


def gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def fork(act: Callable[[], object]) -> psutil.Process:
    """A process of its own that does something and then waits."""
    pid = os.fork()
    if pid:
        return psutil.Process(pid)
    try:
        act()
        time.sleep(120)
    finally:
        os._exit(1)


def spec_of_data(folder: Path) -> Spec:
    params = {**notebook_defaults("00_data"), "cap_per_class": 4, "gallery": 1}
    params |= {"study": "tiny", "results": str(folder)}
    data = describe_dataset("phantom", 28, None, split_seed=params["split_seed"]).fingerprint
    name = run_name("00_data", params, RANDOM, data)
    return Spec(name, "00_data", params, str(folder / "tiny"), 1, data=data)


def test_a_killed_starter_takes_along_what_it_started() -> None:
    command = [sys.executable, "-c", SLEEPER]
    starter = fork(lambda: start_on_lifeline(command, environment()).wait())
    assert wait_for(lambda: starter.children() != [])
    [child] = starter.children()
    # Two at once: the second must not hold the first one's line.
    other = start_on_lifeline(command, environment())
    starter.send_signal(signal.SIGKILL)
    os.waitpid(starter.pid, 0)
    assert wait_for(lambda: gone(child))
    assert other.poll() is None
    other.kill()
    assert other.wait() == -signal.SIGKILL


def test_what_is_let_go_of_ends() -> None:
    process = start_on_lifeline([sys.executable, "-c", SLEEPER], environment())
    child = psutil.Process(process.pid)
    process.lifeline.close()  # type: ignore[attr-defined]
    assert process.wait(240) == -signal.SIGKILL
    assert gone(child)


def test_a_folder_is_waited_for_until_the_last_heir_of_its_lock_has_ended(tmp_path: Path) -> None:
    # A run that is killed leaves a kernel for a moment, which still writes into the folder.
    def run() -> None:
        lock_folder(tmp_path)
        if os.fork() == 0:
            (tmp_path / "kernel").write_text(str(os.getpid()), encoding="ascii")
            time.sleep(600)

    process = fork(run)
    assert wait_for(lambda: bool((tmp_path / "kernel").exists()))
    assert wait_for(lambda: (tmp_path / "kernel").read_text(encoding="ascii") != "")
    kernel = int((tmp_path / "kernel").read_text(encoding="ascii"))
    process.kill()
    os.waitpid(process.pid, 0)

    def next_try() -> None:
        lock_folder(tmp_path)
        (tmp_path / "entered").touch()

    following = fork(next_try)
    time.sleep(0.3)
    assert not (tmp_path / "entered").exists()
    os.kill(kernel, signal.SIGKILL)
    assert wait_for((tmp_path / "entered").exists)
    following.kill()
    os.waitpid(following.pid, 0)
    assert lock_folder(tmp_path / "missing") is None


def test_a_run_without_forks_ends_with_its_starter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "can_fork", lambda: False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    spec = spec_of_data(tmp_path)
    starter = fork(lambda: launch.execute_in_process(spec))
    below: list[psutil.Process] = []

    def has_kernel() -> bool:
        below[:] = starter.children(recursive=True)
        with suppress(psutil.NoSuchProcess):
            return any("lib.batch.lifeline" in " ".join(p.cmdline()) for p in below)
        return False

    assert wait_for(has_kernel)
    starter.kill()
    os.waitpid(starter.pid, 0)
    assert wait_for(lambda: all(gone(process) for process in below), 60)
    # The same again, undisturbed: the dead starter's lock is no obstacle.
    outcome = launch.execute_in_process(spec)
    assert outcome.ok, outcome.error
    metrics = json.loads((spec.final / "metrics.json").read_text(encoding="utf-8"))
    assert set(metrics["code"]) > {"00_data", "lib.data"}
    log = (spec.final / LOG).read_text(encoding="utf-8")
    assert log.count(f"{spec.name} in process ") >= 1
    assert "Executing Cell 1" in log
    assert str(tmp_path) not in log
    report = (spec.final / "report.html").read_text(encoding="utf-8")
    assert f"{LOG} beside this page" in report
