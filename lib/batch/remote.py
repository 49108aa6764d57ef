"""Runs on the workers of a Dask scheduler: one that others started, or that of Slurm's jobs.

A worker is greeted (`lib.batch.worker`) before it gets runs: it must have the same state of the
code and see the results folder. What it has to give are Dask resources, places for runs on its GPUs
and beside them, under a name that holds the code's mark. So no other worker ever gets a run, not
even when Dask moves the runs of a lost worker to another.
"""

from __future__ import annotations

import os
import pickle
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lib.batch import worker
from lib.batch.cluster import Say, settings
from lib.batch.engine import Engine, Execute, Room
from lib.batch.mark import describe_code
from lib.batch.slurm import start_slurm
from lib.batch.spec import Outcome, Spec
from lib.batch.study import StudyError
from lib.files import write_text
from lib.params import ROOT

PATIENCE = 60.0  # seconds for a worker to answer: it imports torch first
LOOK = 2.0  # seconds between two looks at which workers there are
MISSING_BOKEH = "Dask's dashboard needs bokeh, which is not part of this project: pip install bokeh"


class Sent:
    """A function of `lib.batch.worker` that is pickled as code: whoever loads it needs no `lib`."""

    def __init__(self, function: Callable[..., Any]) -> None:
        from distributed.protocol.pickle import cloudpickle

        self.function, self.__name__ = function, function.__name__
        cloudpickle.register_pickle_by_value(worker)
        self.content = cloudpickle.dumps(function)
        cloudpickle.unregister_pickle_by_value(worker)

    def __reduce__(self) -> tuple[Callable[[bytes], Any], tuple[bytes]]:
        return pickle.loads, (self.content,)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """As the function itself."""
        return self.function(*args, **kwargs)


