"""How many images each notebook sends through an encoder, from its parameters and the splits."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING

from lib.checks import ParameterError
from lib.data.base import UNLABELLED
from lib.identity import short_name
from lib.params import as_list, notebook_defaults
from lib.training.monitor import BANK, LOOKED_AT, QUERIES

if TYPE_CHECKING:
    from lib.batch.plan import PlannedRun

Images = Mapping[str, int]  # split → how many; those that only pretraining sees: `unlabelled`


@dataclass(frozen=True)
class Passes:
    """Images that go through an encoder.

    trained: forward and backward, each view for itself. steps: the optimizer's. augmented: views
    drawn by the sequence `augment`. embedded: forward only. size: of the images in pixels; 0
    stands for the run's own.
    """

    trained: float = 0.0
    steps: float = 0.0
    augmented: float = 0.0
    embedded: float = 0.0
    augment: str = ""
    size: int = 0


def pretraining(p: SimpleNamespace, n: Images, epochs: int, size: int = 0) -> Passes:
    """Two views of each image seen an epoch; the kNN monitor, and a look for a collapse."""
    seen = n["train"] + n.get(UNLABELLED, 0)
    views = 2 * seen * epochs
    steps = epochs * math.ceil(seen / p.batch_size)
    checks = 1 + math.ceil(epochs / p.knn_every)
    monitored = min(n["train"], BANK) + min(n["val"], QUERIES)
    # Features are looked at after the first epoch and the last; in between by the clock, seldom.
    embedded = checks * monitored + min(epochs, 2) * min(seen, LOOKED_AT)
    return Passes(views, steps, views, embedded, p.augment, size)


def embedding(n: Images, encoders: int = 1, size: int = 0) -> Passes:
    """Every image of a split once through each encoder."""
    images = sum(count for split, count in n.items() if split != UNLABELLED)
    return Passes(embedded=encoders * images, size=size)


def finetuning(p: SimpleNamespace, n: Images, labels: int) -> Passes:
    """A training for each learning rate, checked on validation; the chosen one on val and test."""
    from lib.training.finetune_module import (  # Lightning takes seconds
        FinetuneRecipe,
        LabelledBatches,
    )

    recipe = FinetuneRecipe.of(p)
    batches = LabelledBatches(labels, recipe, lambda: 0)
    epochs = len(recipe.lrs) * recipe.epochs
    views = epochs * batches.passes * labels
    checks = len(recipe.lrs) * math.ceil(recipe.epochs / recipe.val_every)
    embedded = checks * min(n["val"], QUERIES) + n["val"] + n["test"]
    augment = "" if recipe.train_augment == "none" else recipe.train_augment
    return Passes(views, epochs * len(batches), views if augment else 0, embedded, augment)


def budgets(p: SimpleNamespace, run: PlannedRun) -> list[int]:
    """Training images of each label budget that the data set has."""
    most = run.images["train"]
    if p.per_class:
        return [min(p.per_class * run.classes, most)]
    asked = [most if word == "all" else int(word) for word in p.labels.split(",")]
    return [k for k in asked if k <= most]


def with_floor(p: SimpleNamespace) -> int:
    """Encoders measured: the run's, and with `floors` a random one, unless the run's is that."""
    return 1 + int(p.floors and p.init != "scratch")


def count_data(p: SimpleNamespace, run: PlannedRun) -> list[Passes]:
    """00_data: no encoder."""
    return []


def count_pretrain(p: SimpleNamespace, run: PlannedRun) -> list[Passes]:
    """01_pretrain."""
    return [pretraining(p, run.images, p.epochs)]


def count_probe(p: SimpleNamespace, run: PlannedRun) -> list[Passes]:
    """02_probe: each image embedded once."""
    return [embedding(run.images, with_floor(p))]


def count_finetune(p: SimpleNamespace, run: PlannedRun) -> list[Passes]:
    """03_finetune: each budget, as a floor also from scratch; the probe of what was pretrained."""
    trained = [finetuning(p, run.images, k) for k in budgets(p, run)]
    return with_floor(p) * trained + [embedding(run.images, int(p.init != "scratch"))]


def count_imbalance(p: SimpleNamespace, run: PlannedRun) -> list[Passes]:
    """04_imbalance: no remedy, and each that is tried; as a floor a random encoder without one."""
    n = {**run.images, "train": images_in_tail(p, run)}
    if p.protocol == "probe":
        return [embedding(n, with_floor(p))]
    named = set(p.remedies.split(",")) - {"none"}
    # Logit adjustment takes what was trained without remedy.
    whole = 1 + len(named - {"undersample", "logit_adjustment"})
    whole += with_floor(p) - 1
    kept = (
        [run.classes * int(m) for m in as_list(p.undersample_to)] if "undersample" in named else []
    )
    scored = Passes(embedded=(n["val"] + n["test"]) * ("logit_adjustment" in named))
    trained = [n["train"]] * whole + [k for k in kept if k < n["train"]]
    return [finetuning(p, n, k) for k in trained] + [scored]


def images_in_tail(p: SimpleNamespace, run: PlannedRun) -> int:
    """Training images of a long tail, were the classes of one size before it was cut."""
    n, classes = run.images["train"], run.classes
    if not p.imbalance_ratio or classes < 2:
        return n
    ratio = float(p.imbalance_ratio)
    shares = [ratio ** (-k / (classes - 1)) for k in range(classes)]
    return round(n * math.fsum(shares) / classes)


def count_transfer(p: SimpleNamespace, run: PlannedRun) -> list[Passes]:
    """05_transfer: the source, pretrained further unless it knows the target, and random weights.

    Further pretraining goes by the source's recipe, here taken to be 01_pretrain's own. ImageNet
    weights, which stand beside where they are on disk, are not counted.
    """
    n, starts, passes = run.images, with_floor(p), []
    in_domain = run.origin.trail[-1:] == (short_name(p.dataset),)
    if p.further_epochs and p.init != "scratch" and not in_domain:
        usual = notebook_defaults("01_pretrain")
        recipe = {**usual, "augment": run.origin.augment or usual["augment"]}
        passes.append(pretraining(SimpleNamespace(**recipe), n, p.further_epochs))
        starts += 1
    passes.append(embedding(n, starts))
    if p.finetuned:
        passes += starts * [finetuning(p, n, k) for k in budgets(p, run)]
    return passes


def count_downsampling(p: SimpleNamespace, run: PlannedRun) -> list[Passes]:
    """06_downsampling: at each size pretrained, then embedded, as a floor also untrained."""
    passes = []
    for size in map(int, as_list(p.sizes)):
        passes.append(pretraining(p, run.images, p.epochs, size))
        passes.append(embedding(run.images, 1 + p.floors, size))
    return passes


def count_features(p: SimpleNamespace, run: PlannedRun) -> list[Passes]:
    """08_features: a sample of a split as it is, and two views of it."""
    shown = min(run.images[p.view], p.max_points)
    return [Passes(embedded=3 * shown * with_floor(p))]


def count_selection(p: SimpleNamespace, run: PlannedRun) -> list[Passes]:
    """11_selection: as 03_finetune, the head alone too, and both splits embedded at each check."""
    n, head = run.images, SimpleNamespace(**{**vars(p), "train_augment": "none"})
    passes = []
    for k in budgets(p, run):
        passes += [finetuning(p, n, k)] * with_floor(p)
        passes += [finetuning(head, n, k)] * (p.init != "scratch")
    checks = len(as_list(p.lrs)) * math.ceil(p.epochs / p.val_every)
    # A finetuning embeds both splits once, at its end; here they are at each check, and not then.
    more = (checks - 1) * (n["val"] + n["test"])
    return [*passes, Passes(embedded=len(passes) * more)]


COUNTERS: dict[str, Callable[[SimpleNamespace, PlannedRun], list[Passes]]] = {
    "00_data": count_data,
    "01_pretrain": count_pretrain,
    "02_probe": count_probe,
    "03_finetune": count_finetune,
    "04_imbalance": count_imbalance,
    "05_transfer": count_transfer,
    "06_downsampling": count_downsampling,
    "07_retrieval": count_probe,  # the same features
    "08_features": count_features,
    "09_report": count_data,
    "11_selection": count_selection,
    "10_retinopathy": count_probe,  # the same features; those of `queries` are not counted
}


def count_passes(run: PlannedRun) -> list[Passes]:
    """The passes of a run; ParameterError for a notebook without a formula here."""
    if run.notebook not in COUNTERS:
        raise ParameterError(f"{run.notebook} has no formula in lib/batch/passes.py")
    return COUNTERS[run.notebook](SimpleNamespace(**run.params), run)


def count_work(run: PlannedRun) -> float:
    """How much computing a run is, in images trained at 28 px; embedding one is a third of that.

    0 for a notebook without a formula.
    """
    if run.notebook not in COUNTERS:
        return 0.0
    return sum(
        (part.trained + part.embedded / 3) * ((part.size or run.params["size"]) / 28) ** 2
        for part in count_passes(run)
    )
