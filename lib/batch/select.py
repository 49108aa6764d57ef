"""Which runs of a plan `--only` chooses, and what these need."""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lib.batch.plan import PlannedRun


def fitting(runs: list[PlannedRun], pattern: str | None) -> frozenset[str]:
    """Names of the runs whose name or experiment fits a shell pattern; all without a pattern.

    A pattern without wildcards fits anywhere in the name.
    """
    if not pattern:
        return frozenset(run.name for run in runs)
    loose = pattern if any(sign in pattern for sign in "*?[") else f"*{pattern}*"
    return frozenset(
        run.name
        for run in runs
        if fnmatch.fnmatch(run.name, loose) or fnmatch.fnmatch(run.experiment, pattern)
    )


def select(runs: list[PlannedRun], pattern: str | None) -> list[PlannedRun]:
    """The runs that fit a pattern (see `fitting`), and all that these need."""
    chosen = set(fitting(runs, pattern))
    by_name = {run.name: run for run in runs}
    queue = list(chosen)
    while queue:
        for need in by_name[queue.pop()].needs:
            if need not in chosen:
                chosen.add(need)
                queue.append(need)
    return [run for run in runs if run.name in chosen]
