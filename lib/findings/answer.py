"""What a study answers to its question, in a few sentences computed from its numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import pandas as pd

from lib.methods import FLOORS
from lib.names import METRIC_NAMES, name_source, short_augment
from lib.study.claims import named_rows, over_scratch
from lib.study.fairness import fair_classifiers
from lib.study.measurements import measurements, paired_gains, without_floors
from lib.study.transfer import FLOORS as TRANSFER_FLOORS
from lib.study.transfer import transfer_gains

Side = dict[str, str]
# Remedies against imbalance are about rare classes, which accuracy and AUROC hardly see.
RARE = "balanced_accuracy"
FIRST = 6  # sentences that stand open


def answer(table: pd.DataFrame) -> list[str]:
    """Sentences on what transfer, pretraining, finetuning, augmentation and remedies came to.

    A comparison is one data set, size, encoder and label budget, paired by seed or fold; its 95%
    interval is not corrected for their number. Nothing to compare gives no sentence.
    SupCon is compared only where its classifier has the labels that its pretraining saw.
    """
    table = fair_classifiers(table)
    gains = transfer_gains(table)
    abroad = gains[~gains["source"].isin(TRANSFER_FLOORS)]
    said = []
    if len(abroad):
        name = "Frozen, an encoder of another data set against one of the data set's own"
        said = [say_gains(name, METRIC_NAMES["auroc"], abroad)]
    said += over_training_from_scratch(table)
    said += [judge(table, *comparison) for comparison in comparisons(table)]
    return [sentence for sentence in said if sentence]


def split_answer(sentences: list[str]) -> tuple[list[str], list[str]]:
    """The sentences that answer first, and the rest: on encoders from elsewhere, and variants."""
    foreign = [s for s in sentences if ", from " in s.partition(":")[0]]
    own = [s for s in sentences if s not in foreign]
    return own[:FIRST], [*own[FIRST:], *foreign]


def over_training_from_scratch(table: pd.DataFrame) -> list[str]:
    """What each finetuned encoder gains over training from scratch by the same setting."""
    rows = named_rows(table, "auroc")
    said = []
    for method, augment in kinds(rows, "finetune"):
        tuned = (rows["method"] == method) & (rows["augment"] == augment)
        gains = over_scratch(rows[tuned & (rows["protocol"] == "finetune")], rows, 0.95)
        name = f"{called(method, augment)}, finetuned, against training from scratch"
        said += [say_gains(name, METRIC_NAMES["auroc"], gains)] if len(gains) else []
    return said


def comparisons(table: pd.DataFrame) -> Iterable[tuple[str, str, Side, Side]]:
    """What can be compared of frozen features: name, metric, the one side, the other."""
    rows = measurements(table)
    probes = kinds(rows, "probe")
    floors = [
        ("an untrained encoder", {"method": "random", "protocol": "probe"}),
        ("kNN on raw pixels", {"method": "pixels", "protocol": "knn"}),
    ]
    yield from against(probes, *floors[0])
    for method, augment in probes:
        if method == "supcon":
            for other_method, other_augment in probes:
                if other_method in ("supervised", "simclr"):
                    name = f"SupCon's features against those of {name_source(other_method)}"
                    other = side(other_method, other_augment, "probe")
                    yield name, "auroc", side(method, augment, "probe"), other
    for method in dict.fromkeys(method for method, _ in probes):
        if {(method, "novel"), (method, "natural")} <= set(probes):
            name = f"{name_source(method)}: novel against natural augmentation"
            yield name, "auroc", side(method, "novel", "probe"), side(method, "natural", "probe")
    yield from remedies(table)
    yield from against(probes, *floors[1])


def against(
    probes: Iterable[tuple[str, str]], floor: str, other: Side
) -> Iterable[tuple[str, str, Side, Side]]:
    """Each kind of frozen features beside a floor."""
    for method, augment in probes:
        name = f"Frozen features of {called(method, augment)} against {floor}"
        yield name, "auroc", side(method, augment, "probe"), other


def remedies(table: pd.DataFrame) -> Iterable[tuple[str, str, Side, Side]]:
    """Each remedy against imbalance, with the labels it was given, beside the plain probe."""
    rows = measurements(table, RARE)
    plain = rows[(rows["notebook"] == "04_imbalance") & (rows["protocol"] == "probe")]
    for method, augment in dict.fromkeys(zip(plain["method"], plain["augment"], strict=True)):
        if method in FLOORS:
            continue
        own = rows[(rows["method"] == method) & (rows["augment"] == augment)]
        found = [p for p in dict.fromkeys(own["protocol"]) if p.startswith("probe+")]
        for protocol in found:
            remedy = protocol.removeprefix("probe+").replace("_", " ")
            name = f"{remedy} against nothing done for rare classes"
            ours, other = side(method, augment, protocol), side(method, augment, "probe")
            yield name[0].upper() + name[1:], RARE, ours, other


def called(method: str, augment: str) -> str:
    """A method within a sentence: `SimCLR (natural, adapted)`, `SimCLR, from a (warm, novel)`."""
    name = name_source(method)
    if not augment:
        return name
    before, words = (name[:-1], ", ") if name.endswith(")") else (name, " (")
    return f"{before}{words}{short_augment(augment)})"


def kinds(rows: pd.DataFrame, protocol: str) -> list[tuple[str, str]]:
    """Method and augmentation of what a protocol was used on, floors left out."""
    own = without_floors(rows[rows["protocol"] == protocol])
    return list(dict.fromkeys(zip(own["method"], own["augment"], strict=True)))


def side(method: str, augment: str, protocol: str) -> Side:
    """One side of a comparison, by columns of summary.csv."""
    return {"method": method, "augment": augment, "protocol": protocol}


def judge(table: pd.DataFrame, name: str, metric: str, ours: Side, other: Side) -> str:
    """One comparison over its data sets and budgets in a sentence; empty without any pair."""
    gains = paired_gains(table, metric, ours, other)
    return say_gains(name, METRIC_NAMES[metric], gains) if len(gains) else ""


def say_gains(name: str, metric: str, gains: Any) -> str:
    """What a difference is on average, and in how many comparisons its interval leaves zero out.

    gains: as from `lib.study.measurements.paired_gains`, at least one row.
    """
    n, mean = len(gains), float(gains["mean"].mean())
    over = f"{mean:+.3f} {metric}" + (f" on average over {n} comparisons" if n > 1 else "")
    tested = gains[~gains["low"].map(math.isnan)]
    if tested.empty:
        alike = "from one seed each" if (gains["pairs"] < 2).all() else "alike with every seed"
        return f"{name}: {over}, {alike}, so nothing is known of its spread."
    above, below = int((tested["low"] > 0).sum()), int((tested["high"] < 0).sum())
    if n == 1:
        where = "above" if above else "below" if below else "across"
        return f"{name}: {over}; interval {where} zero."
    across, unknown = len(tested) - above - below, n - len(tested)
    text = (
        f"{name}: {over}; interval above zero in {above}, below in {below}, across it in {across}"
    )
    return text + (f", unknown in {unknown}." if unknown else ".")
