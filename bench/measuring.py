"""What benchmarks share: contenders that take turns, and rows written with their machine."""

from __future__ import annotations

import csv
import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from lib.identity import commit


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


def describe_machine() -> dict[str, Any]:
    """Processor, threads, accelerator, versions, commit and time."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "commit": commit(),
        "measured": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    }


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write `path` as CSV and, beside it, the same as JSON with `describe_machine`; say so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    machine = describe_machine()
    text = json.dumps({"machine": machine, "rows": list(rows)}, indent=1) + "\n"
    path.with_suffix(".json").write_text(text, encoding="utf-8")
    print(f"written to {path}; {machine['threads']} threads, torch {machine['torch']}")