class Remote(Engine):
    """Runs by the workers of a scheduler, as far as they are fit for the study.

    token: a file in the study's folder that workers must see, if any. one: whether a worker takes
    one run at a time beside those on its GPUs. refill: called now and then, for lost workers.
    """

    def __init__(
        self,
        client: Any,
        token: Path | None,
        *,
        per_gpu: int,
        say: Say,
        one: bool = False,
        refill: Callable[[], object] = lambda: None,
    ) -> None:
        super().__init__(client.get_executor(pure=False), 0, per_gpu=per_gpu)
        self.client, self.token, self.say, self.refill = client, token, say, refill
        self.wanted = describe_code()
        self.key = f"contrastive-{self.wanted['code']}"
        self.places = {"key": self.key, "per_gpu": per_gpu, "one": one}
        self.known: dict[str, dict[str, Any]] = {}  # the workers that were greeted, by address
        self.there: list[dict[str, Any]] = []  # those that are fit and connected now
        self.looked = float("-inf")
        self.threads = 0
        self.execute, self.greet = Sent(worker.execute_spec), Sent(worker.greet)
        self.end_runs = Sent(worker.end_runs)

    def room(self) -> Room:
        """What the workers that are there now have to give; new ones are greeted."""
        if time.monotonic() - self.looked > LOOK:
            self.looked = time.monotonic()
            self.look()
        total = {k: sum(found[k] for found in self.there) for k in ("runs", "cpu", "gpu")}
        return Room(**total, most=max((found["gpus"] for found in self.there), default=0))

    def trouble(self) -> str:
        """Whether the scheduler is gone, and what to do."""
        if self.client.status == "running":
            return ""
        return f"the scheduler {self.client.scheduler.address} is gone; start one, and run again"

    def look(self) -> None:
        """See which workers there are, and greet those that are new."""
        try:
            self.refill()
            workers = self.client.scheduler_info(n_workers=-1)["workers"]
        except (OSError, TimeoutError, RuntimeError):
            return  # `trouble` says it as soon as it is certain
        self.known = {a: found for a, found in self.known.items() if a in workers}
        for address, about in workers.items():
            greeted = self.known.get(address)
            # One that has come back under an old address has nothing to give as yet.
            if greeted and (greeted["refused"] or f"{self.key}-cpu" in about["resources"]):
                continue
            self.known[address] = found = self.ask(address)
            where = f"worker {address} on {found.get('host', 'an unknown machine')}"
            if found["refused"]:
                self.say(f"{where} gets no runs: {found['refused']}")
            else:
                gpus = f", {found['gpus']} GPU(s)" if found["gpus"] else ""
                self.say(f"{where}: {found['runs']} run(s) at a time{gpus}")
        before = self.there
        self.there = [found for found in self.known.values() if not found["refused"]]
        if before and not self.there:
            self.say("no worker is left; waiting for one")

    def ask(self, address: str) -> dict[str, Any]:
        """A worker's answer to `greet`; refused where it gives none."""
        try:
            # `Client.run`, which has no limit on the time that an answer may take.
            answers = self.client.sync(
                self.client._run,
                self.greet,
                str(ROOT),
                self.wanted,
                str(self.token or ""),
                self.places,
                workers=[address],
                callback_timeout=PATIENCE,
            )
            return dict(answers[address])
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            return {"refused": f"it does not answer ({reason[:200]})"}

    @property
    def refusals(self) -> list[str]:
        """Why workers get no runs."""
        return [f"{a}: {found['refused']}" for a, found in self.known.items() if found["refused"]]

    def choose_threads(self) -> int:
        """CPU threads of each run: one number for the study, for on it depend its numbers.

        OMP_NUM_THREADS where it is set here, else the least that a worker has for each of its runs.
        """
        asked = os.environ.get("OMP_NUM_THREADS", "")
        if asked.isdigit():
            return int(asked)
        beside = Counter[str]()
        for found in self.there:
            beside[found["host"]] += found["runs"]
        if self.places["one"]:
            shares = [int(found["threads"]) // int(found["runs"]) for found in self.there]
        else:
            shares = [int(found["cores"]) // beside[found["host"]] for found in self.there]
        return max(1, min(shares))

    def submit(self, execute: Execute, spec: Spec, gpus: int = 0) -> Future[Outcome]:
        """Start a run on a worker; `execute` is what the worker's own `lib` has of that name."""
        self.threads = self.threads or self.choose_threads()
        spec = replace(spec, per_gpu=self.per_gpu, threads=self.threads)
        resources = {f"{self.key}-gpu": gpus} if gpus else {f"{self.key}-cpu": 1}
        key = f"{spec.name}-{uuid.uuid4().hex}"
        submit: Any = self.executor.submit
        answer = submit(self.execute, asdict(spec), key=key, resources=resources)
        return outcome_of(answer)

    def end(self, running: dict[Future[Outcome], str]) -> None:
        """End the runs under way on their workers; what does not answer is left to its lock."""
        if running and not self.trouble():
            with suppress(Exception):
                self.client.run(self.end_runs, list(running.values()), on_error="ignore")
            wait(running, timeout=5.0)


def outcome_of(answer: Future[dict[str, Any]]) -> Future[Outcome]:
    """The outcome that a worker's answer in plain fields will be."""
    from distributed import KilledWorker

    outcome: Future[Outcome] = Future()

    def pass_on(answered: Future[dict[str, Any]]) -> None:
        try:
            outcome.set_result(Outcome(**answered.result()))
        except KilledWorker:
            text = "every worker that took it was lost; see the scheduler's log for why"
            outcome.set_exception(RuntimeError(text))
        except BaseException as error:
            outcome.set_exception(error)

    answer.add_done_callback(pass_on)
    return outcome


@contextmanager
def open_remote(
    jobs: int,
    scheduler: str | None,
    slurm: Path | None,
    *,
    per_gpu: int,
    folder: Path | None,
    say: Say,
    stop: Callable[[], bool],
) -> Iterator[Remote]:
    """The workers of a running scheduler, or of one started here with Slurm's jobs as workers."""
    asked = f"--slurm {slurm}" if slurm is not None else f"--scheduler {scheduler}"
    token = None if folder is None else folder / "work" / f".shared-{uuid.uuid4().hex}"
    with settings(), ExitStack() as stack:
        from dask.distributed import Client

        refill: Callable[[], object] = lambda: None  # noqa: E731
        try:
            if slurm is None:
                client = stack.enter_context(Client(scheduler))
            else:
                cluster = stack.enter_context(start_slurm(slurm, jobs))
                client = stack.enter_context(Client(cluster))
                refill = partial(cluster.scale, jobs=jobs)
        except (OSError, TypeError, ValueError) as error:
            raise StudyError([f"{asked}: {' '.join(str(error).split())}"]) from error
        if token is not None:
            write_text(token, "")
            stack.callback(token.unlink, missing_ok=True)
        engine = Remote(
            client, token, per_gpu=per_gpu, say=say, one=slurm is not None, refill=refill
        )
        say(dashboard_line(client))
        wait_for_worker(engine, asked, stop, patient=slurm is not None)
        yield engine


def dashboard_line(client: Any) -> str:
    """Where the scheduler's dashboard is, or what to install there."""
    there = client.run_on_scheduler(find_spec, "bokeh") is not None
    return f"dashboard: {client.dashboard_link}" if there else MISSING_BOKEH


def wait_for_worker(engine: Remote, asked: str, stop: Callable[[], bool], *, patient: bool) -> None:
    """Wait until a worker is fit for the study, or until told to stop.

    StudyError where all there are were refused; patient: new ones may come all the same.
    """
    began, told = time.monotonic(), False
    while not engine.room().runs and not stop():
        if engine.refusals and not patient:
            raise StudyError([f"{asked}: worker {line}" for line in engine.refusals])
        if not told:
            engine.say(f"{asked}: no worker yet, waiting for one; Ctrl-C stops")
        told = True
        time.sleep(0.2)
    if told and not stop():
        engine.say(f"first worker after {time.monotonic() - began:.0f} s")
