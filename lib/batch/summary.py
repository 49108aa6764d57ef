"""summary.csv: every number of a study in one long table, and what it says over seeds."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from lib.batch.done import read_metrics
from lib.figures.study import name_line
from lib.files import replacing
from lib.findings.answer import say_gains
from lib.methods import split_method
from lib.names import METRIC_NAMES, name_labels, name_source
from lib.run import COLUMNS
from lib.study.claims import named_rows, over_scratch
from lib.study.fairness import fair_classifiers
from lib.study.measurements import (
    label_order,
    measurements,
    over_seeds,
    paired_gains,
    several_encoders,
    without_floors,
)
from lib.study.published import name_dataset

# What a probe of an encoder, or an encoder finetuned, is compared with.
BESIDE_PROBES = {
    "the untrained encoder": {"method": "random", "protocol": "probe"},
    "kNN on raw pixels": {"method": "pixels", "protocol": "knn"},
}
FROM_SCRATCH = "training from scratch"
SCRATCH = {FROM_SCRATCH: {"method": "random", "protocol": "finetune"}}
WAYS = {"probe": BESIDE_PROBES | SCRATCH, "finetune": SCRATCH}


def collect_rows(study_folder: Path, names: Iterable[str]) -> list[dict[str, Any]]:
    """The rows in the metrics.json of the named runs, in their order, each run once.

    Runs that are not done, or whose metrics.json is damaged, are left out.
    """
    rows: list[dict[str, Any]] = []
    for name in dict.fromkeys(names):
        metrics = read_metrics(study_folder, name)
        if metrics is not None:
            rows += metrics["rows"]
    return rows


def write_summary(study_folder: Path, names: Iterable[str]) -> Path:
    """Write summary.csv from the runs that are done, complete or not at all."""
    path = study_folder / "summary.csv"
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for row in collect_rows(study_folder, names):
            # 7 digits: more than any interval is worth, and the same text on every machine.
            numbers = {k: f"{row[k]:.7g}" for k in ("value", "low", "high") if row[k] != ""}
            writer.writerow({**row, **numbers})
    return path


def compared(table: pd.DataFrame, metric: str = "auroc", *, whole: bool = False) -> pd.DataFrame:
    """The measurements that `headline` is about."""
    rows = measurements(table, metric)
    return rows[rows["protocol"].isin(WAYS if whole else ["probe"]) | (rows["method"] == "pixels")]


def headline(table: pd.DataFrame, metric: str = "auroc", *, whole: bool = False) -> pd.DataFrame:
    """Mean ± sd over seeds by data set and features (rows) and label budget (columns).

    Logistic regression on the features, and kNN where the features are raw pixels. whole: also
    networks trained whole, finetuned and from scratch.
    """
    rows = compared(table, metric, whole=whole)
    several = several_encoders(rows)
    cells: dict[tuple[str, str], dict[str, str]] = {}
    places = list(dict.fromkeys(zip(rows["dataset"], rows["size"], strict=True)))
    ranks = {("random", "finetune"): 1, ("random", "probe"): 2, ("pixels", "knn"): 3}  # floors last
    stats = sorted(
        over_seeds(rows).to_dict("records"),
        key=lambda r: (
            places.index((r["dataset"], r["size"])),
            ranks.get((split_method(r["method"])[0], r["protocol"]), 0),
        ),
    )
    for row in stats:
        spread = f" ± {row['std']:.3f}" if row["count"] > 1 else ""
        features = name_source(row["method"], row["augment"])
        if whole and row["method"] != "pixels":
            features = name_line(row["method"], row["augment"], row["protocol"])
        features += f", {row['encoder']}" if several and row["encoder"] else ""
        features += " (kNN)" if row["method"] == "pixels" else ""
        where = (f"{name_dataset(row['dataset'])}, {row['size']} px", features)
        cells.setdefault(where, {})[row["labels"]] = f"{row['mean']:.3f}{spread}"
    order = label_order(rows["labels"])
    index = pd.MultiIndex.from_tuples(list(cells), names=["data set", "features"])
    result = pd.DataFrame(list(cells.values()), index).reindex(columns=order)
    result.columns = pd.Index([name_labels(w) for w in order])
    return result.fillna("–")


def say_gain(gain: Any, name: str) -> str:
    """One difference in words; `no clear difference` where the interval holds 0."""
    text = f"{gain.mean:+.3f}"
    if gain.pairs < 2:
        return f"{name}: {text} from one {gain.unit}, so nothing is known of its spread"
    if math.isnan(gain.low):
        return f"{name}: {text} with every {gain.unit} alike, so nothing is known of its spread"
    span = (
        f"{text} (95% interval over {gain.pairs} {gain.unit}s {gain.low:+.3f} to {gain.high:+.3f})"
    )
    if gain.low > 0 or gain.high < 0:
        return f"{name}: {span}"
    return f"{name}: no clear difference, {span}"


def conclusions(table: pd.DataFrame, metric: str = "auroc") -> list[str]:
    """The study in a few sentences: what pretraining adds on average, and to what.

    A comparison is one data set and label budget, paired by seed. Frozen features are compared with
    every floor and with training from scratch, finetuned networks with training from scratch.
    SupCon is compared where its classifier has the labels that it saw (`lib.study.fairness`).
    """
    table = fair_classifiers(table)
    rows = measurements(table, metric)
    own = without_floors(rows[rows["protocol"].isin(WAYS)])
    ways = list(dict.fromkeys(zip(own["method"], own["augment"], own["protocol"], strict=True)))
    whole = any(protocol == "finetune" for _, _, protocol in ways)
    named = named_rows(table, metric)
    said = []
    for method, augment, protocol in ways:
        ours = {"method": method, "augment": augment, "protocol": protocol}
        others = dict(WAYS[protocol])
        if (method, augment) == ("simclr", "novel") and ("simclr", "natural", protocol) in ways:
            others["SimCLR, natural"] = {**ours, "augment": "natural"}
        called = name_line(method, augment, protocol) if whole else name_source(method, augment)
        for name, other in others.items():
            if (protocol, name) == ("finetune", FROM_SCRATCH):
                mine = named[(named[list(ours)] == pd.Series(ours)).all(axis=1)]
                gains = over_scratch(mine, named, 0.95)
            else:
                gains = paired_gains(table, metric, ours, other)
            if len(gains):
                said.append(say_gains(f"{called}, against {name}", METRIC_NAMES[metric], gains))
    return said


def findings(table: pd.DataFrame, metric: str = "auroc") -> dict[str, list[str]]:
    """What the study shows, data set by data set: pretraining against floors, and among itself."""
    table = fair_classifiers(table)
    probes = measurements(table, metric)
    probes = probes[probes["protocol"] == "probe"]
    trained = without_floors(probes)
    pairs = list(dict.fromkeys(zip(trained["method"], trained["augment"], strict=True)))
    several = several_encoders(probes)
    said: dict[str, list[str]] = {}

    def which(gain: Any) -> str:
        return name_labels(str(gain.labels)) + (f", {gain.encoder}" if several else "")

    floor = {"method": "random", "protocol": "probe"}
    for method, augment in pairs:
        ours = {"method": method, "augment": augment, "protocol": "probe"}
        for gain in paired_gains(table, metric, ours, floor).itertuples():
            name = f"{name_source(method, augment)} over a random encoder, "
            line = say_gain(gain, name + which(gain))
            said.setdefault(f"{name_dataset(str(gain.dataset))}, {gain.size} px", []).append(line)
    if ("simclr", "novel") in pairs and ("simclr", "natural") in pairs:
        sides = [
            {"method": "simclr", "augment": a, "protocol": "probe"} for a in ("novel", "natural")
        ]
        for gain in paired_gains(table, metric, *sides).itertuples():
            line = say_gain(gain, f"novel over natural, {which(gain)}")
            said.setdefault(f"{name_dataset(str(gain.dataset))}, {gain.size} px", []).append(line)
    return said
