"""Rows of several image arrays as one array, without copying what is memory-mapped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Images = npt.NDArray[np.uint8]


class PooledRows:
    """Chosen rows of several uint8 arrays [N, H, W, C] that stay where they are, mostly on disk.

    Reads like an array as far as images are read here: `len`, `shape`, `dtype`, `nbytes`, and
    indexing by a number, a slice or integers, which gives an array in memory.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, parts: Sequence[Images], rows: npt.NDArray[np.int64]) -> None:
        self.parts, self.rows = list(parts), rows
        self.starts = np.cumsum([0, *(len(part) for part in parts)])
        self.shape = (len(rows), *parts[0].shape[1:])
        self.ndim = len(self.shape)

    @property
    def nbytes(self) -> int:
        """Size of the array in memory, were it there."""
        return int(np.prod(self.shape, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: Any) -> Images:
        rows = np.asarray(self.rows[key])
        flat = rows.reshape(-1)
        out = np.empty((len(flat), *self.shape[1:]), np.uint8)
        part = np.searchsorted(self.starts, flat, side="right") - 1
        for i, images in enumerate(self.parts):
            here = part == i
            out[here] = images[flat[here] - self.starts[i]]
        return out.reshape(*rows.shape, *self.shape[1:])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        everything = self[:]
        return everything if dtype is None else everything.astype(dtype)


def pool_images(parts: Sequence[Images]) -> PooledRows:
    """All images of several arrays of one shape, in order."""
    rows = np.arange(sum(len(part) for part in parts), dtype=np.int64)
    return PooledRows(parts, rows)


def take_images(images: PooledRows, index: npt.NDArray[np.int64]) -> Any:
    """Rows of a pool: an array where the parts are in memory, else a view that reads on demand."""
    if any(isinstance(part, np.memmap | PooledRows) for part in images.parts):
        return PooledRows(images.parts, images.rows[index])
    return images[index]
