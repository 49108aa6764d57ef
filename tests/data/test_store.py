"""Images reach the device as they are, whether they fit there or not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from lib.data.store import ImageStore, free_memory
from tests.synthetic import make_data

IMAGES = make_data("multi-class").splits["train"].images
INDICES = [[5, 3, 3, 0], [35], [1, 34, 2], []]


def expected(index: list[int]) -> Tensor:
    rows = IMAGES[np.array(index, np.int64)].transpose(0, 3, 1, 2)
    return torch.tensor(rows.astype(np.float32) / 255)


def stores(folder: Path) -> dict[str, ImageStore]:
    mapped = np.memmap(folder / "images.bin", np.uint8, "w+", shape=IMAGES.shape)
    mapped[:] = IMAGES
    mapped.flush()
    mapped = np.memmap(folder / "images.bin", np.uint8, "r", shape=IMAGES.shape)
    return {
        "resident": ImageStore(IMAGES, "cpu"),
        "just fits": ImageStore(IMAGES, "cpu", limit=IMAGES.nbytes),
        "too large": ImageStore(IMAGES, "cpu", limit=IMAGES.nbytes - 1),
        "limit 0": ImageStore(IMAGES, "cpu", limit=0),
        "mapped": ImageStore(mapped, "cpu"),
        "a mapped slice": ImageStore(mapped[:], "cpu"),
    }


def test_what_is_resident(tmp_path: Path) -> None:
    resident = {name for name, store in stores(tmp_path).items() if store.resident is not None}
    assert resident == {"resident", "just fits"}


@pytest.mark.parametrize("index", INDICES)
def test_take_is_direct_indexing(tmp_path: Path, index: list[int]) -> None:
    for name, store in stores(tmp_path).items():
        batch = store.take(torch.tensor(index, dtype=torch.int64))
        assert batch.dtype == torch.float32, name
        assert torch.equal(batch, expected(index)), name
        assert len(store) == len(IMAGES)


def test_batches_come_in_order_however_they_are_read(tmp_path: Path) -> None:
    for name, store in stores(tmp_path).items():
        batches = list(store.batches(torch.tensor(i, dtype=torch.int64) for i in INDICES))
        assert len(batches) == len(INDICES), name
        for batch, index in zip(batches, INDICES, strict=True):
            assert torch.equal(batch, expected(index)), name
        assert list(store.batches(iter(()))) == []


def test_reads_one_batch_ahead_and_no_more() -> None:
    asked: list[int] = []

    def indices() -> Iterator[Tensor]:
        for i in range(5):
            asked.append(i)
            yield torch.tensor([i])

    batches = ImageStore(IMAGES, "cpu", limit=0).batches(indices())
    assert asked == []
    next(batches)
    assert asked == [0, 1]
    next(batches)
    assert asked == [0, 1, 2]


def test_a_batch_may_be_changed_without_changing_the_store() -> None:
    for limit in (None, 0):
        store = ImageStore(IMAGES, "cpu", limit=limit)
        store.take(torch.tensor([0])).zero_()
        assert torch.equal(store.take(torch.tensor([0])), expected([0]))


def test_free_memory_is_a_share_of_what_there_is() -> None:
    assert 0 < free_memory(torch.device("cpu")) < 2**45
