"""The probe protocol: frozen features, a label budget, two classifiers, every metric once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from lib.data.base import DataError, DataSet, Split, labels_of
from lib.data.budget import LabelBudget, choose_labels
from lib.methods import FLOORS
from lib.models.embed import Features
from lib.models.probe import fit_logistic, knn_scores
from lib.run import Run
from lib.statistics.bootstrap import Difference, Interval, bootstrap_intervals, paired_bootstrap
from lib.statistics.metrics import compute_metrics, compute_recalls, count_known
from lib.statistics.predictions import Predictions

PIXELS = "pixels"
# A linear classifier on raw pixels would be another study; as a floor, kNN says enough.
KNN_ONLY = (PIXELS,)


@dataclass(frozen=True)
class Budget:
    """Which training images are labelled. name: `100`, `all` or `25 per class`."""

    name: str
    chosen: LabelBudget


@dataclass(frozen=True)
class Evaluated:
    """One classifier on one split. source: the method whose features it saw."""

    source: str
    augment: str
    protocol: str
    labels: str
    predictions: Predictions
    metrics: dict[str, float]
    intervals: dict[str, Interval]


def label_budgets(
    data: DataSet, labels: str, per_class: int, seed: int
) -> tuple[list[Budget], list[str]]:
    """The budgets to evaluate, and a line for each that could not be had as asked.

    labels: `100,250,all` as checked by `lib.params`; per_class above 0 replaces it. A count above
    what the data set has is left out, and said. Raises DataError for a data set without labels.
    """
    y = labels_of(data, "train")
    budgets, notes = [], []
    if per_class:
        chosen = choose_labels(y, per_class=per_class, seed=seed, classes=data.classes)
        budgets.append(Budget(f"{per_class} per class", chosen))
        notes += [chosen.note] if chosen.note else []
    for word in [] if per_class else labels.split(","):
        if word != "all" and int(word) > len(y):
            notes.append(f"{word} labels: left out, {data.title} has {len(y):,} training images.")
            continue
        count: int | Literal["all"] = "all" if word == "all" else int(word)
        chosen = choose_labels(y, count, seed=seed, classes=data.classes)
        budgets.append(Budget(word, chosen))
        notes += [chosen.note] if chosen.note else []
    if not budgets:
        raise DataError(
            f"labels: {labels}; {data.title} has {len(y):,} training images; give fewer, or all"
        )
    absent = missing_classes(data, "val")
    if absent:
        notes.append(f"Validation images of {', '.join(absent)} are missing: no validation AUROC.")
    return budgets, notes


def missing_classes(data: DataSet, name: str) -> list[str]:
    """Classes without any image in a split (multi-label: or with every image)."""
    known = count_known(labels_of(data, name), data.task, len(data.classes))
    return [str(c) for k, c in enumerate(data.classes) if k not in known]


def scored_splits(data: DataSet) -> list[str]:
    """The splits with scores of their own: a validation split that lacks a class has none."""
    return ["test"] if missing_classes(data, "val") else ["val", "test"]


def made_by(source: str, augment: str) -> str:
    """The augmentation a source was pretrained with, for its row: a floor has none."""
    return "" if source in FLOORS else augment


def probe_features(
    features: Mapping[str, Mapping[str, Features]],
    data: DataSet,
    budgets: Sequence[Budget],
    *,
    augment: str = "",
    knn_k: int = 20,
    bootstrap: int = 1000,
    seed: int = 0,
) -> list[Evaluated]:
    """Logistic regression and cosine kNN on frozen features, for each source and budget.

    features: method → split → float32 [N, D]; `pixels` gets kNN only. augment: of the pretrained
    sources. The regularisation is chosen on the validation split; the test split is scored once.
    A test split that lacks a class raises ValueError with its name, since its AUROC is undefined;
    a validation split that does is used for choosing, but gets no rows of its own.
    Intervals are for the test split: 95%, over images, or over groups where there are any.
    """
    results = []
    n_classes = len(data.classes)
    splits = scored_splits(data)
    for source, h in features.items():
        for budget in budgets:
            rows = budget.chosen.indices
            bank, y = h["train"][rows], labels_of(data, "train")[rows]
            scorers: dict[str, Any] = {}
            if source not in KNN_ONLY:
                y_val = labels_of(data, "val")
                probe = fit_logistic(bank, y, h["val"], y_val, data.task, n_classes=n_classes)
                scorers["probe"] = probe.predict_proba
            scorers["knn"] = lambda q, b=bank, y=y: knn_scores(
                torch.from_numpy(b),
                torch.from_numpy(y),
                torch.from_numpy(q),
                task=data.task,
                n_classes=n_classes,
                k=knn_k,
            ).numpy()
            for protocol, score in scorers.items():
                key = {"method": source, "protocol": protocol, "labels": budget.name}
                for split in splits:
                    predictions = predict_split(data, split, score(h[split]), key)
                    made = made_by(source, augment)
                    n = bootstrap if split == "test" else 0
                    results.append(evaluate(predictions, made, n, seed))
    return results


def predict_split(
    data: DataSet, name: str, scores: npt.NDArray[np.float32], key: Mapping[str, str]
) -> Predictions:
    """Scores [N, K] on a split, with what is needed to recompute every number from them."""
    split: Split = data.splits[name]
    y = labels_of(data, name)
    return Predictions(split.ids, y, scores, data.task, data.classes, name, split.groups, key)


def evaluate(predictions: Predictions, augment: str, bootstrap: int, seed: int) -> Evaluated:
    """All metrics of one set of predictions, with intervals when `bootstrap` is above 0."""
    p = predictions
    metrics = compute_metrics(p.y, p.scores, p.task, p.classes)
    metrics |= compute_recalls(p.y, p.scores, p.task, p.classes)
    intervals: dict[str, Interval] = {}
    if bootstrap:
        intervals = bootstrap_intervals(
            p.y, p.scores, p.task, p.groups, n=bootstrap, seed=seed, classes=p.classes
        )
    source, protocol, labels = (p.key[name] for name in ("method", "protocol", "labels"))
    return Evaluated(source, augment, protocol, labels, p, metrics, intervals)


def compare(a: Evaluated, b: Evaluated, bootstrap: int, seed: int) -> dict[str, Difference]:
    """Paired differences a − b of two classifiers on the same test images."""
    p, q = a.predictions, b.predictions
    return paired_bootstrap(p.y, p.scores, q.scores, p.task, p.groups, n=bootstrap, seed=seed)


def result_rows(results: Sequence[Evaluated], run: Run, encoder: str) -> list[dict[str, Any]]:
    """Rows of summary.csv for evaluated classifiers; encoder: the architecture embedded with."""
    rows = []
    for r in results:
        for metric, value in r.metrics.items():
            interval = r.intervals.get(metric)
            rows.append(
                run.row(
                    metric,
                    value,
                    method=r.source,
                    augment=r.augment,
                    encoder="" if r.source == PIXELS else encoder,
                    protocol=r.protocol,
                    labels=r.labels,
                    split=r.predictions.split,
                    low=interval.low if interval else "",
                    high=interval.high if interval else "",
                )
            )
    return rows
