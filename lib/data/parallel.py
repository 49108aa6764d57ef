"""Reading many files at once: threads that go through the rows of a data set, with a bar."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed

from lib.bars import Bar

# Rows in a task: few enough that the bar moves, enough that handing them out costs nothing.
TASK_ROWS = 16


def for_each_row(n: int, work: Callable[[int], None], bar: Bar, workers: int | None = None) -> None:
    """Call `work(row)` for each row in range(n), in `workers` threads (default: one a core).

    The first exception ends it: tasks that have not begun are dropped, and it is raised here.
    """

    def go_through(rows: range) -> int:
        for row in rows:
            work(row)
        return len(rows)

    with bar, ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        tasks = [range(i, min(i + TASK_ROWS, n)) for i in range(0, n, TASK_ROWS)]
        futures = [pool.submit(go_through, rows) for rows in tasks]
        try:
            for future in as_completed(futures):
                bar.update(future.result())
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
