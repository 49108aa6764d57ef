"""A study killed again and again ends with the numbers of one that was left alone."""

from __future__ import annotations

import csv
import importlib
import os
import random
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock, Thread

import psutil
import pytest

import run_all
from lib.batch import launch
from lib.batch.forkserver import IMPORTS, INLINE, ForkServer, can_fork, serve

pytestmark = pytest.mark.skipif(not can_fork(), reason="runs are forks on Linux without a GPU")

STUDY = """
study: tiny
title: A study to be killed
defaults: {dataset: phantom, cap_per_class: 5, device: cpu, precision: fp32, stem: imagenet}
experiments:
  pretrain:
    notebook: 01_pretrain
    set: {epochs: 6, batch_size: 24, knn_every: 2, knn_k: 5, augment: simple, pictures: false}
  probe:
    notebook: 02_probe
    set: {init: pretrain, labels: all, bootstrap: 100}
"""
TIMES = {"seconds", "images_per_second"}


@dataclass
class Killing:
    """Kills one process of a study, so many seconds after it first sees it."""

    victim: str
    delay: float
    found: Callable[[], list[psutil.Process]]
    killed: bool = False
    over: bool = False

    def __call__(self) -> None:
        while not self.over and not self.found():
            time.sleep(0.01)
        end = time.monotonic() + self.delay
        while not self.over and time.monotonic() < end:
            time.sleep(0.005)
        for process in self.found():
            with suppress(psutil.NoSuchProcess):
                process.kill()
                self.killed = True


