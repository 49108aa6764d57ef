"""How methods, classifiers, metrics and budgets are called in print."""

from __future__ import annotations

METHOD_NAMES = {
    "simclr": "SimCLR",
    "supcon": "SupCon",
    "random": "random encoder",
    "pixels": "raw pixels",
    "imagenet": "ImageNet weights",
}
PROTOCOL_NAMES = {"probe": "logistic regression", "knn": "kNN"}
METRIC_NAMES = {
    "auroc": "AUROC",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "average_precision": "average precision",
    "macro_f1": "macro F1",
    "weighted_precision": "weighted precision",
    "quadratic_kappa": "quadratic weighted kappa",
}


def name_source(method: str, augment: str = "") -> str:
    """A method as printed: `SimCLR, novel`."""
    name = METHOD_NAMES.get(method, method)
    return f"{name}, {augment}" if augment else name


def name_labels(labels: str) -> str:
    """A budget as printed: `all labels`, `100 labels`, `25 labels per class`."""
    if labels.endswith("per class"):
        return f"{labels.partition(' ')[0]} labels per class"
    return f"{labels} labels"
