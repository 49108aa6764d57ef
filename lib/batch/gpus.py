"""GPUs as a resource: which there are here, which runs need one, and one run at a time on each.

Whoever executes a run takes its GPUs for as long as it lasts, and `CUDA_VISIBLE_DEVICES` shows it
no others. A GPU is taken by a lock of the system (flock) on a file for it, in this machine's
temporary folder: so two studies, or two workers of a cluster on one machine, do not meet on one
GPU, and what a killed process held is free at once.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

VISIBLE = "CUDA_VISIBLE_DEVICES"
RETRY = 0.5  # seconds between two looks for a free GPU


@dataclass(frozen=True)
class Gpu:
    """A GPU of this machine. name: for CUDA_VISIBLE_DEVICES; identity: the same for everyone here.

    Two jobs of Slurm on one machine may both call theirs 0.
    """

    name: str
    identity: str


@cache
def gpus_here() -> tuple[Gpu, ...]:
    """The GPUs that runs started by this process can see."""
    if sys.platform == "linux" and not any(
        Path(file).exists() for file in ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
    ):
        return ()  # without the seconds that importing torch takes
    import torch

    return name_gpus(torch.cuda.device_count(), os.environ, uuids())


def name_gpus(count: int, environment: Mapping[str, str], uuids: Sequence[str]) -> tuple[Gpu, ...]:
    """The first `count` GPUs that an environment lets CUDA see.

    uuids: of all the machine's, in the driver's order, as far as they are known.
    """
    asked = [name.strip() for name in environment.get(VISIBLE, "").split(",") if name.strip()]
    names = (asked or [str(i) for i in range(count)])[:count]
    job = environment.get("SLURM_JOB_ID", "")
    known = {str(i): uuid for i, uuid in enumerate(uuids)}
    return tuple(
        Gpu(name, known.get(name, f"{job}-{name}" if name.isdigit() else name)) for name in names
    )


def uuids() -> list[str]:
    """What the driver calls this machine's GPUs; empty where nvidia-smi does not say."""
    command = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in said.stdout.splitlines() if line.strip()]


def count_gpus(params: Mapping[str, Any]) -> int:
    """GPUs that a run takes where there are any: none with `device: cpu`, and none to report."""
    if str(params.get("device", "cpu")) == "cpu":
        return 0
    return int(params.get("devices", 1))


@contextmanager
def take_gpus(
    params: Mapping[str, Any],
    share: int = 1,
    gone: Callable[[], bool] = lambda: False,
    wait: Callable[[], object] = lambda: None,
) -> Iterator[dict[str, str]]:
    """Hold the GPUs that a run needs for a block; gives what its environment must say of them.

    share: runs that may be on one GPU at a time. A run whose `device` names one (`cuda:1`) gets
    that one. Waits while they are taken, calling `wait` first, until `gone` says that the run is
    not wanted any more. On a machine without GPUs there is nothing to take, and a run that asks for
    more than there are gets all: it will say itself that they are too few.
    """
    here = gpus_here()
    if not here:
        yield {}
        return
    count = min(count_gpus(params), len(here))
    if not count:
        yield {VISIBLE: ""}
        return
    index = str(params["device"]).partition(":")[2]
    pinned = index.isdigit() and int(index) < len(here)
    candidates = (here[int(index)],) if pinned else here
    told = False
    while True:
        with ExitStack() as stack:
            found: list[Gpu] = []
            for gpu in candidates:
                if len(found) < count and any(lock_slot(gpu, slot, stack) for slot in range(share)):
                    found.append(gpu)
            if len(found) == min(count, len(candidates)) or gone():
                # One that is named by number keeps its number: the run sees all.
                names = ",".join(gpu.name for gpu in (here if pinned else found))
                yield {VISIBLE: names}
                return
        if not told:
            wait()
        told = True
        time.sleep(RETRY)


def lock_slot(gpu: Gpu, slot: int, stack: ExitStack) -> bool:
    """Lock one of a GPU's places until `stack` ends; whether it was free."""
    from filelock import FileLock, Timeout

    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "")
    folder = Path(tempfile.gettempdir()) / f"contrastive-gpus-{user}"
    folder.mkdir(mode=0o700, exist_ok=True)
    name = "".join(c if c.isalnum() else "-" for c in gpu.identity)
    lock = FileLock(folder / f"{name}-{slot}.lock", timeout=0, is_singleton=False)
    try:
        stack.enter_context(lock)
    except Timeout:
        return False
    except NotImplementedError:  # a file system without locks: then nobody is held back
        return True
    return True
