"""What others have published on MedMNIST, as facts with their source and their caveat.

published.csv holds single measured numbers: facts, which carry no licence, each with where it
stands and what is known against it. No text of the sources is copied. They are: the log of
simclr-medical-imaging, whose claims this study tests; Table 3 of the MedMNIST v2 paper (its
ResNet-18, and on PneumoniaMNIST and RetinaMNIST its AutoML tools); the benchmark of
rethinking-model-prototyping-MedMNISTPlus; the README of SupCon-DR.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from lib.methods import split_method
from lib.study.measurements import MEASURED, mean_interval, measurements

FACTS = Path(__file__).with_name("published.csv")
METRICS = ("accuracy", "auroc")
# Images of our own that may stand beside a published data set, and what must be said with them.
REBUILT = {
    "csv:dermatoscopy/labels_dermamnist_split.csv": (
        "dermamnist",
        "ours: DermaMNIST rebuilt from smaller photographs, in its official split, which has "
        "pictures of one lesion on both sides",
    )
}
# simclr-medical-imaging writes 100, 250, 1000 also where it balanced classes to so many of each.
BALANCED = {"100": "10 per class", "250": "25 per class", "1000": "100 per class"}


@cache
def read_published() -> pd.DataFrame:
    """The published facts, text but for size (pixels) and value (a share of 1).

    Columns: source, url, dataset, size, encoder, protocol, pretrained_on, augment, labels, metric,
    value, caveat. protocol: probe, finetune, knn, supervised (trained with labels from what
    pretrained_on says), `supcon probe`, or automl (a tool searched for the model).
    pretrained_on: data sets in order, joined by `>`, or `unknown`.
    """
    numbers = {"size": int, "value": float}
    return pd.read_csv(FACTS, dtype=str, keep_default_na=False).astype(numbers)


def name_dataset(dataset: str) -> str:
    """A data set as printed: a rebuilt one by what it rebuilds."""
    return f"{REBUILT[dataset][0]} (rebuilt)" if dataset in REBUILT else dataset


def published_as(dataset: str) -> str:
    """The name under which others published on a data set: that of what a rebuilt one rebuilds."""
    return REBUILT.get(dataset, (dataset, ""))[0]


def our_side(fact: pd.Series) -> tuple[str, str, str]:
    """Method (without variant), protocol and labels in which summary.csv has a fact's counterpart.

    A network trained with labels from scratch is `random`, finetuned here.
    """
    protocol, trained_on, labels = fact["protocol"], fact["pretrained_on"], fact["labels"]
    if protocol == "automl":  # nothing here has such a counterpart
        return protocol, protocol, labels
    if protocol == "supervised":
        return trained_on or "random", "finetune", labels
    method = "supcon" if protocol.startswith("supcon") else "simclr"
    protocol = protocol.removeprefix("supcon ")
    if trained_on == "imagenet":
        return "imagenet", protocol, labels
    method += "" if trained_on == fact["dataset"] else f" from {trained_on}"
    if fact["caveat"].startswith("classes balanced by undersampling"):
        return method, f"{protocol}+undersample", BALANCED[labels]
    return method, protocol, labels


def with_counterparts(table: pd.DataFrame, level: float = 0.95) -> pd.DataFrame:
    """Published numbers beside ours on the same data set, size, protocol, budget and augmentation.

    table: real measurements (`lib.study.measurements.read_study`). Where a fact fits several of
    ours (encoders, or variants), there is a row for each; facts without a counterpart are left out.
    Columns: those of the fact, and method, our_encoder, our_augment, our_protocol, our_labels,
    our_dataset, mean, low, high (Student's t over seeds, NaN from one), seeds.
    """
    keys = [k for k in MEASURED if k not in ("seed", "fold")]
    own = pd.concat([measurements(table, metric) for metric in METRICS])
    # Folds of a cross-validation are another test split than the published one.
    own = own[own["fold"] == ""]
    facts, found = read_published(), []
    for where, group in own.groupby(["metric", *keys], sort=False):
        ours: dict[str, Any] = dict(zip(["metric", *keys], where, strict=True))
        base, source, _ = split_method(ours["method"])
        method = base + (f" from {source}" if source else "")
        dataset, remark = REBUILT.get(ours["dataset"], (ours["dataset"], ""))
        same = facts[
            (facts["dataset"] == dataset)
            & (facts["size"] == ours["size"])
            & (facts["metric"] == ours["metric"])
            & facts["augment"].isin(["", ours["augment"]])
        ]
        for _, fact in same.iterrows():
            if our_side(fact) != (method, ours["protocol"], ours["labels"]):
                continue
            mean, low, high = mean_interval(list(group["value"]), level)
            renamed = {f"our_{k}": ours[k] for k in ("dataset", "encoder", "augment", "protocol")}
            caveat = "; ".join(c for c in (fact["caveat"], remark) if c)
            numbers = {"mean": mean, "low": low, "high": high, "seeds": len(group)}
            labels = {"method": ours["method"], "our_labels": ours["labels"], "caveat": caveat}
            found.append({**fact.to_dict(), **renamed, **labels, **numbers})
    columns = [*facts.columns, "our_dataset", "our_encoder", "our_augment", "our_protocol"]
    columns += ["method", "our_labels", "mean", "low", "high", "seeds"]
    return pd.DataFrame(found, columns=columns)


def largest_published_gain(metric: str = "accuracy") -> pd.Series:
    """simclr-medical-imaging's largest gain of in-domain pretraining over its own baseline.

    Both with the same labels, classes as they come. Returns the pretrained fact, and `gain`.
    """
    facts = read_published()
    facts = facts[
        facts["source"].str.startswith("simclr-medical-imaging") & (facts["metric"] == metric)
    ]
    baseline = facts[facts["protocol"] == "supervised"]
    own = facts[facts["pretrained_on"] == facts["dataset"]]
    pairs = own.merge(baseline, on=["dataset", "size", "labels"], suffixes=("", "_baseline"))
    pairs["gain"] = pairs["value"] - pairs["value_baseline"]
    return pairs.sort_values("gain").iloc[-1]