def numbers(results: Path) -> list[dict[str, str]]:
    """summary.csv without the commit and without what a clock measured."""
    with (results / "tiny" / "summary.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["metric"] not in TIMES]
    return [{k: v for k, v in row.items() if k != "commit"} for row in rows]


class Child:
    """As much of a Popen object as a fork server needs, for a forked process."""

    def __init__(self, pid: int) -> None:
        self.pid, self.status = pid, None

    def poll(self) -> int | None:
        if self.status is None:
            with suppress(ChildProcessError):
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                self.status = os.waitstatus_to_exitcode(status) if pid else None
        return self.status

    def wait(self) -> None:
        while self.poll() is None:
            time.sleep(0.01)


class ForkedServer(ForkServer):
    """A fork server that is itself a fork: without the seconds that its imports take."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.lock = Lock()
        pid = os.fork()
        if pid == 0:
            self.control.close()
            launch._servers.clear()
            os.environ.update(environment, MPLBACKEND=INLINE)
            # Not pytest's, which would keep from a run's log what the run prints.
            sys.stdout, sys.stderr = (os.fdopen(n, "w", closefd=False) for n in (1, 2))
            serve(theirs)
        theirs.close()
        self.process = Child(pid)  # type: ignore[assignment]


def servers() -> list[psutil.Process]:
    """The fork servers of this process."""
    return [psutil.Process(s.process.pid) for s in launch._servers.values() if s.alive]


def runs() -> list[psutil.Process]:
    """The processes that execute a run."""
    return [child for server in servers() for child in children(server)]


def kernels() -> list[psutil.Process]:
    """Their kernels."""
    return [child for run in runs() for child in children(run)]


def children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children()
    except psutil.NoSuchProcess:
        return []


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A params file; every epoch leaves a checkpoint, however short it is."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("CONTRASTIVE_CHECKPOINT_SECONDS", "0")
    monkeypatch.setattr(launch, "_servers", {})
    monkeypatch.setattr(launch, "ForkServer", ForkedServer)
    for name in IMPORTS:
        importlib.import_module(name)
    path = tmp_path / "study.yaml"
    path.write_text(STUDY, encoding="utf-8")
    yield path
    for server in launch._servers.values():
        server.close()


def start(study: Path, results: Path) -> int:
    """`run_all.py` in this process; its exit status."""
    return run_all.main([str(study), "--results", str(results)])


def fork_run_all(study: Path, results: Path) -> psutil.Process:
    """`run_all.py` in a process of its own, which has a fork server of its own."""
    pid = os.fork()
    if pid:
        return psutil.Process(pid)
    status = 99
    try:
        launch._servers.clear()
        printed = results.parent / "printed.txt"
        with printed.open("a", encoding="utf-8") as log, redirect_stdout(log):
            status = start(study, results)
    finally:
        os._exit(status)
    raise AssertionError


def wait_gone(processes: list[psutil.Process]) -> None:
    """Fail unless all have ended within seconds; zombies have."""
    end = time.monotonic() + 60
    while alive := [p for p in processes if p.is_running() and p.status() != "zombie"]:
        assert time.monotonic() < end, f"left behind: {alive}"
        time.sleep(0.05)


def kill_from_outside(study: Path, results: Path, delay: float) -> bool:
    """Kill run_all.py itself after a while; whether it was killed before its end."""
    process = fork_run_all(study, results)
    with suppress(psutil.TimeoutExpired):
        process.wait(delay)
        return False
    below = process.children(recursive=True)
    process.kill()
    os.waitpid(process.pid, 0)
    wait_gone(below)
    return True


def test_killed_at_random_it_ends_as_if_nothing_had_been(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    began = time.monotonic()
    assert start(study, tmp_path / "whole") == 0
    typical = time.monotonic() - began
    expected = numbers(tmp_path / "whole")
    assert {"loss", "auroc"} <= {row["metric"] for row in expected}
    draw = random.Random(6)
    kills, resumed, rounds = 0, 0, 0
    # The server of a run that is under way: one without runs is no loss.
    watched = {"run": runs, "kernel": kernels, "server": lambda: servers() if kernels() else []}
    order = [*["run", "kernel", "run_all"] * 5, *["trained", "server"] * 3]
    draw.shuffle(order)
    while kills < len(order):
        assert rounds < len(order), f"{kills} kills in {rounds} whole rounds: it outruns its killer"
        results = tmp_path / f"round-{rounds}"
        victim, delay = order[kills], 0.3 * typical * draw.random() ** 2
        left = partial((results / "tiny" / "work").glob, "*/checkpoints/last.ckpt")
        watched["trained"] = lambda left=left: kernels() if any(left()) else []
        if victim == "run_all":
            hit = kill_from_outside(study, results, delay)
        else:
            killing = Killing(victim, delay, watched[victim])
            killer = Thread(target=killing)
            killer.start()
            status = start(study, results)
            killing.over = True
            killer.join()
            hit = killing.killed
            assert status == 0 or hit
        kills += hit
        with (tmp_path / "kills.txt").open("a", encoding="utf-8") as file:
            file.write(f"{victim} after {delay:.1f} s: {hit}\n")
        resumed += any(left())
        if not hit:
            assert numbers(results) == expected
            rounds += 1
    assert start(study, results) == 0
    assert numbers(results) == expected
    assert resumed >= 3, "no training had come to a checkpoint"
    assert not [p for p in (results / "tiny" / "work").iterdir() if not p.name.startswith(".")]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_a_clean_stop_with_a_summary(
    study: Path, tmp_path: Path, number: signal.Signals
) -> None:
    process = fork_run_all(study, tmp_path / "r")
    end = time.monotonic() + 300
    while len(below := process.children(recursive=True)) < 3:  # server, run, kernel
        assert time.monotonic() < end
        time.sleep(0.05)
    process.send_signal(number)
    assert process.wait(120) == 130
    wait_gone(below)
    said = (tmp_path / "printed.txt").read_text(encoding="utf-8")
    assert "2 runs: 0 done in " in said
    assert "1 stopped, 1 not started" in said
    assert "Traceback" not in said
    assert (tmp_path / "r" / "tiny" / "index.html").exists()
    assert not list((tmp_path / "r" / "tiny" / "work").glob("*.lock"))
