"""Two `run_all.py` on one results folder: real processes, notebooks replaced by a stand-in."""

from __future__ import annotations

import contextlib
import csv
import os
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import run_all
from lib.batch import launch, overview, runner, session
from lib.batch.engine import Engine
from lib.batch.spec import Outcome, Spec


class Slow:
    """Executes a run by `fake`, which takes a while; notes when each begins and ends, and where."""

    def __init__(self, diary: Path, fake: Any, failing: str = "") -> None:
        self.diary, self.fake = diary, fake
        fake.failing = {failing} if failing else set()

    def note(self, what: str, spec: Spec) -> None:
        with self.diary.open("a", encoding="utf-8") as file:
            file.write(f"{what} {spec.name} {os.getpid()}\n")

    def __call__(self, spec: Spec) -> Outcome:
        self.note("begin", spec)
        time.sleep(0.3)
        outcome: Outcome = self.fake(spec)
        self.note("end", spec)
        return outcome


def start(params: Path, results: Path, printed: Path, *more: str) -> int:
    """`run_all.py` in a forked process; its process id."""
    pid = os.fork()
    if pid:
        return pid
    status = 99
    try:
        with printed.open("w", encoding="utf-8") as log, contextlib.redirect_stdout(log):
            status = run_all.main([str(params), "--results", str(results), *more])
    finally:
        os._exit(status)


def statuses(pids: list[int]) -> list[int]:
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]


def diary(lab: Any) -> list[list[str]]:
    text = (lab.folder / "diary.txt").read_text(encoding="utf-8")
    return [line.split() for line in text.splitlines()]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No long waits, no figures, no Dask."""

    def write_index(_: object, runs: object, folder: Path, *__: object) -> Path:
        (folder / "index.html").write_text("index", encoding="utf-8")
        return folder / "index.html"

    @contextlib.contextmanager
    def open_threads(jobs: int, *_: object, **__: object) -> Iterator[Engine]:
        # Dask's threads, if another test has started them, are not there in a fork.
        with ThreadPoolExecutor(jobs) as pool:
            yield Engine(pool, jobs)

    monkeypatch.setattr(runner, "RETRY", 0.05)
    monkeypatch.setattr(overview, "write_index", write_index)
    monkeypatch.setattr(session, "open_engine", open_threads)


def test_they_share_the_work_and_end_with_the_same_summary(
    lab: Any, chain: Path, stand_in: Any, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "execute_held", Slow(lab.folder / "diary.txt", stand_in))
    printed = [lab.folder / f"printed-{i}.txt" for i in range(3)]
    jobs = ["1", "1", "2"]
    pids = [start(chain, lab.results, p, "--jobs", n) for p, n in zip(printed, jobs, strict=True)]
    assert statuses(pids) == [0, 0, 0]
    noted = diary(lab)
    begun = Counter(name for what, name, _ in noted if what == "begin")
    assert len(begun) == 5
    assert set(begun.values()) == {1}  # never the same run twice
    assert len({pid for _, _, pid in noted}) > 1  # and not all by one of them
    said = [path.read_text(encoding="utf-8") for path in printed]
    assert any("done by another process" in text for text in said)
    assert any("is at it; waiting for that" in text for text in said)
    with (lab.results / "tiny" / "summary.csv").open(encoding="utf-8", newline="") as file:
        assert len(list(csv.DictReader(file))) == 2 * 2 * 3
    left = {p.name for p in (lab.results / "tiny" / "work").iterdir()}
    assert left <= {".locks", ".summary"}


def test_a_run_that_failed_elsewhere_is_tried_by_who_waited_for_it(
    lab: Any, chain: Path, stand_in: Any, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        launch, "execute_held", Slow(lab.folder / "diary.txt", stand_in, "pretrain")
    )
    printed = [lab.folder / f"printed-{i}.txt" for i in range(2)]
    assert statuses([start(chain, lab.results, path) for path in printed]) == [1, 1]
    for path in printed:
        text = path.read_text(encoding="utf-8")
        assert "2 failed, 2 skipped" in text
        assert "no such luck" in text
