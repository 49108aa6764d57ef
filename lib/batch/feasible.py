"""Whether a run can be done at all: what its data set holds, and what does not go together.

Asked when a study is planned, so that nothing is refused after hours; each check raises
ParameterError with a line that begins with the parameter.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.checks import ParameterError
from lib.data.base import SPLITS
from lib.data.folds import DEVELOPMENT, fold_counts
from lib.params import as_list

if TYPE_CHECKING:
    from lib.data.describe import DataInfo

# Notebooks that can do without labels; 01_pretrain as long as the method is not SupCon.
UNLABELLED = ("00_data", "01_pretrain")
NO_ORDER = "its classes have no order, so they are no grades"
# What a notebook cannot do with a kind of task, and why.
REFUSED = {
    ("04_imbalance", "multi-label"): "an image with several labels belongs to rare and common "
    "classes at once, so it can be neither left out nor repeated for one of them",
    ("10_retinopathy", "multi-class"): NO_ORDER,
    ("10_retinopathy", "multi-label"): NO_ORDER,
}


def check_task(notebook: str, params: Mapping[str, Any], info: DataInfo) -> None:
    """ParameterError where a notebook, or a parameter, can do nothing with the kind of task."""
    reason = REFUSED.get((notebook, info.task))
    if reason:
        raise ParameterError(f"dataset: {params['dataset']} is {info.task}: {reason}")
    if params.get("balanced_batches") and info.task == "multi-label":
        raise ParameterError(f"balanced_batches: images of {params['dataset']} have several labels")


def check_labels(notebook: str, params: Mapping[str, Any], info: DataInfo) -> None:
    """ParameterError where labels are needed, to learn from or to cut classes by, and missing."""
    supcon = notebook == "01_pretrain" and params["method"] == "supcon"
    capped = bool(params.get("cap_per_class"))
    if info.classes or (notebook in UNLABELLED and not supcon and not capped):
        return
    who = "method: supcon" if supcon else "cap_per_class" if capped else notebook
    raise ParameterError(f"dataset: {params['dataset']} has no labels, which {who} needs")


def check_folds(params: Mapping[str, Any], info: DataInfo) -> None:
    """ParameterError for a cross-validation with one fold, or with more than can be filled.

    A fold gets groups, and copies of one file, as a whole. Two folds need four of these: half is
    tested, the other half is for train and val.
    """
    folds = params.get("folds", 0)
    if not folds:
        return
    if folds == 1:
        raise ParameterError("folds: 1; at least 2 are needed, or 0 for the data set's own split")
    dataset, of = params["dataset"], params["folds_of"]
    counts = count_images(info, {**params, "folds": 0})
    if sum(counts[split] for split in SPLITS) < folds:
        raise ParameterError(f"folds: {folds}, more than {dataset} has images")
    found = cached_units(dataset, params["data_root"] or None, params["split_seed"], of)
    least = 4 if folds == 2 else folds
    if found is not None and found < least:
        where = " in train and val" if of == "trainval" else ""
        raise ParameterError(
            f"folds: {folds} need {least} groups (groups, and copies of one file, are not torn); "
            f"{dataset} has {found}{where}"
        )


def check_augment(params: Mapping[str, Any]) -> None:
    """ParameterError for an augmentation that does not go with the run's other parameters."""
    from lib.augment import make_augment

    crop = params.get("crop_scale")
    for key in ("augment", "train_augment"):
        if params.get(key, "none") == "none":
            continue
        scale = (crop, 1.0) if crop and key == "augment" else None
        try:
            for size in as_list(str(params.get("sizes", params["size"]))):
                make_augment(params[key], int(size), 3, crop_scale=scale)
        except ValueError as error:
            raise ParameterError(f"{key}: {str(error).removeprefix('augment ')}") from None


def check_encoder(notebook: str, params: Mapping[str, Any], init: str) -> None:
    """EncoderError where a file cannot be taken, or 01_pretrain asks for another network.

    Channels always fit: grey images are repeated for an encoder of colour images, and colour
    images averaged for one of grey images.
    """
    from lib.models.weights import WeightsError, check_fits

    if init == "imagenet" and params.get("stem", "imagenet") != "imagenet":
        raise WeightsError(f"imagenet needs stem: imagenet, asked for is stem: {params['stem']}")
    if init in ("scratch", "imagenet"):
        return
    held = cached_inspect(init, params.get("stem"))
    if notebook == "01_pretrain":
        check_fits(init, held, {"encoder": params["encoder"], "stem": params["stem"]})


