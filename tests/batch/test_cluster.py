"""Dask: workers that are killed or refused, clients that end. Runs are stand-ins that count."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import pytest

from lib.batch.engine import open_engine
from lib.batch.locks import lock_path
from lib.batch.runner import run_plan
from lib.batch.study import StudyError
from lib.params import ROOT

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from stand_in_client import planned  # noqa: E402
from stand_in_worker import STEPS  # noqa: E402

Entry = tuple[str, str, int, int]  # what, which run, its process, its count


class Cluster:
    """A scheduler in this process; workers and clients are processes, ended with the test."""

    def __init__(self, folder: Path, address: str) -> None:
        self.folder, self.address = folder, address
        self.study = folder / "results" / "tiny"
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, log: str, *command: str, code: Path = ROOT, **more: str) -> Any:
        environment = {**os.environ, "PYTHONPATH": str(code), "OMP_NUM_THREADS": "1", **more}
        with (self.folder / log).open("wb") as stream:
            process = subprocess.Popen(
                [sys.executable, *command], env=environment, cwd=self.folder,
                stdout=stream, stderr=subprocess.STDOUT,
            )  # fmt: skip
        self.processes.append(process)
        return process

    def worker(self, name: str, code: Path = ROOT, threads: int = 1, **more: str) -> Any:
        options = ["--nthreads", str(threads), "--name", name, "--no-nanny", "--no-dashboard"]
        options += ["--local-directory", str(self.folder), "--death-timeout", "60"]
        options += ["--preload", str(HERE / "stand_in_worker.py")]
        module = "distributed.cli.dask_worker"
        return self.start(f"{name}.log", "-m", module, self.address, *options, code=code, **more)

    def client(self, log: str, *names: str) -> Any:
        script = str(HERE / "stand_in_client.py")
        return self.start(log, script, self.address, str(self.study), *names)

    def said(self, log: str) -> str:
        return (self.folder / log).read_text(encoding="utf-8")

    def diary(self) -> list[Entry]:
        file = self.study / "diary.txt"
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        words = [line.split() for line in lines]
        return [(w[0], w[1], int(w[2]), int(w[3])) for w in words]

    def holder(self, name: str) -> psutil.Process:
        """The worker that is at a run, once it has counted a little."""
        checkpoint = self.study / "work" / name / "checkpoint"
        wait_for(lambda: checkpoint.exists() and int(checkpoint.read_text()) >= 3)
        return psutil.Process(json.loads(lock_path(self.study, name).read_text())["pid"])


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_for(condition: Callable[[], object], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    from dask.distributed import LocalCluster

    options = {"host": "127.0.0.1", "protocol": "tcp", "dashboard_address": "127.0.0.1:0"}
    with LocalCluster(n_workers=0, processes=False, **options) as scheduler:
        found = Cluster(tmp_path, scheduler.scheduler_address)
        (found.study / "work").mkdir(parents=True)
        yield found
        for process in found.processes:
            process.kill()
            process.wait()


def carry_out(cluster: Cluster, runs: list[Any]) -> tuple[Any, list[str]]:
    said: list[str] = []
    with open_engine(1, cluster.address, folder=cluster.study, say=said.append) as engine:
        report = run_plan(runs, "tiny", cluster.study, engine, show=said.append)
    return report, said


def test_a_killed_workers_run_goes_on_elsewhere_from_its_checkpoint(cluster: Cluster) -> None:
    cluster.worker("one")
    client = cluster.client("client.log", "a", "b", "c")
    victim = cluster.holder("a")
    below = victim.children(recursive=True)
    victim.kill()
    cluster.worker("two")
    assert client.wait(60) == 0, cluster.said("client.log")
    assert below
    wait_for(lambda: not any(is_alive(process) for process in below))
    begun = [(name, step) for what, name, _, step in cluster.diary() if what == "begin"]
    assert Counter(name for name, _ in begun) == {"a": 2, "b": 1, "c": 1}
    assert dict(begun)["a"] >= 3  # the second time, from where it was
    assert Counter(n for w, n, *_ in cluster.diary() if w == "end") == {"a": 1, "b": 1, "c": 1}
    assert not list((cluster.study / "work").glob("*.lock"))


def test_a_killed_clients_runs_are_waited_for_and_not_done_twice(cluster: Cluster) -> None:
    cluster.worker("one")
    first = cluster.client("first.log", "a", "b")
    cluster.holder("a")
    first.kill()
    second = cluster.client("second.log", "a", "b")
    assert second.wait(60) == 0, cluster.said("second.log")
    begun = Counter(name for what, name, *_ in cluster.diary() if what == "begin")
    assert begun == {"a": 1, "b": 1}


def test_a_stopped_client_ends_its_runs_on_the_workers(cluster: Cluster) -> None:
    cluster.worker("one")
    client = cluster.client("client.log", "a", "b")
    worker = cluster.holder("a")
    client.send_signal(signal.SIGINT)
    assert client.wait(60) == 130, cluster.said("client.log")
    assert "report 0 [] ['a'] " in cluster.said("client.log")
    assert worker.is_running()
    assert not worker.children(recursive=True)
    assert not lock_path(cluster.study, "a").exists()
    assert cluster.client("again.log", "a").wait(60) == 0
    [*_, (_, _, _, step)] = [entry for entry in cluster.diary() if entry[0] == "begin"]
    assert 3 <= step < STEPS


def test_a_worker_with_another_state_of_the_code_gets_no_runs(cluster: Cluster) -> None:
    other = cluster.folder / "other"
    for part in ("lib", "notebooks"):
        ignored = shutil.ignore_patterns("__pycache__", ".*")
        shutil.copytree(ROOT / part, other / part, ignore=ignored)
    with (other / "lib" / "probe.py").open("a", encoding="utf-8") as file:
        file.write("# changed\n")
    cluster.worker("stale", code=other)
    wait_for(lambda: "Registered to" in cluster.said("stale.log"))
    line = r"^--scheduler \S+: worker tcp://\S+: its code \w+ \(here \w+\), in \S+/other; start it"
    with pytest.raises(StudyError, match=line):
        carry_out(cluster, [planned("a")])
    assert not cluster.diary()
    cluster.worker("fit")
    wait_for(lambda: "Registered to" in cluster.said("fit.log"))
    report, said = carry_out(cluster, [planned("a"), planned("b")])
    assert report.ok
    assert sum("gets no runs: its code" in line for line in said) == 1
    assert "execute_spec" not in cluster.said("stale.log")


def test_runs_on_a_gpu_have_it_alone_and_others_run_beside(cluster: Cluster) -> None:
    cluster.worker("one", threads=3, PRETENDED_GPUS="1")
    runs = [planned(name, device="auto") for name in ("a", "b")]
    report, said = carry_out(cluster, [*runs, planned("report")])
    assert report.ok
    assert any("1 GPU(s)" in line for line in said)
    order = [(what, name) for what, name, *_ in cluster.diary()]
    on_gpu = [entry for entry in order if entry[1] != "report"]
    assert on_gpu in ([("begin", x), ("end", x), ("begin", y), ("end", y)] for x, y in ("ab", "ba"))
    assert order.index(("begin", "report")) < order.index(on_gpu[1])  # beside the first
    text = (cluster.study / "diary.txt").read_text(encoding="utf-8")
    shown = {words[1]: words[4:] for words in map(str.split, text.splitlines())}
    assert shown == {"a": ["0"], "b": ["0"], "report": []}


def test_a_scheduler_that_is_gone_stops_the_study_with_a_line(tmp_path: Path) -> None:
    import dask
    from dask.distributed import LocalCluster

    options = {"host": "127.0.0.1", "protocol": "tcp", "dashboard_address": "127.0.0.1:0"}
    said: list[str] = []
    patience = dask.config.set({"distributed.comm.timeouts.connect": "3s"})
    with patience, LocalCluster(n_workers=0, processes=False, **options) as scheduler:
        found = Cluster(tmp_path, scheduler.scheduler_address)
        (found.study / "work").mkdir(parents=True)
        found.worker("one")
        try:
            with open_engine(1, found.address, folder=found.study, say=said.append) as engine:
                stopping = iter([False, True])

                def stop() -> bool:
                    if found.diary() and next(stopping, False):
                        scheduler.close()
                    return False

                report = run_plan(
                    [planned("a"), planned("b")], "tiny", found.study, engine,
                    show=said.append, stop=stop,
                )  # fmt: skip
        finally:
            found.processes[0].kill()
            found.processes[0].wait()
    assert "is gone; start one, and run again" in report.trouble
    assert (report.stopped, report.unstarted) == (["a"], ["b"])


def test_a_scheduler_that_does_not_answer_is_refused() -> None:
    import dask
    import dask.distributed  # its defaults must be there before one of them is set for a while

    with (
        dask.config.set({"distributed.comm.timeouts.connect": "200ms"}),
        pytest.raises(StudyError, match=r"^--scheduler tcp://127\.0\.0\.1:9: "),
        open_engine(1, scheduler="tcp://127.0.0.1:9"),
    ):
        pass


def test_jobs_on_this_machine_are_a_cluster_that_nobody_else_reaches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lib.batch.engine.warm_up", lambda _: None)
    said: list[str] = []
    with open_engine(3, say=said.append) as engine:
        assert engine.room().runs == 3
        listening = [c for c in psutil.Process().net_connections("tcp") if c.status == "LISTEN"]
        assert {c.laddr.ip for c in listening} <= {"127.0.0.1"}
    if find_spec("bokeh") is None:
        assert said == []
    else:
        assert said[0].startswith("dashboard: http://127.0.0.1")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_jobs_on_this_machine_end_with_the_one_who_started_them(
    cluster: Cluster, number: signal.Signals
) -> None:
    cluster.address = "--jobs=2"
    client = cluster.client("client.log", "a", "b", "c")
    cluster.holder("a"), cluster.holder("b")
    below = psutil.Process(client.pid).children(recursive=True)
    assert len(below) == 2
    client.send_signal(number)
    assert client.wait(60) == {signal.SIGKILL: -9, signal.SIGINT: 130}[number]
    wait_for(lambda: not any(is_alive(process) for process in below))
    if number == signal.SIGINT:
        assert "report 0 [] ['a', 'b'] " in cluster.said("client.log")
        assert not list((cluster.study / "work").glob("*.lock"))
    assert cluster.client("again.log", "a", "b", "c").wait(60) == 0
    begun = [(name, step) for what, name, _, step in cluster.diary() if what == "begin"]
    assert Counter(name for name, _ in begun) == {"a": 2, "b": 2, "c": 1}
    assert min(dict(begun)[name] for name in "ab") >= 3


def test_one_job_starts_no_cluster() -> None:
    code = """
import sys
from lib.batch.engine import open_engine
with open_engine(1) as engine:
    assert engine.room().runs == 1
sys.exit("distributed" in sys.modules)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    assert (
        subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0
    )
