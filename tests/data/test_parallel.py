"""Rows of a data set gone through by threads."""

from __future__ import annotations

import threading

import pytest

from lib.bars import Bar
from lib.data.parallel import TASK_ROWS, for_each_row


def bar(n: int) -> Bar:
    return Bar("Reading", n, "image", show=False)


@pytest.mark.parametrize("n", [0, 1, TASK_ROWS, 3 * TASK_ROWS + 5])
@pytest.mark.parametrize("workers", [1, 4, None])
def test_each_row_is_visited_once_and_counted(n: int, workers: int | None) -> None:
    seen: list[int] = []
    counter = bar(n)
    for_each_row(n, seen.append, counter, workers)
    assert sorted(seen) == list(range(n))
    assert counter.n == n


def test_the_first_failure_ends_it() -> None:
    seen, lock = set[int](), threading.Lock()

    def work(row: int) -> None:
        if row == 3:
            raise MemoryError("row 3")
        with lock:
            seen.add(row)

    with pytest.raises(MemoryError, match="row 3"):
        for_each_row(100 * TASK_ROWS, work, bar(100 * TASK_ROWS), workers=1)
    assert {0, 1, 2} <= seen and 4 not in seen
    assert len(seen) < 100 * TASK_ROWS - 1
