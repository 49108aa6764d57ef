"""Where runs are executed, and how many at a time: here one after the other, or on Dask workers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lib.batch.launch import allow_runs, stop_runs, warm_up
from lib.batch.spec import Outcome, Spec

Execute = Callable[[Spec], Outcome]


@dataclass(frozen=True)
class Room:
    """What runs can have at a time: places in all; of these without a GPU, and on GPUs.

    most: GPUs of one machine. Where there is none, every run takes a place without.
    """

    runs: int
    cpu: int
    gpu: int = 0
    most: int = 0

    def fits(self, gpus: int, running: Collection[int]) -> bool:
        """Whether a run with so many GPUs can start beside others with so many each."""
        if len(running) >= self.runs:
            return False
        if gpus:
            return sum(running) + gpus <= self.gpu
        return sum(1 for count in running if not count) < self.cpu


class Engine:
    """Executes runs by an executor of this process.

    slots: how many at a time, whatever they need. per_gpu: how many may be on one GPU.
    """

    def __init__(self, executor: Executor, slots: int, *, per_gpu: int = 1) -> None:
        self.executor, self.slots, self.per_gpu = executor, slots, per_gpu

    def room(self) -> Room:
        """What runs can have at present."""
        return Room(self.slots, self.slots)

    def trouble(self) -> str:
        """Why no run can be executed any more; empty as long as they can."""
        return ""

    def submit(self, execute: Execute, spec: Spec, gpus: int = 0) -> Future[Outcome]:
        """Start a run; gpus: how many it has, by `Room.most`."""
        return self.executor.submit(execute, replace(spec, per_gpu=self.per_gpu))

    def end(self, running: dict[Future[Outcome], str]) -> None:
        """End the runs under way, by their names, and wait until they have ended."""
        from concurrent.futures import wait

        stop_runs()
        for future in running:
            future.cancel()
        wait(running)
        allow_runs()


@contextmanager
def open_engine(
    jobs: int,
    scheduler: str | None = None,
    slurm: Path | None = None,
    *,
    per_gpu: int = 1,
    folder: Path | None = None,
    say: Callable[[str], None] = print,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Engine]:
    """What executes the runs of a study, until the end of the block.

    With one job a thread of this process, with several a Dask cluster in it; each run is a process
    of its own either way. scheduler: the address of a running Dask scheduler, whose workers see the
    same files. slurm: a YAML file with the keyword arguments of `dask_jobqueue.SLURMCluster`, which
    is started with `jobs` workers and ended afterwards. folder: the study's, which workers must
    see. say: told what there is to know about workers. stop: ends the wait for a first one. Raises
    StudyError where the scheduler does not answer, the file's arguments are not SLURMCluster's or
    no worker is fit for the study.
    """
    if scheduler is None and slurm is None and jobs == 1:
        with ThreadPoolExecutor(1) as pool:
            yield Engine(pool, 1, per_gpu=per_gpu)
        return
    options: dict[str, Any] = {"per_gpu": per_gpu, "say": say}
    if scheduler is None and slurm is None:
        from lib.batch.cluster import open_local

        warm_up(jobs)  # beside the start of the cluster, which takes less
        with open_local(jobs, **options) as engine:
            yield engine
    else:
        from lib.batch.remote import open_remote

        options |= {"folder": folder, "stop": stop}
        with open_remote(jobs, scheduler, slurm, **options) as remote:
            yield remote
