"""Which number format and memory layout this machine is faster with: a few steps, timed.

A choice by timing must not change by chance, or the numbers of a run would. So float32 in
channels-last order stays unless another way is faster by MARGIN, and the choice is kept: in the
user's cache, for all runs of the same work on the same machine, and beside the checkpoint, for a
run that goes on elsewhere.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path

import torch

from lib.files import write_json
from lib.identity import digest
from lib.models.embed import LAYOUTS, forward
from lib.models.encoder import build_encoder

MARGIN = 1.1
ROUNDS = 2
# Seconds that a trial on a CPU should take, all of it together, where a step allows that.
SECONDS = 3.0
# Views of a step that is timed: enough that its fixed cost does not decide, and no more than show
# it; on a CPU also fewer, if they take long.
FEWEST, MOST = 4, {"cpu": 128, "cuda": 1024}
# A candidate whose first step takes so many times the first one's is not tried further.
HOPELESS = 3.0

# Number format and layout, and what was timed of them in images per second.
Candidate = tuple[str, str]
Speeds = dict[Candidate, float]


@dataclass(frozen=True)
class Workload:
    """What is timed: forward and backward of an encoder. batch: images in it, two views each."""

    device: str
    encoder: str
    stem: str
    size: int
    batch: int
    threads: int


@dataclass(frozen=True)
class NumberFormat:
    """Number format (fp32 or bf16) and memory layout of the encoder's work.

    speeds: images per second, two views each, of `precision, layout` that were timed; forward and
    backward of the encoder alone. Empty where nothing was timed.
    """

    precision: str = "fp32"
    layout: str = "channels_last"
    speeds: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        """`bf16, channels_last: 412 against 203 images/s (fp32, channels_last)`."""
        chosen = f"{self.precision}, {self.layout}"
        others = {name: speed for name, speed in self.speeds.items() if name != chosen}
        if not others:
            return f"{chosen} (as asked)" if not self.speeds else chosen
        best = max(others, key=lambda name: others[name])
        return f"{chosen}: {self.speeds[chosen]:.0f} against {others[best]:.0f} images/s ({best})"


def choose_format(work: Workload, kept: Path | None = None) -> NumberFormat:
    """The format for this work on this machine, timed if that has not been done before.

    kept: a file beside the run's checkpoint, which decides where it exists and else is written.
    """
    # Larger batches are timed alike, and need not be timed again.
    work = replace(work, batch=min(work.batch, most_views(work.device) // 2))
    if kept is not None and kept.exists():
        return NumberFormat(**json.loads(kept.read_text(encoding="utf-8")))
    chosen = known_or_timed(work, describe_machine(work.device))
    if kept is not None:
        write_json(kept, asdict(chosen))
    return chosen


@cache
def known_or_timed(work: Workload, machine: str) -> NumberFormat:
    """The choice kept in the user's cache for this work and machine; timed and put there if new."""
    from filelock import FileLock

    about = {**asdict(work), "machine": machine, "torch": torch.__version__}
    folder = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    path = folder / "contrastive-medmnist" / "formats" / f"{digest(about)}.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path.with_suffix(".lock"))
        # One trial at a time: side by side they would slow each other.
        with lock:
            if not path.exists():
                write_json(path, {"about": about, "chosen": asdict(run_trial(work))})
            return NumberFormat(**json.loads(path.read_text(encoding="utf-8"))["chosen"])
    except OSError:
        return run_trial(work)


def describe_machine(device: str) -> str:
    """What speeds depend on: the GPU's name, or the CPU's with what it can do."""
    if device.startswith("cuda"):
        return str(torch.cuda.get_device_name(device))
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        about = dict.fromkeys(line for line in lines if line.startswith(("model name", "flags")))
        return digest(list(about))
    return platform.processor() or platform.machine()


def run_trial(work: Workload) -> NumberFormat:
    """Compare the number formats, then with the faster one the layouts."""
    first = ("fp32", "channels_last")
    views = count_views(work, step_of(work, *first))
    speeds = time_steps(work, [first, ("bf16", "channels_last")], views)
    chosen = faster(speeds, first)
    if views > FEWEST:  # where a step takes seconds, the question that matters more has been asked
        speeds |= time_steps(work, [chosen, (chosen[0], "contiguous")], views)
        chosen = faster(speeds, chosen)
    return NumberFormat(*chosen, {f"{p}, {m}": round(v, 1) for (p, m), v in speeds.items()})


def count_views(work: Workload, step: Callable[[int], float]) -> int:
    """Views of the steps to time: on a CPU as many as the time allows, at least FEWEST."""
    views = min(2 * work.batch, most_views(work.device))
    if work.device != "cpu":
        return views
    step(2)  # prepares
    each = step(FEWEST) / FEWEST
    return max(FEWEST, min(views, int(SECONDS / (4 * (ROUNDS + 1)) / each)))


def time_steps(work: Workload, candidates: list[Candidate], views: int) -> Speeds:
    """Images per second of the candidates, timed in turns; without those a device cannot do."""
    able = [c for c in candidates if can(work.device, c[0])]
    steps = {candidate: step_of(work, *candidate) for candidate in able}
    # The first step of each prepares; what is hopeless is not tried again, unless that step met a
    # busy moment of the machine.
    once = {candidate: step(views) for candidate, step in steps.items()}
    slowest = HOPELESS * once[able[0]]
    for candidate, step in steps.items():
        if once[candidate] > slowest:
            once[candidate] = step(views)
    seconds: dict[Candidate, list[float]] = {c: [] for c in able if once[c] <= slowest}
    for _ in range(ROUNDS if views > FEWEST else 1):
        for candidate, times in seconds.items():
            times.append(steps[candidate](views))
    return {candidate: views / 2 / min(times) for candidate, times in seconds.items()}


def faster(speeds: Speeds, before: Candidate) -> Candidate:
    """The fastest candidate if it is faster by MARGIN than the one before, else that one."""
    best = max(speeds, key=lambda candidate: speeds[candidate])
    return best if speeds[best] > MARGIN * speeds[before] else before


def most_views(device: str) -> int:
    """Views of the largest step that is timed on a device."""
    return MOST["cpu" if device == "cpu" else "cuda"]


def can(device: str, precision: str) -> bool:
    """Whether a device has a number format at all; how fast is for the trial to say."""
    return precision == "fp32" or device == "cpu" or torch.cuda.is_bf16_supported()


def step_of(work: Workload, precision: str, layout: str) -> Callable[[int], float]:
    """A function that makes one step on so many views and returns the seconds it took."""
    encoder = build_encoder(work.encoder, work.stem, 3, seed=0).train()
    encoder = encoder.to(work.device, memory_format=LAYOUTS[layout])  # type: ignore[call-overload]

    def step(views: int) -> float:
        x = torch.rand(views, 3, work.size, work.size, device=work.device)
        began = clock(work)
        torch.autograd.backward(forward(encoder, x, precision, layout).float().square().mean())
        return clock(work) - began

    return step


def clock(work: Workload) -> float:
    """Seconds that pass while a device works, and on a CPU only while this process does.

    Other processes make every step longer, some more than others by chance; CPU time, shared out
    among the threads, hardly knows them.
    """
    if work.device == "cpu":
        return time.process_time() / work.threads
    torch.cuda.synchronize(work.device)
    return time.perf_counter()
