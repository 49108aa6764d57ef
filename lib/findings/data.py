"""What a data set is, in tables and sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lib.data.base import UNLABELLED, DataSet
from lib.data.unlabelled import say_unlabelled
from lib.names import plain

WITHOUT = "without labels"

if TYPE_CHECKING:
    from lib.run import Run


def describe_data(data: DataSet) -> pd.DataFrame:
    """Images by class (rows) and split (columns), with each class's share of all labelled images.

    Unlabelled images, where there are any, have a row and a column of their own.
    """
    counts = {}
    for name, split in data.splits.items():
        if split.y is None:
            counts[name] = pd.Series([len(split)], index=[WITHOUT])
        elif data.task == "multi-label":
            counts[name] = pd.Series(split.y.sum(axis=0), index=data.classes)
        else:
            tally = pd.Series(split.y).value_counts()
            counts[name] = pd.Series([int(tally.get(k, 0)) for k in range(len(data.classes))])
            counts[name].index = pd.Index(data.classes)
    table = pd.DataFrame(counts)
    total = sum(len(split) for split in data.splits.values())
    shares = [f"{share:.1%}" for share in table.sum(axis=1) / max(total, 1)]
    if data.unlabelled is not None:
        if data.classes:
            table.loc[WITHOUT] = 0
            shares.append("")
        table[UNLABELLED] = 0
        table.loc[WITHOUT, UNLABELLED] = len(data.unlabelled)
    table["share"] = shares
    return table


def say_data(data: DataSet) -> str:
    """What a data set is, in a few sentences of Markdown."""
    parts = dict(data.splits)
    if data.unlabelled is not None:
        parts[UNLABELLED] = data.unlabelled
    sizes = ", ".join(f"{len(split):,} {name}" for name, split in parts.items())
    channels = "grey" if data.channels == 1 else "RGB"
    text = (
        f"**{plain(data.title)}**: {sizes} images of {data.size} × {data.size} pixels, {channels}; "
    )
    text += f"{data.task}, {len(data.classes)} classes." if data.classes else "no labels."
    if data.source:
        text += f" Source: {plain(data.source)}" + (
            f" ({plain(data.licence)})." if data.licence else "."
        )
    notes = [*data.notes, *say_unlabelled(data)]
    return "\n\n".join([text, *(f"- {plain(note)}" for note in notes)])


def say_imbalance(data: DataSet) -> str:
    """How unequal the classes of the training split are, and what guessing would reach."""
    y = data.splits["train"].y
    if y is None:
        return "There are no labels: this data set serves for pretraining only."
    n, names = len(y), [plain(name) for name in data.classes]
    if data.task == "multi-label":
        share = y.mean(axis=0)
        most, least = int(share.argmax()), int(share.argmin())
        text = f"An image carries {y.sum(axis=1).mean():.2f} labels on average; "
        text += f"{names[most]} has {share[most]:.1%}, {names[least]} "
        return text + f"{share[least]:.2%}. Answering *no* throughout is right {1 - y.mean():.1%}."
    counts = np.bincount(y, minlength=len(data.classes))
    most, least = int(counts.argmax()), int(counts.argmin())
    if counts[most] == counts[least]:
        text = f"All {len(counts)} classes are equally large: guessing reaches an accuracy of "
        return text + f"{1 / len(counts):.1%}."
    text = f"The largest class, {names[most]}, has {counts[most] / n:.1%} of the training "
    text += "images: an accuracy of that much is what guessing reaches. "
    if counts[least] == 0:
        return text + f"**{names[least]} has no training image at all.**"
    ratio = counts[most] / counts[least]
    return text + f"The smallest, {names[least]}, is {ratio:.1f} times rarer."


def count_rows(data: DataSet, run: Run) -> list[dict[str, Any]]:
    """Rows of summary.csv with the number of images in each split, and of unlabelled ones."""
    counts = {name: len(split) for name, split in data.splits.items()}
    if data.unlabelled is not None:
        counts[UNLABELLED] = len(data.unlabelled)
    return [
        run.row("images", n, method="", augment="", protocol="data", split=name)
        for name, n in counts.items()
    ]


def say_notes(features: Mapping[str, Mapping[str, Any]], notes: list[str]) -> str:
    """What was embedded, and which label budgets could not be had as asked."""
    from lib.names import name_source

    lines = []
    for source, splits in features.items():
        sizes = ", ".join(f"{len(h):,} {name}" for name, h in splits.items())
        width = next(iter(splits.values())).shape[1]
        lines.append(f"- {name_source(source)}: {width:,} features of {sizes} images")
    return "\n".join([*lines, *(f"- {plain(note)}" for note in notes)])
