"""Runs as forks: their kernels are orders, their ends are noticed, and nobody is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import pytest

from lib.batch import launch
from lib.batch.forkserver import DIED, ForkedKernel, ForkServer, can_fork
from lib.batch.launch import execute_in_process
from lib.batch.spec import Spec
from lib.params import NOTEBOOKS, ROOT, notebook_defaults

pytestmark = pytest.mark.skipif(not can_fork(), reason="runs are forks on Linux without a GPU")


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    server = ForkServer(environment())
    yield server
    server.close()


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def write_task(folder: Path, notebook: str = "00_data", **changes: object) -> tuple[Spec, Path]:
    """A run of a notebook on a few phantoms, and its spec file."""
    known = notebook_defaults(notebook) if (NOTEBOOKS / f"{notebook}.ipynb").exists() else {}
    params = {**known, "cap_per_class": 4, **changes, "study": "tiny", "results": str(folder)}
    spec = Spec("data-a", notebook, params, str(folder / "tiny"), 2)
    spec.work.mkdir(parents=True)
    task = spec.work / "spec.json"
    task.write_text(json.dumps(asdict(spec)), encoding="utf-8")
    return spec, task


def wait_for(found: Callable[[], bool], seconds: float = 240) -> bool:
    end = time.monotonic() + seconds
    while not found() and time.monotonic() < end:
        time.sleep(0.05)
    return found()


def children(pid: int) -> list[int]:
    """The children of a process; none of one that has ended."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [int(word) for word in text.split()]


def with_kernels(pid: int) -> list[int]:
    """The runs of a server that have a kernel: it may start a process of another kind too."""
    return [child for child in children(pid) if any(map(has_threads, children(child)))]


def has_threads(pid: int) -> bool:
    """Whether a process is a kernel that listens: a run also starts git, for a moment."""
    try:
        return len(list(Path(f"/proc/{pid}/task").iterdir())) > 1
    except (FileNotFoundError, ProcessLookupError):
        return False


def gone(pid: int) -> bool:
    """Whether a process has ended, waited for or not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2][1] == "Z"
    except FileNotFoundError:
        return True


def test_a_run_in_a_fork_leaves_what_any_run_leaves(server: ForkServer, tmp_path: Path) -> None:
    spec, task = write_task(tmp_path)
    assert server.run(task, spec.work / "run.log", environment()) == 0
    outcome = json.loads((spec.final / "outcome.json").read_text(encoding="utf-8"))
    assert outcome["ok"]
    notebook = json.loads((spec.final / "notebook.ipynb").read_text(encoding="utf-8"))
    made = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    assert any("image/svg+xml" in output.get("data", {}) for output in made)  # drawn inline
    assert "synthetic" in (spec.final / "report.html").read_text(encoding="utf-8").lower()


def test_an_error_is_in_the_log(server: ForkServer, tmp_path: Path) -> None:
    spec, task = write_task(tmp_path, notebook="99_missing")
    log = spec.work / "run.log"
    assert server.run(task, log, environment()) == 1
    assert "99_missing.ipynb" in log.read_text(encoding="utf-8").splitlines()[-1]


@pytest.mark.parametrize("victim", ["run", "server"])
def test_what_is_killed_is_noticed_and_leaves_no_kernel(victim: str, tmp_path: Path) -> None:
    server = ForkServer(environment())
    spec, task = write_task(tmp_path)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(server.run, task, spec.work / "run.log", environment())
        assert wait_for(lambda: with_kernels(server.process.pid) != [])
        [run] = with_kernels(server.process.pid)
        below = children(run)
        os.kill(run if victim == "run" else server.process.pid, signal.SIGKILL)
        assert answer.result(timeout=240) == DIED
    assert wait_for(lambda: gone(run) and all(gone(child) for child in below), 60)
    server.close()
    with pytest.raises(OSError):
        server.run(task, spec.work / "run.log", environment())


def test_the_server_ends_with_its_client(tmp_path: Path) -> None:
    code = (
        "import os, sys; from lib.batch.forkserver import ForkServer;"
        "print(ForkServer(os.environ).process.pid, flush=True); sys.stdin.read()"
    )
    client = subprocess.Popen(
        [sys.executable, "-c", code], env=environment(), text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert client.stdout is not None
    server = int(client.stdout.readline())
    client.kill()
    client.wait()
    assert wait_for(lambda: gone(server))


def test_a_dead_server_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Server:
        made: list[Server] = []  # noqa: RUF012

        def __init__(self, _: object) -> None:
            self.alive = True
            self.made.append(self)

        def run(self, *_: object) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(launch, "ForkServer", Server)
    monkeypatch.setattr(launch, "_servers", {})
    spec, _ = write_task(tmp_path)
    assert execute_in_process(spec).error == "the process ended with status -1: no output"
    assert not execute_in_process(spec).ok
    assert len(Server.made) == 1
    Server.made[0].alive = False
    execute_in_process(spec)
    assert len(Server.made) == 2


def test_a_waiting_kernel_can_be_killed_and_ends_when_it_is_not_wanted() -> None:
    kernel = ForkedKernel(close=[])
    assert kernel.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        kernel.wait(timeout=0.1)
    assert os.getpgid(kernel.pid) == kernel.pid  # signals to its group reach no one else
    kernel.terminate()
    assert kernel.wait() == kernel.poll() == -signal.SIGTERM
    kernel.kill()  # harmless
    unwanted = ForkedKernel(close=[])
    os.close(unwanted.writing)
    assert unwanted.wait(timeout=240) == 0
