"""Carrying out a plan: order, slots, what is done, what fails, what is skipped."""

from __future__ import annotations

import os
import threading
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lib.batch.engine import Engine
from lib.batch.execute import Outcome
from lib.batch.plan import PlannedRun
from lib.batch.runner import is_done, make_spec, run_plan
from lib.identity import RANDOM


class AtOnce(Executor):
    """An executor that runs what it is given in the calling thread."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def planned(name: str, *needs: str) -> PlannedRun:
    params = {"dataset": "cells", "seed": 0, "labels": "all", "init": needs[0] if needs else ""}
    return PlannedRun(name, name.partition("-")[0], "02_probe", params, needs, 0.0, RANDOM)


CHAIN = [
    planned("pretrain-a"),
    planned("pretrain-b"),
    planned("tune-a", "pretrain-a"),
    planned("probe-b", "pretrain-b"),
    planned("probe-tuned-a", "tune-a"),
]


def carry_out(lab: Any, runs: list[PlannedRun], **more: Any) -> tuple[Any, list[str]]:
    said: list[str] = []
    folder = lab.results / "tiny"
    engine = Engine(AtOnce(), more.pop("slots", 1))
    report = run_plan(runs, "tiny", folder, engine, show=said.append, **more)
    return report, said


def test_everything_runs_once_in_order(lab: Any, fake: Any) -> None:
    report, said = carry_out(lab, CHAIN)
    assert fake.started == [run.name for run in CHAIN]
    assert report.ok
    assert list(report.outcomes) == fake.started
    assert all(is_done(lab.results / "tiny", run.name) for run in CHAIN)
    assert sum("done" in line for line in said) == 5


def test_an_unordered_plan_still_waits_for_what_is_needed(lab: Any, fake: Any) -> None:
    report, _ = carry_out(lab, CHAIN[::-1], slots=3)
    assert report.ok
    assert len(fake.started) == 5


def test_done_runs_are_not_done_again_unless_forced(lab: Any, fake: Any) -> None:
    carry_out(lab, CHAIN[:2])
    report, _ = carry_out(lab, CHAIN)
    assert report.already == ["pretrain-a", "pretrain-b"]
    assert fake.started[2:] == ["tune-a", "probe-b", "probe-tuned-a"]
    assert report.ok
    report, _ = carry_out(lab, CHAIN, forced={run.name for run in CHAIN})
    assert report.already == []
    assert len(fake.started) == 10


def test_only_what_is_forced_is_done_again(lab: Any, fake: Any) -> None:
    carry_out(lab, CHAIN)
    report, _ = carry_out(lab, CHAIN, forced={"tune-a"})
    assert fake.started[5:] == ["tune-a"]
    assert report.already == ["pretrain-a", "pretrain-b", "probe-b", "probe-tuned-a"]


def test_what_has_ended_is_told_before_what_needs_it_starts(lab: Any, fake: Any) -> None:
    told: list[int] = []
    started: list[int] = []
    last = planned("report", *(run.name for run in CHAIN))

    def execute(spec: Any) -> Outcome:
        started.append(len(told))
        return fake(spec)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lib.batch.runner.execute_in_process", execute)
        carry_out(lab, [*CHAIN, last], slots=3, after_each=lambda *_: told.append(1))
    assert fake.started[-1] == "report"
    assert started[-1] == len(CHAIN)


def test_a_folder_without_metrics_is_not_done(lab: Any, fake: Any) -> None:
    (lab.finish("pretrain-a") / "metrics.json").unlink()
    report, _ = carry_out(lab, CHAIN[:1])
    assert (fake.started, report.already) == (["pretrain-a"], [])


def test_a_failure_skips_what_needs_it_and_nothing_else(lab: Any, fake: Any) -> None:
    fake.failing = {"pretrain-a"}
    report, said = carry_out(lab, CHAIN)
    assert fake.started == ["pretrain-a", "pretrain-b", "probe-b"]
    assert not report.ok
    assert [name for name, outcome in report.outcomes.items() if outcome.ok] == fake.started[1:]
    assert report.skipped == {"tune-a": "needs pretrain-a", "probe-tuned-a": "needs tune-a"}
    text = "\n".join(said)
    assert "FAILED pretrain-a" in text
    assert "cell 7: ValueError: no such luck" in text
    assert "skipped probe-tuned-a: it needs tune-a" in text


def test_a_worker_that_dies_is_a_failed_run(lab: Any, fake: Any) -> None:
    fake.dying = {"pretrain-b"}
    report, _ = carry_out(lab, CHAIN)
    assert report.outcomes["pretrain-b"].error == "worker: RuntimeError: the worker is gone"
    assert list(report.skipped) == ["probe-b"]
    assert report.outcomes["probe-tuned-a"].ok


def test_no_more_runs_at_a_time_than_slots(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lock, now, most = threading.Lock(), [0], [0]
    meet = threading.Barrier(2, timeout=20)

    def execute(spec: Any) -> Outcome:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        meet.wait()  # passes only when two run at a time
        with lock:
            now[0] -= 1
        return Outcome(spec.name, True, 1.0, "")

    monkeypatch.setattr("lib.batch.runner.execute_in_process", execute)
    runs = [planned(f"data-{i}") for i in range(6)]
    with ThreadPoolExecutor(6) as pool:
        folder = lab.results / "tiny"
        report = run_plan(runs, "tiny", folder, Engine(pool, 2), show=lambda line: None)
    assert report.ok
    assert most == [2]


def test_what_a_run_is_executed_with(lab: Any, fake: Any) -> None:
    carry_out(lab, CHAIN[:1], slots=10_000)
    [spec] = fake.specs
    assert spec.params["study"] == "tiny"
    assert spec.params["results"] == str(lab.results)
    assert (spec.slots, spec.banner) == (10_000, "")
    assert Path(spec.final) == lab.results / "tiny" / "runs" / "pretrain-a"
    assert spec.work != spec.final
    run = replace(planned("data-phantom"), synthetic=True)
    spec = make_spec(run, "tiny", lab.results / "tiny", os.cpu_count() or 1)
    assert "Synthetic data" in spec.banner