def check_encoder_split(
    params: Mapping[str, Any], trail: tuple[str, ...], made: Mapping[str, Any] | None
) -> None:
    """ParameterError where an encoder was trained on images that a run tests on.

    trail: of the encoder. made: the parameters of the run that will make it; None: `init` is a
    file.
    """
    from lib.origins import check_split, trained_with

    where = params["size"], params["data_root"] or None
    how = params.get("preprocess", "none")

    def mark(dataset: str, seed: int) -> str:
        return cached_describe(dataset, *where, seed, how).fingerprint

    known = trained_with(str(params.get("init", ""))) if made is None else made
    check_split(params, trail, known, mark)


def describe(params: Mapping[str, Any], key: str) -> DataInfo:
    """What the data set is that a parameter names; ParameterError where it cannot be had."""
    where = params[key], params["size"], params["data_root"] or None
    preprocess = params.get("preprocess", "none")  # a notebook may do without
    mistakes = cached_check(*where, params["max_unreadable"], preprocess)
    if mistakes:
        named = ("dataset: ", "size: ", "preprocess: ", "data_root: ")
        lines = [m if m.startswith(named) else f"{key}: {m}" for m in mistakes]
        raise ParameterError("\n".join(lines))
    try:
        return cached_describe(*where, params["split_seed"], preprocess)
    except Exception as error:
        raise ParameterError(f"{key}: {' '.join(str(error).split())}") from error


def count_images(info: DataInfo, params: Mapping[str, Any]) -> dict[str, int]:
    """About how many images each split of a run has: as described, capped, and split in folds.

    Unlabelled images stay as many as they are.
    """
    counts, cap = dict(info.counts), params.get("cap_per_class", 0)
    most = cap * len(info.classes) / max(1, sum(counts[split] for split in SPLITS))
    if cap and most < 1:
        counts |= {split: round(most * counts[split]) for split in SPLITS}
    folds = params.get("folds", 0)
    return fold_counts(counts, folds, params["folds_of"]) if folds else counts


@cache
def cached_inspect(init: str, stem: str | None) -> dict[str, Any]:
    """`inspect_init`, asked once for each encoder."""
    from lib.models.weights import inspect_init

    return inspect_init(init, stem)


@cache
def cached_check(
    dataset: str, size: int, root: str | None, share: float, preprocess: str
) -> list[str]:
    """`check_dataset`, asked once for each data set."""
    from lib.data import check_dataset

    return list(check_dataset(dataset, size, root, max_unreadable=share, preprocess=preprocess))


@cache
def cached_describe(
    dataset: str, size: int, root: str | None, split_seed: int, preprocess: str
) -> DataInfo:
    """`describe_dataset`, asked once for each data set."""
    from lib.data import describe_dataset

    return describe_dataset(
        dataset, size, root, split_seed=split_seed, preprocess=preprocess, progress=True
    )


@cache
def cached_units(dataset: str, root: str | None, split_seed: int, of: str) -> int | None:
    """How many groups the folds of own images share out; None where each image is its own.

    Without groups a file and its copies are one. Files that turn out unreadable count.
    """
    import numpy as np

    from lib.data.cache import cache_folder
    from lib.data.describe import MIN_SIZE
    from lib.data.npz import read_table
    from lib.data.own import survey
    from lib.data.own_split import kept_together, split_rows

    kind, colon, path = dataset.partition(":")
    among = DEVELOPMENT if of == "trainval" else SPLITS
    if kind == "npz":
        groups = read_table(Path(path).expanduser()).groups
        known = [g for s in among if (g := groups.get(s)) is not None]
        return len(np.unique(np.concatenate(known))) if known else None
    if not colon:
        return None
    own = survey(dataset, MIN_SIZE, cache_folder(root), split_seed=split_seed)
    every = np.arange(len(own.digests), dtype=np.int64)
    chosen, _ = split_rows(own, every, split_seed)
    by = kept_together(own, every)
    if by is None and own.table.groups is not None:
        by = np.asarray(own.table.groups)
    return None if by is None else len(np.unique(by[np.concatenate([chosen[s] for s in among])]))
