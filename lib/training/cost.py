"""What a training costs, measured while it runs: time and memory."""

from __future__ import annotations

import ctypes
import gc
import os
import statistics
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

import torch

STATUS = Path("/proc/self/status")
# Seconds between two looks at the process's memory: a training step takes longer.
INTERVAL = 0.005


@dataclass(frozen=True)
class Cost:
    """What a pretraining took.

    seconds: of all its epochs, checks on validation included. epoch_seconds: of the median epoch,
    which what is done only once (compiling, filling caches) does not move. images: in an epoch,
    two views each. peak_memory_mb: most memory held at one time above what was held before, in
    MiB; None where it cannot be measured.
    """

    seconds: float
    epoch_seconds: float
    images: int
    peak_memory_mb: float | None

    @classmethod
    def of(
        cls, history: Sequence[Mapping[str, float]], images: int, peak_memory_mb: float | None
    ) -> Cost:
        """From the `seconds` of each epoch of a training on so many images."""
        seconds = [row["seconds"] for row in history]
        return cls(sum(seconds), statistics.median(seconds), images, peak_memory_mb)

    @property
    def images_per_second(self) -> float:
        """Images per second in the median epoch, two views each."""
        return self.images / max(self.epoch_seconds, 1e-9)

    @property
    def seconds_per_thousand(self) -> float:
        """Seconds for 1,000 image passes in the median epoch, two views each."""
        return 1000 * self.epoch_seconds / self.images

    def as_dict(self) -> dict[str, float | int | None]:
        """Its fields, to be written as JSON; `Cost(**fields)` reads them."""
        return asdict(self)


class PeakMemory:
    """Measures the most memory held inside a `with` block, above what was held when it began.

    On a CUDA device: what its tensors occupy (`torch.cuda.max_memory_allocated`), without the
    context and what the allocator keeps in reserve. On a CPU: anonymous resident memory of this
    process, looked at every few milliseconds from a thread; mapped files do not count. `peak_mb`
    is in MiB, and None where the system does not tell (only Linux does).
    """

    def __init__(self, device: str) -> None:
        self.device = torch.device(device)
        self.peak_mb: float | None = None
        self.before = 0
        self.highest = 0
        self.stop = threading.Event()
        self.thread: threading.Thread | None = None

    def __enter__(self) -> PeakMemory:
        release_memory(self.device)
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            self.before = torch.cuda.memory_allocated(self.device)
            return self
        held = resident_bytes()
        if held is not None:
            self.before = self.highest = held
            self.thread = threading.Thread(target=self.watch, daemon=True)
            self.thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.device.type == "cuda":
            self.highest = torch.cuda.max_memory_allocated(self.device)
        elif self.thread is None:
            return
        else:
            self.stop.set()
            self.thread.join()
        self.peak_mb = (self.highest - self.before) / 2**20

    def watch(self) -> None:
        """Look at the resident memory until told to stop, the last time at the very end."""
        ended = False
        while not ended:
            ended = self.stop.wait(INTERVAL)
            self.highest = max(self.highest, resident_bytes() or 0)


def resident_bytes() -> int | None:
    """Anonymous resident memory of this process in bytes; None where the system does not tell."""
    if not sys.platform.startswith("linux"):
        return None
    with STATUS.open(encoding="ascii", errors="replace") as file:
        for line in file:
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    return None


def release_memory(device: torch.device) -> None:
    """Give back what is no longer used, so that a peak is not hidden in memory already held."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif sys.platform.startswith("linux") and os.confstr("CS_GNU_LIBC_VERSION"):
        # glibc keeps freed memory; only this makes it resident no more.
        ctypes.CDLL(None).malloc_trim(0)
