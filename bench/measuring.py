"""What benchmarks share: contenders that take turns, peak memory, goals, files."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import platform
import resource
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from lib.identity import commit

OUT = Path("bench/out")
BEGAN = time.perf_counter()  # about when the benchmark's process did
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
PACKAGES = ("torch", "torchvision", "pytorch-lightning", "numpy", "scikit-learn", "faiss-cpu",
            "lightly", "kornia")  # fmt: skip


@dataclass(frozen=True)
class Goal:
    """A measured number beside what was asked for.

    value: None where it was not measured, and `note` says why. least: whether `target` is the
    least that meets the goal, or the most.
    """

    what: str
    value: float | None
    target: float
    unit: str = "×"
    least: bool = True
    note: str = ""

    @property
    def verdict(self) -> str:
        """`met`, `MISSED` or `not measured`."""
        if self.value is None:
            return "not measured"
        met = self.value >= self.target if self.least else self.value <= self.target
        return "met" if met else "MISSED"


def installed(package: str) -> bool:
    """Whether a peer that only benchmarks use can be imported."""
    return importlib.util.find_spec(package) is not None


def take_turns(
    functions: Mapping[str, Callable[[], object]], repeats: int, turn: float = 0.0
) -> dict[str, list[float]]:
    """Seconds of a call, by name and turn, after one call each to warm up.

    The functions take turns, so that a slow spell of the machine meets all of them. turn: seconds
    that a turn lasts at least, in calls one after the other, of which the mean counts (as
    `torch.utils.benchmark`'s blocks do): rates are of steady work. With 0 a turn is one call,
    which a short function then makes with the cache that the others left behind.
    """
    for function in functions.values():
        function()
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            calls, began = 0, time.perf_counter()
            while True:
                function()
                calls += 1
                passed = time.perf_counter() - began
                if passed >= turn:
                    break
            seconds[name].append(passed / calls)
    return seconds


@dataclass
class Peak:
    """Memory of this process in MiB: at its highest in a block, and how far above the start."""

    total: float = 0.0
    above: float = 0.0


@contextmanager
def peak_memory() -> Iterator[Peak]:
    """Measure the resident memory at its highest inside the block.

    On Linux the kernel's high-water mark, which is set back at the start. Elsewhere that of the
    whole life of the process: a lower bound of `above`, true where the block needs the most. What
    the C library has kept of earlier, smaller allocations counts as having been there before.
    """
    peak = Peak()
    can_reset = STATUS.exists() and os.access(CLEAR, os.W_OK)
    if can_reset:
        CLEAR.write_text("5", encoding="ascii")  # proc_pid_clear_refs(5): resets VmHWM
        before = read_status("VmRSS")
        yield peak
        peak.total = read_status("VmHWM")
    else:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        yield peak
        peak.total = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    peak.above = peak.total - before


def read_status(field: str) -> float:
    """A line of /proc/self/status in MiB."""
    lines = STATUS.read_text(encoding="ascii").splitlines()
    [line] = [line for line in lines if line.startswith(f"{field}:")]
    return int(line.split()[1]) / 1024


def describe_machine() -> dict[str, Any]:
    """Processor, threads, accelerator, load, versions, commit and time."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    versions: dict[str, str | None] = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    return {
        "processor": names[0] if names else platform.processor(),
        "amx": any("amx_bf16" in line for line in lines),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        # Above the number of threads, something else was running too.
        "load": round(os.getloadavg()[0], 1),
        "gpu": gpu,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "versions": versions,
        "commit": commit(),
        "measured": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    }


def write_rows(
    path: Path,
    rows: Sequence[Mapping[str, Any]],
    goals: Sequence[Goal] = (),
    settings: Mapping[str, Any] | None = None,
    *,
    say: bool = True,
    **more: Any,
) -> None:
    """Write `path` as CSV and, beside it, rows, goals, settings and the machine as JSON.

    settings: the options of the command, so that a quick run is known as one. say: tell where.
    more: further entries of the JSON.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=columns)
        writer.writeheader()
        writer.writerows(rows)
    machine = describe_machine()
    content = {
        "machine": machine,
        "took_s": round(time.perf_counter() - BEGAN, 1),
        "settings": {k: v for k, v in (settings or {}).items() if not isinstance(v, Path)},
        "rows": list(rows),
        "goals": [asdict(goal) for goal in goals],
        **more,
    }
    path.with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    if say:
        print(f"written to {path}; {machine['threads']} threads, torch {machine['torch']}")


def say_goals(goals: Sequence[Goal]) -> str:
    """The goals as text, a line each."""
    width = max((len(goal.what) for goal in goals), default=0)
    lines = []
    for goal in goals:
        value = "–" if goal.value is None else f"{goal.value:,.4g}"
        sign = "≥" if goal.least else "≤"
        line = f"{goal.what:<{width}}  {value:>10} {goal.unit:<8} {sign} {goal.target:<10,.4g}"
        lines.append(line + goal.verdict + (f" ({goal.note})" if goal.note else ""))
    return "\n".join(lines)
