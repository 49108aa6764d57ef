"""Rows of several arrays as one: the same values as in memory, read where they lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pytest

from lib.data.pool import PooledRows, pool_images, take_images

Images = npt.NDArray[np.uint8]
COUNTS = (5, 0, 7, 3)


@pytest.fixture
def whole() -> Images:
    return np.random.default_rng(0).integers(0, 256, (sum(COUNTS), 4, 4, 3), np.uint8)


@pytest.fixture
def pool(whole: Images) -> PooledRows:
    return pool_images(np.split(whole, np.cumsum(COUNTS)[:-1]))


def mapped(whole: Images, folder: Path) -> list[Images]:
    """The same images in read-only memory maps, one for each part."""
    parts = []
    for i, part in enumerate(np.split(whole, np.cumsum(COUNTS)[:-1])):
        if len(part):
            np.save(folder / f"{i}.npy", part)
            parts.append(np.load(folder / f"{i}.npy", mmap_mode="r"))
    return parts


@pytest.mark.parametrize(
    "key",
    [
        0,
        -1,
        np.int64(6),
        slice(None),
        slice(3, 9),
        slice(None, None, -2),
        slice(4, 4),
        [14, 0, 5, 5],
        np.array([[1, 6], [13, 2]]),
        np.array([], np.int64),
        np.array([-1, -15, 3]),
        np.arange(15) % 2 == 0,
    ],
    ids=str,
)
def test_indexing_is_numpy_s(pool: PooledRows, whole: Images, key: Any) -> None:
    found = pool[key]
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, whole[key])
    # A choice of rows is read by the same rules.
    rows = np.array([3, 3, 14, 0, 9, 11, 5, 7, 1, 2, 13, 4, 6, 8, 10])
    np.testing.assert_array_equal(PooledRows(pool.parts, rows)[key], whole[rows][key])


def test_a_row_that_is_not_there_is_an_error(pool: PooledRows) -> None:
    for key in (15, -16, [0, 15]):
        with pytest.raises(IndexError):
            pool[key]


def test_it_looks_like_the_array_it_stands_for(pool: PooledRows, whole: Images) -> None:
    for name in ("shape", "ndim", "dtype", "nbytes"):
        assert getattr(pool, name) == getattr(whole, name)
    assert len(pool) == len(whole)
    np.testing.assert_array_equal(np.asarray(pool), whole)
    assert np.asarray(pool, np.float32).dtype == np.float32


def test_what_is_read_belongs_to_the_reader(pool: PooledRows, whole: Images) -> None:
    before = whole.copy()
    pool[:][...] = 0
    pool[2][...] = 0
    np.testing.assert_array_equal(whole, before)


def test_rows_in_memory_become_an_array_those_on_disk_do_not(
    pool: PooledRows, whole: Images, tmp_path: Path
) -> None:
    index = np.array([14, 2, 8], np.int64)
    in_memory = take_images(pool, index)
    assert isinstance(in_memory, np.ndarray)
    on_disk = take_images(pool_images(mapped(whole, tmp_path)), index)
    assert isinstance(on_disk, PooledRows)
    for found in (in_memory, on_disk):
        np.testing.assert_array_equal(found[:], whole[index])


def test_a_choice_of_a_choice_on_disk_stays_there(whole: Images, tmp_path: Path) -> None:
    """Classes are capped and then folds are cut: rows of a pool of rows."""
    first = take_images(pool_images(mapped(whole, tmp_path)), np.arange(1, 15, 2))
    second = take_images(pool_images([first, first]), np.array([0, 13, 6]))
    assert isinstance(second, PooledRows)
    rows = np.concatenate([np.arange(1, 15, 2)] * 2)[[0, 13, 6]]
    np.testing.assert_array_equal(second[:], whole[rows])


def test_only_the_rows_asked_for_are_read() -> None:
    class Counting(np.ndarray):  # type: ignore[type-arg]
        read: ClassVar[list[int]] = []

        def __getitem__(self, key: Any) -> Any:
            Counting.read += np.atleast_1d(key).tolist()
            return np.asarray(self)[key]

    parts = [np.zeros((10, 2, 2, 1), np.uint8).view(Counting) for _ in range(2)]
    pooled = PooledRows(parts, np.arange(20))
    pooled[[3, 12]]
    assert Counting.read == [3, 2]


def test_a_store_keeps_rows_on_disk_where_they_are(whole: Images, tmp_path: Path) -> None:
    import torch

    from lib.data.store import ImageStore

    images = take_images(pool_images(mapped(whole, tmp_path)), np.array([14, 2, 8, 0]))
    store = ImageStore(images, "cpu")
    assert store.resident is None
    expected = torch.from_numpy(whole[[8, 14]]).permute(0, 3, 1, 2).float() / 255
    torch.testing.assert_close(store.take(torch.tensor([2, 0])), expected)
