"""Images on their way to the device: once and for all where they fit, batch by batch where not."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lib.data.pool import PooledRows
from lib.moving import send

# Share of the free device memory that resident images may take; the rest is for training.
RESIDENT_SHARE = 0.5


class ImageStore:
    """The images of one split, ready to be taken as float batches on the device.

    images: uint8 [N, H, W, C], in memory or memory-mapped. Those that fit into `limit` bytes move
    to the device once, as uint8 [N, C, H, W]; larger ones stay where they are and only the batches
    asked for are read, one batch ahead of the computation.
    """

    def __init__(
        self, images: npt.NDArray[np.uint8], device: str, limit: int | None = None
    ) -> None:
        self.images, self.device = images, torch.device(device)
        limit = free_memory(self.device) if limit is None else limit
        # A memory map is one because it is large for this machine: on the CPU it stays a map.
        mapped = isinstance(images, np.memmap | PooledRows) and self.device.type == "cpu"
        self.resident: Tensor | None = None
        if images.nbytes <= limit and not mapped:
            rows = torch.from_numpy(np.ascontiguousarray(images))
            self.resident = rows.permute(0, 3, 1, 2).contiguous().to(self.device)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def side(self) -> tuple[int, int]:
        """Height and width of the images."""
        return self.images.shape[1], self.images.shape[2]

    def take(self, index: Tensor) -> Tensor:
        """Images at `index` int64 [B] (on the CPU) as float32 [B, C, H, W] in [0, 1]."""
        return self.take_bytes(index).float().div_(255)

    def place(self, index: Tensor) -> Tensor:
        """`index` where the images are: many indices sent at once can be taken bit by bit."""
        return index if self.resident is None else send(index, self.device)

    def take_bytes(self, index: Tensor) -> Tensor:
        """Images at `index` int64 [B], on the CPU or at their `place`: uint8 [B, C, H, W]."""
        if self.resident is not None:
            return self.resident[send(index, self.device)]
        return send(self.read(index), self.device)

    def read(self, index: Tensor) -> Tensor:
        """The uint8 [B, C, H, W] at `index`, read from where the images are, in file order."""
        order = torch.argsort(index)
        rows = np.empty((len(index), *self.images.shape[1:]), np.uint8)
        # Ascending rows let the disk read forwards.
        rows[order.numpy()] = self.images[index[order].numpy()]
        return torch.from_numpy(rows).permute(0, 3, 1, 2)

    def batches(self, indices: Iterator[Tensor]) -> Iterator[Tensor]:
        """Float batches for a sequence of indices; what is not resident is read one batch ahead."""
        if self.resident is not None:
            for index in indices:
                yield self.take(index)
            return
        with ThreadPoolExecutor(1) as reader:
            ahead = None
            for index in indices:
                following = reader.submit(self.read, index)
                if ahead is not None:
                    yield send(ahead.result(), self.device).float().div_(255)
                ahead = following
            if ahead is not None:
                yield send(ahead.result(), self.device).float().div_(255)


def free_memory(device: torch.device) -> int:
    """Bytes that resident images may take on a device: half of what is free there."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free * RESIDENT_SHARE)
    try:
        with open("/proc/meminfo", encoding="ascii") as file:  # noqa: PTH123
            fields = dict(line.split(":", 1) for line in file)
        return int(int(fields["MemAvailable"].split()[0]) * 1024 * RESIDENT_SHARE)
    except (OSError, KeyError):
        return 2 * 2**30
