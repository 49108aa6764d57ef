"""What a Dask worker is asked to do.

These functions are sent as code, not by name (`lib.batch.remote`): a worker may have none of this
project, or another state of it, and must be able to say so. So nothing of `lib` is imported here
outside of functions, and what comes and goes is what JSON holds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any


async def greet(
    root: str,
    wanted: dict[str, str],
    token: str,
    places: dict[str, Any],
    dask_worker: Any = None,
) -> dict[str, Any]:
    """Let a worker take runs, or say why it cannot; and what it has to offer.

    root: where the client has this project. wanted: its `lib.batch.mark.describe_code`. token: a
    file in the study's folder. places: `key`, their name; `per_gpu`, how many runs one GPU has;
    `one`, whether it takes one run beside these, or as many as it has threads.
    """
    import asyncio
    import importlib.util
    import os
    import platform
    import sys

    from distributed.core import Status

    answer: dict[str, Any] = {"host": platform.node(), "refused": ""}
    if importlib.util.find_spec("lib") is None:  # a worker started from another folder
        sys.path.insert(0, root)
        importlib.invalidate_caches()
    try:
        from lib.batch.gpus import gpus_here
        from lib.batch.mark import describe_code
        from lib.params import ROOT
    except ImportError as error:
        return {**answer, "refused": f"this project is not there ({error})"}
    found = describe_code()
    differing = [key for key in wanted if found.get(key) != wanted[key]]
    if differing:
        said = ", ".join(f"{key} {found.get(key)} (here {wanted[key]})" for key in differing)
        return {**answer, "refused": f"its {said}, in {ROOT}; start it anew from the same state"}
    for _ in range(20):  # a file server may take a moment to show a new file
        if not token or Path(token).exists():
            break
        await asyncio.sleep(0.5)
    else:
        return {**answer, "refused": f"it does not see {Path(token).parent}"}
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count()
    threads = dask_worker.state.nthreads
    gpus = len(gpus_here())
    on_gpus = gpus * places["per_gpu"]
    beside = 1 if places["one"] else max(1, threads - on_gpus)
    key = places["key"]
    gives = {f"{key}-gpu": on_gpus, f"{key}-cpu": beside}
    if any(dask_worker.state.total_resources.get(name) != n for name, n in gives.items()):
        await dask_worker.set_resources(**gives)
        # A scheduler looks at runs that found no worker when one comes, and not when it gives more.
        dask_worker.status = Status.paused
        dask_worker.status = Status.running
    runs = min(threads, on_gpus + beside)
    return {
        **answer, "runs": runs, "cpu": beside, "gpu": on_gpus, "gpus": gpus, "threads": threads,
        "cores": cores,
    }  # fmt: skip


def execute_spec(fields: dict[str, Any]) -> dict[str, Any]:
    """Execute a run on a worker that `greet` has found fit; spec and outcome as plain fields."""
    from dataclasses import asdict

    from lib.batch.launch import execute_in_process
    from lib.batch.spec import Spec

    return asdict(execute_in_process(Spec(**{**fields, "drop": tuple(fields["drop"])})))


def end_runs(names: list[str]) -> list[str]:
    """End those of the named runs that this worker executes; those that have not ended by then."""
    from lib.batch.launch import end_named

    return end_named(names)
