"""The one call that loads any data set by name."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from lib.data.base import DataError, DataSet
from lib.data.cache import IN_MEMORY, cache_folder, data_folder
from lib.data.decode import resample
from lib.data.describe import KINDS, check_dataset
from lib.data.embedded import EMBEDDED


def load_dataset(
    name: str,
    size: int = 28,
    data_root: str | Path | None = None,
    *,
    split_seed: int = 0,
    max_unreadable: float = 0.01,
    preprocess: str = "none",
    cache_root: str | Path | None = None,
    workers: int | None = None,
    in_memory_limit: int = IN_MEMORY,
    progress: bool = True,
) -> DataSet:
    """Load a data set at `size` × `size` pixels.

    name: a MedMNIST name (downloaded when missing), `phantom`, `phantom-fundus`, `npz:PATH`,
    `folder:PATH`, `csv:PATH`. data_root: default MEDMNIST_ROOT, then ~/.medmnist. cache_root: for
    derived files, default CONTRASTIVE_CACHE, then DATA_ROOT/cache, then
    ~/.cache/contrastive-medmnist. split_seed: of the split, where the data come without one.
    max_unreadable: share of unreadable image files above which to stop. preprocess: `fundus` for
    fundus photographs of a `folder:` or `csv:` (`lib.data.fundus`). Arrays over `in_memory_limit`
    bytes are read-only memory maps.
    Raises DataError, in one line: what is wrong, where, what to do next.
    """
    mistakes = check_dataset(
        name,
        size,
        data_root,
        max_unreadable=1.0,  # counted below
        preprocess=preprocess,
    )
    if mistakes:
        raise DataError(mistakes[0])
    root, cache = data_folder(data_root), cache_folder(data_root, cache_root)
    kind, _, path = name.partition(":")
    if name in EMBEDDED:
        data = EMBEDDED[name].draw(size)
        if size < data.size:
            data = shrink(data, size)
        return dataclasses.replace(data, fingerprint=EMBEDDED[name].fingerprint(size))
    if kind == "npz":
        from lib.data.npz import load_npz

        file = Path(path).expanduser()
        return load_npz(name, file, size, cache, split_seed=split_seed, limit=in_memory_limit)
    if kind in KINDS:
        from lib.data.own import load_own

        return load_own(
            name,
            size,
            cache,
            split_seed=split_seed,
            max_unreadable=max_unreadable,
            preprocess=preprocess,
            workers=workers,
            limit=in_memory_limit,
            progress=progress,
        )
    from lib.data.medmnist import load_medmnist

    return load_medmnist(name, size, root, cache, limit=in_memory_limit, progress=progress)


def shrink(data: DataSet, size: int) -> DataSet:
    """The same data set with images area-resampled to fewer pixels."""
    splits = {
        name: dataclasses.replace(split, images=resample(split.images, size))
        for name, split in data.splits.items()
    }
    more = data.unlabelled
    if more is not None:
        more = dataclasses.replace(more, images=resample(more.images, size))
    note = f"Images of {size} px are resampled from {data.size} px."
    return dataclasses.replace(
        data, size=size, splits=splits, notes=(*data.notes, note), unlabelled=more
    )
