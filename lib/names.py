"""How methods, classifiers, metrics and budgets are called in print."""

from __future__ import annotations

import re
from collections.abc import Iterable

from lib.methods import split_method

METHOD_NAMES = {
    "simclr": "SimCLR",
    "supcon": "SupCon",
    "random": "random encoder",
    "pixels": "raw pixels",
    "imagenet": "ImageNet weights",
    "supervised": "cross-entropy",
}
PROTOCOL_NAMES = {
    "probe": "logistic regression",
    "knn": "kNN",
    "finetune": "finetuned",
    "frozen": "a head by minibatches",
    "retrieval": "retrieval",
    "severity": "distance to healthy images",
}
METRIC_NAMES = {
    "auroc": "AUROC",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "average_precision": "average precision",
    "macro_f1": "macro F1",
    "weighted_precision": "weighted precision",
    "quadratic_kappa": "quadratic weighted kappa",
    "auroc_ovo": "AUROC, one against one",
    "auroc_referable": "AUROC, grade 2 and above",
}


def plain(text: str) -> str:
    """Markdown that shows `text` as it is, whatever signs are in it.

    Class and file names come from users' data: `*`, `$`, `[x](y)` and `<b>` are no markup there.
    """
    return re.sub(r"([\\`*_{}\[\]<>$#&|~])", r"\\\1", text)


def name_scratch(method: str, protocol: str) -> str:
    """A random encoder finetuned is training from scratch: `from scratch (long)`; else empty."""
    base, _, variant = split_method(method)
    if base != "random" or not protocol.startswith("finetune"):
        return ""
    return "from scratch" + (f" ({variant})" if variant else "")


def name_source(method: str, augment: str = "") -> str:
    """A method as printed: `SimCLR, novel`; `SimCLR, novel, from pathmnist then dermamnist`."""
    base, source, variant = split_method(method)
    before, _, finetuned = base.partition("+")
    name = METHOD_NAMES.get(before, before) + (", finetuned" if finetuned else "")
    name += f", {short_augment(augment)}" if augment else ""
    name += f", from {source.replace('>', ' then ')}" if source else ""
    return name + (f" ({variant})" if variant else "")


def short_augment(augment: str) -> str:
    """An augmentation in a few words: one with several settings is `natural, adapted`.

    The parameters of a run say how; where several stand side by side, `tell_apart` does.
    """
    sequence, *settings = augment.split(" ")
    return f"{sequence}, adapted" if len(settings) > 1 and "," not in sequence else augment


def tell_apart(augments: Iterable[str]) -> dict[str, str]:
    """Short names for augmentations that stand side by side, each different from the others.

    `natural, adapted` where one of natural's has settings, `natural, blur_p=0` by what not all of
    them have in common where several do.
    """
    settings = {name: name.split(" ") for name in dict.fromkeys(augments)}
    names = {}
    for name, (sequence, *own) in settings.items():
        others = [rest for first, *rest in settings.values() if first == sequence and rest]
        shared = set(others[0]).intersection(*others[1:]) if others else set()
        left = [word for word in own if word not in shared]
        if len(others) > 1 and own and not sequence.endswith(","):
            names[name] = f"{sequence}, {' '.join(left) or 'adapted'}"
        else:
            names[name] = short_augment(name)
    return names


def name_labels(labels: str) -> str:
    """A budget as printed: `100 labels`, `25 labels per class`, `long tail, 100:1`."""
    count, _, ratio = labels.rpartition("tail ")
    if ratio != labels:
        of = f"{name_labels(count.removesuffix(', '))} of a " if count else ""
        return f"{of}long tail, {ratio}:1"
    if labels.endswith("per class"):
        return f"{labels.partition(' ')[0]} labels per class"
    return f"{labels} labels"
