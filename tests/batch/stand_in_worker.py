"""Preloaded by Dask workers of tests: a run is a process that counts instead of a notebook.

It goes on from its last count, as a training does from its checkpoint, and notes in `diary.txt` of
the study's folder when it begins and ends: what, which run, its process, at which count.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from lib.batch import gpus, launch
from lib.batch.lifeline import start_on_lifeline

STEPS = 20
COUNT = f"""
import json, os, sys, time
from pathlib import Path
from lib.batch.lifeline import watch_lifeline

watch_lifeline()
spec = json.loads(Path(sys.argv[1]).read_text())
work, study = Path(sys.argv[1]).parent, Path(spec["study_folder"])
count = work / "checkpoint"
step = int(count.read_text() or 0) if count.exists() else 0

def note(what):
    with (study / "diary.txt").open("a") as file:
        words = what, spec["name"], os.getpid(), step, os.environ.get("CUDA_VISIBLE_DEVICES", "-")
        file.write(" ".join(map(str, words)) + "\\n")

note("begin")
while step < {STEPS}:
    time.sleep(0.1)
    step += 1
    count.with_suffix(".new").write_text(str(step))
    count.with_suffix(".new").replace(count)
(work / "metrics.json").write_text("{{}}")
final = study / "runs" / spec["name"]
final.parent.mkdir(exist_ok=True)
work.rename(final)
answer = {{"name": spec["name"], "ok": True, "seconds": 1.0, "report": ""}}
note("end")
(final / "outcome.json").write_text(json.dumps(answer))
"""


def count_up(
    task: Path,
    log: Path,
    environment: Mapping[str, str],
    started: Callable[[Callable[[], None]], object] = lambda end: None,
) -> int:
    """Stands in for `lib.batch.launch.run_process`."""
    command = [sys.executable, "-S", "-c", COUNT, str(task)]
    with log.open("ab") as stream:
        process = start_on_lifeline(command, environment, stdout=stream, stderr=stream)
        started(process.kill)
        return process.wait()


def pretend_gpus() -> tuple[gpus.Gpu, ...]:
    """As many GPUs as the environment says, each with a name of its own."""
    count = int(os.environ.get("PRETENDED_GPUS", "0"))
    return tuple(gpus.Gpu(str(i), f"pretended-{os.getppid()}-{i}") for i in range(count))


def dask_setup(_: object) -> None:
    """What Dask calls when the worker starts."""
    launch.run_process = count_up
    launch.can_fork = lambda: False  # so nothing is made ready for real runs
    gpus.gpus_here = pretend_gpus  # type: ignore[assignment]
