"""What smaller images cost: differences to the largest size, and whether they can be borne."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from lib.evaluation.evaluate import compare

if TYPE_CHECKING:
    # A report that reads a summary need not load what trains.
    from lib.evaluation.downsampling import AtSize

Judgement = Literal["kept", "lost", "open"]


@dataclass(frozen=True)
class SizeChange:
    """A metric at a size minus that at the largest size, with its 95% interval.

    judgement: whether the loss stays within the tolerance. An interval of NaN (one seed) is open.
    """

    size: int
    value: float
    low: float
    high: float
    judgement: Judgement


def judge_change(low: float, high: float, tolerance: float) -> Judgement:
    """Whether a difference stays within `tolerance` points (hundredths) below zero.

    `kept`: the whole interval does; `lost`: none of it does; `open`: it cannot be told.
    """
    if low >= -tolerance / 100:
        return "kept"
    return "lost" if high < -tolerance / 100 else "open"


def smallest_kept(reference: int, changes: Sequence[SizeChange]) -> int:
    """The smallest size down to which, step by step, every size studied is kept."""
    smallest = reference
    for change in sorted(changes, key=lambda c: -c.size):
        if change.judgement != "kept":
            break
        smallest = change.size
    return smallest


def size_changes(
    found: Sequence[AtSize],
    labels: str,
    tolerance: float,
    *,
    metric: str = "auroc",
    bootstrap: int = 1000,
    seed: int = 0,
) -> list[SizeChange]:
    """Each smaller size against the largest, by the paired bootstrap on the same test images."""
    largest = found[-1].test(labels)
    assert largest is not None
    changes = []
    for at in reversed(found[:-1]):
        mine = at.test(labels)
        assert mine is not None
        d = compare(mine, largest, bootstrap, seed)[metric]
        judgement = judge_change(d.low, d.high, tolerance)
        changes.append(SizeChange(at.size, d.value, d.low, d.high, judgement))
    return changes
