"""Is pretraining worth it, and with how many labels? What a study's first answer rests on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from lib.statistics.paired import compare, holm
from lib.study.claims import named_rows, over_scratch
from lib.study.fairness import fairly
from lib.study.measurements import label_order

Outcome = Literal["worth it", "not worth it", "no clear difference", "not tested"]
PRETRAINED = ("simclr", "supcon")
TAIL = "tail "  # classes made rare on purpose: 04_imbalance asks another question
PLACE = ["dataset", "size", "encoder", "method", "augment"]


@dataclass(frozen=True)
class Worth:
    """What one pretraining is worth on one data set.

    whole: the network finetuned from it is compared with training from scratch; else, where the
    study has no such pair, its frozen features with those of an untrained encoder. cells: a row
    for each label budget, from few to many, as `lib.statistics.paired.compare` gives them, p
    corrected by Holm over these budgets, with the column `outcome`.
    """

    dataset: str
    size: int
    encoder: str
    method: str
    augment: str
    whole: bool
    metric: str
    level: float
    cells: pd.DataFrame

    def at(self, outcome: Outcome) -> list[str]:
        """The label budgets with this outcome."""
        return list(self.cells.loc[self.cells["outcome"] == outcome, "labels"])


def weigh(table: pd.DataFrame, metric: str = "auroc", level: float = 0.95) -> list[Worth]:
    """What pretraining on a data set's own images is worth there, one entry for each way of it.

    Where no encoder was pretrained on a data set, those from elsewhere take their place: someone
    with images of one kind and labels for others asks about them.

    table: rows of summary.csv. Both sides have the same protocol, labels and seeds (or folds),
    SupCon also in pretraining (`lib.study.fairness`), so that nothing but the start differs, and
    which side to look at was not chosen by its result.
    """
    rows = named_rows(table, metric)
    rows = rows[~rows["labels"].str.contains(TAIL)]
    own = fairly(table, rows[rows["base"].isin(PRETRAINED)])
    at_home = own["source"] == ""
    own = own[at_home | ~own["dataset"].isin(set(own.loc[at_home, "dataset"]))]
    untrained = rows[(rows["method"] == "random") & (rows["protocol"] == "probe")]
    tuned = over_scratch(own[own["protocol"] == "finetune"], rows, level)
    frozen = compare(own[own["protocol"] == "probe"], untrained, ["size"], level)
    found: dict[Any, Worth] = {}
    for whole, cells in ((True, tuned), (False, frozen)):
        for place, group in cells.groupby(PLACE, sort=False):
            if place not in found:
                named: Any = dict(zip(PLACE, place, strict=True))
                found[place] = Worth(
                    **named, whole=whole, metric=metric, level=level, cells=judged(group, level)
                )
    return list(found.values())


def judged(cells: pd.DataFrame, level: float) -> pd.DataFrame:
    """The cells of one pretraining in the order of their budgets, each with its outcome."""
    order = label_order(cells["labels"])
    cells = cells.sort_values("labels", key=lambda c: c.map(order.index), kind="stable")
    cells = cells.assign(corrected=holm(list(cells["p"])))
    pairs = zip(cells["mean"], cells["corrected"], strict=True)
    return cells.assign(outcome=[outcome(mean, p, level) for mean, p in pairs])


def outcome(mean: float, p: float, level: float) -> Outcome:
    """What a mean difference and its corrected p say at a confidence level."""
    if math.isnan(p):
        return "not tested"
    if p >= 1 - level:
        return "no clear difference"
    return "worth it" if mean > 0 else "not worth it"
