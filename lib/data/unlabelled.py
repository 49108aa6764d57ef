"""Images without a label beside labelled ones: pretraining sees them, and nothing else does."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from lib.data.base import DataSet, Split
from lib.data.pool import pool_images, take_images

HELD = ("val", "test")  # what nobody of may be trained on

Groups = npt.NDArray[np.str_] | None  # [N]


def apart_from(groups: Groups, held: Iterable[Groups]) -> npt.NDArray[np.int64] | None:
    """Places in `groups` [N] of what is in none of the held groups; None where nothing is known."""
    known = [g for g in held if g is not None]
    if groups is None or not known:
        return None
    return np.flatnonzero(~np.isin(groups, np.concatenate(known))).astype(np.int64)


def leave_out_groups(split: Split, held: Iterable[Groups]) -> Split | None:
    """A split less the images of held groups, not copied where they are mapped; None if empty."""
    rows = apart_from(split.groups, held)
    if rows is None or len(rows) == len(split):
        return split
    if not len(rows):
        return None
    images: Any = take_images(pool_images([split.images]), rows)
    columns = (split.y, split.ids, split.groups, split.together)
    return Split(images, *(None if c is None else c[rows] for c in columns))  # type: ignore[arg-type]


def beside_train(data: DataSet) -> Split | None:
    """The unlabelled images that pretraining sees: those whose group is in neither val nor test."""
    if data.unlabelled is None:
        return None
    held = [data.splits[name].groups for name in HELD if name in data.splits]
    return leave_out_groups(data.unlabelled, held)


def pretraining_images(data: DataSet) -> Any:
    """Images of train, then the unlabelled ones beside it: uint8 [N, H, W, C].

    Where one of both is memory-mapped, they are read on demand (`PooledRows`) and not copied.
    """
    train, more = data.splits["train"], beside_train(data)
    if more is None:
        return train.images
    pool = pool_images([train.images, more.images])
    return take_images(pool, np.arange(len(pool), dtype=np.int64))


def count_pretraining(data: DataSet) -> int:
    """How many images pretraining sees."""
    more = beside_train(data)
    return len(data.splits["train"]) + (0 if more is None else len(more))


def say_unlabelled(data: DataSet) -> list[str]:
    """Sentences for the report on the unlabelled images, by the splits as they are now."""
    if data.unlabelled is None:
        return []
    n, more = len(data.unlabelled), beside_train(data)
    said = [f"{n:,} images without a label: only pretraining sees them."]
    left_out = n - (0 if more is None else len(more))
    if left_out:
        said.append(
            f"{left_out:,} of them show groups of the val or test split: pretraining leaves them "
            "out."
        )
    if data.unlabelled.groups is None or data.splits["test"].groups is None:
        said.append(
            "Without groups nothing is known about whether they show patients of the test split."
        )
    return said
