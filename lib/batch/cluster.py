"""Runs on Dask inside this process: a scheduler and one worker, in threads that no other can reach.

Runs are processes of their own anyway (`lib.batch.launch`). Worker processes would each import
everything once more and have a fork server each.
"""

from __future__ import annotations

import logging
import uuid
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

from lib.batch.engine import Engine, Execute, Room
from lib.batch.gpus import gpus_here
from lib.batch.launch import allow_runs, stop_runs
from lib.batch.spec import Outcome, Spec

Say = Callable[[str], None]
# Dask's settings for clusters of this process. Jobs of Slurm end when their time is up: a long run
# may see several. Sampling what threads do costs more than it tells of threads that wait.
SETTINGS = {
    "distributed.scheduler.allowed-failures": 100,
    "distributed.worker.profile.enabled": False,
    "distributed.admin.large-graph-warning-threshold": "1GB",
}


@contextmanager
def settings() -> Iterator[None]:
    """Dask with `SETTINGS`, and quiet about what is said here in other words."""
    import dask.config
    import distributed  # noqa: F401 - its defaults must be there before they are changed

    with dask.config.set(SETTINGS), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Port .* is already in use", append=False)
        yield


class InProcess(Engine):
    """Runs by the one worker of a cluster inside this process."""

    def room(self) -> Room:
        """As many runs as there are jobs, those on GPUs as there is room there."""
        gpus = len(gpus_here())
        return Room(self.slots, self.slots, gpus * self.per_gpu, gpus)

    def submit(self, execute: Execute, spec: Spec, gpus: int = 0) -> Future[Outcome]:
        """Start a run. What is handed over stays in this process: nothing is pickled."""
        key = f"{spec.name}-{uuid.uuid4().hex}"
        HANDED[key] = execute, replace(spec, per_gpu=self.per_gpu)
        resources = {"gpu": gpus} if gpus else {"cpu": 1}
        submit: Any = self.executor.submit  # Dask's takes more than the base class has
        future: Future[Outcome] = submit(fetch, key, key=key, resources=resources)
        return future

    def end(self, running: dict[Future[Outcome], str]) -> None:
        """End the runs under way: here all of them are, none waits for a place."""
        stop_runs()
        wait(running)
        allow_runs()


HANDED: dict[str, tuple[Execute, Spec]] = {}


def fetch(key: str) -> Outcome:
    """Execute what `InProcess` was given under a key."""
    execute, spec = HANDED.pop(key)
    return execute(spec)


@contextmanager
def open_local(jobs: int, *, per_gpu: int, say: Say) -> Iterator[InProcess]:
    """A cluster inside this process for so many runs at a time."""
    with settings(), ExitStack() as stack:
        from dask.distributed import Client, LocalCluster

        with_bokeh = find_spec("bokeh") is not None
        cluster = stack.enter_context(
            LocalCluster(
                n_workers=1,
                threads_per_worker=jobs,
                processes=False,
                memory_limit=0,  # runs are other processes: this one's memory says nothing
                dashboard_address="127.0.0.1:8787" if with_bokeh else "127.0.0.1:0",
                worker_dashboard_address="127.0.0.1:0",
                resources={"cpu": jobs, "gpu": max(1, len(gpus_here()) * per_gpu)},
                silence_logs=logging.ERROR,
            )
        )
        client = stack.enter_context(Client(cluster))
        if with_bokeh:  # on one machine a dashboard is no reason to install anything
            port = client.scheduler_info()["services"].get("dashboard")
            say(f"dashboard: http://127.0.0.1:{port}/status")
        yield InProcess(client.get_executor(pure=False), jobs, per_gpu=per_gpu)
