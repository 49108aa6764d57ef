"""Which runs of a plan `--only` chooses, and what these need."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lib.batch.plan import PlannedRun


def fitting(runs: Sequence[PlannedRun], patterns: Sequence[str]) -> frozenset[str]:
    """Names of the runs whose name or experiment fits one of some shell patterns; all without any.

    A pattern without wildcards fits anywhere in the name.
    """
    if not patterns:
        return frozenset(run.name for run in runs)
    return frozenset(
        run.name for run in runs if any(fits(run.name, run.experiment, p) for p in patterns)
    )


def fits(name: str, experiment: str, pattern: str) -> bool:
    """Whether a run of that name and experiment fits a pattern."""
    loose = pattern if any(sign in pattern for sign in "*?[") else f"*{pattern}*"
    return fnmatch.fnmatch(name, loose) or fnmatch.fnmatch(experiment, pattern)


def select(runs: Sequence[PlannedRun], patterns: Sequence[str]) -> list[PlannedRun]:
    """The runs that fit some patterns (see `fitting`), and all that these need."""
    chosen = set(fitting(runs, patterns))
    by_name = {run.name: run for run in runs}
    queue = list(chosen)
    while queue:
        for need in by_name[queue.pop()].needs:
            if need not in chosen:
                chosen.add(need)
                queue.append(need)
    return [run for run in runs if run.name in chosen]
