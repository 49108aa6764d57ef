"""SupCon learns from labels: its rivals must have had the same ones, or the comparison is none."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from lib.identity import TRAINVAL
from lib.methods import split_method
from lib.study.measurements import IN_FOLDS

# What tells one pretraining of a kind from another, as in summary.csv.
PLACE = ("dataset", "size", "augment", "encoder", "fold", "seed")


def fairly(table: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Rows less those of SupCon whose pretraining saw other labels than the classifier was given.

    A pretraining notes its labels in the summary; one without that note has seen all of them.
    Labels of another data set are none of this one's. Every other method stays.

    table: rows of summary.csv, those of pretraining among them. rows: what is to be compared, each
    with its label budget.
    """
    seen = labels_seen(table)
    kept = [is_fair(seen, row) for row in rows.to_dict("records")]
    return rows[pd.Series(kept, index=rows.index, dtype=bool)]


def fair_classifiers(table: pd.DataFrame) -> pd.DataFrame:
    """A summary less SupCon's probes and finetuned networks that had other labels than it saw."""
    classified = table["protocol"].str.startswith(("probe", "finetune"))
    return pd.concat([fairly(table, table[classified]), table[~classified]]).sort_index()


def labels_seen(table: pd.DataFrame) -> dict[Any, dict[str, set[str]]]:
    """The labels of each SupCon pretraining: by where and from what, then by its variant."""
    seen: dict[Any, dict[str, set[str]]] = {}
    for row in table[table["protocol"] == "pretrain"].to_dict("records"):
        base, source, variant = split_method(row["method"])
        if base == "supcon":
            place = tuple(row[name] for name in PLACE), source
            seen.setdefault(place, {}).setdefault(variant, set()).add(row["labels"])
    return seen


def is_fair(seen: Mapping[Any, Mapping[str, set[str]]], row: Mapping[Hashable, Any]) -> bool:
    """Whether a row's encoder saw, of the labels of the row's data set, exactly the row's."""
    base, source, variant = split_method(row["method"])
    dataset = row["dataset"].removesuffix(IN_FOLDS)
    foreign = source and dataset.removesuffix(TRAINVAL) not in source.split(">")
    if base != "supcon" or foreign:
        return True
    place = tuple(dataset if name == "dataset" else row[name] for name in PLACE), source
    # A finetuned encoder's variant is its pretraining's and its own: `100 labels, strong decay`.
    noted = seen.get(place, {})
    own = [v for v in noted if not v or v == variant or variant.startswith(f"{v}, ")]
    return row["labels"] in (noted[max(own, key=len)] if own else {"all"})
