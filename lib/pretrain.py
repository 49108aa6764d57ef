"""Contrastive pretraining from data to encoder, and the files it leaves."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from lib.augment import make_augment
from lib.contrastive import ContrastiveModule, Recipe, Row
from lib.data.base import DataError, DataSet
from lib.data.budget import choose_labels
from lib.encoder import Encoder, freeze_stages, unfreeze
from lib.files import write_text
from lib.identity import commit, slug
from lib.monitor import KnnMonitor
from lib.params import PARAMETERS
from lib.run import Run
from lib.store import ImageStore
from lib.weights import load_init, save_encoder


@dataclass
class Pretraining:
    """What pretraining leaves. encoder: of the selected epoch, in eval mode, on the CPU.

    history: a row for each epoch; selected: the epoch kept (1 is the first); auroc_before,
    auroc: validation kNN AUROC of the untrained and of the selected encoder, auroc_error its
    standard error; None without labels. chance: the loss of a batch in which every view is like
    every other.
    """

    encoder: Encoder
    history: list[Row]
    selected: int
    auroc_before: float | None
    auroc: float | None
    seconds: float
    images: int = field(default=0)
    auroc_error: float | None = None
    chance: float | None = None

    @property
    def images_per_second(self) -> float:
        """Training images per second, two views each, monitor included."""
        return self.images / max(self.seconds, 1e-9)


def pretrain(
    data: DataSet,
    recipe: Recipe,
    folder: Path,
    *,
    device: str = "cpu",
    precision: str = "fp32",
    show_progress: bool = False,
    labelled: npt.NDArray[np.int64] | None = None,
) -> Pretraining:
    """Pretrain an encoder on the training images of `data`.

    SimCLR: labels serve the kNN monitor only. SupCon: those of the images at `labelled` (all
    unless given) make positives; the other images have only their own second view.

    folder: gets `logs/` (CSV and TensorBoard), `checkpoints/last.ckpt`, from which an interrupted
    run of the same folder goes on, and `progress`, a line a runner may show. Raises DataError
    with fewer than two training images.
    """
    from lib.training import fit

    train = data.splits["train"]
    if len(train) < 2:
        raise DataError(f"{data.name}: {len(train)} training image(s); pretraining needs two")
    # A file's encoder keeps its channels: images of another kind are adapted on their way in.
    channels = data.channels if recipe.init in ("scratch", "imagenet") else None
    encoder, _ = load_init(recipe.init, recipe.encoder, recipe.stem, channels, seed=recipe.seed)
    encoder = freeze_stages(encoder.to(memory_format=torch.channels_last), recipe.freeze_stages)
    scale = (recipe.crop_scale, 1.0) if recipe.crop_scale else None
    augment = make_augment(recipe.augment, data.size, data.channels, crop_scale=scale)
    monitor = KnnMonitor.of(data, recipe.knn_k, device, precision, recipe.seed)
    store = ImageStore(train.images, device)
    y = visible_labels(data, labelled) if recipe.method == "supcon" else None
    module = ContrastiveModule(encoder, augment, store, recipe, monitor, precision, y)
    fit(
        module,
        folder,
        epochs=recipe.epochs,
        gradient_clip=recipe.gradient_clip,
        device=device,
        show_progress=show_progress,
        what="Pretraining",
    )
    module.encoder.load_state_dict(module.best)
    return Pretraining(
        unfreeze(module.encoder).cpu().eval(),
        module.history,
        module.selected,
        module.auroc_before,
        module.auroc if monitor is not None else None,
        sum(row["seconds"] for row in module.history),
        len(train) * len(module.history),
        monitor.standard_error(module.auroc) if monitor is not None else None,
        math.log(2 * len(train) / len(module.train_dataloader()) - 1),
    )


def supcon_labels(data: DataSet, params: SimpleNamespace) -> npt.NDArray[np.int64] | None:
    """Training images whose labels SupCon may see, by `seen_labels`; None for SimCLR.

    The same images that a probe with this budget and seed is fitted on. Raises DataError for
    several budgets: an encoder has seen one.
    """
    if params.method != "supcon":
        return None
    seen = params.seen_labels
    if "," in seen:
        raise DataError(f"seen_labels: {seen}; pretraining takes one budget, or all")
    count: int | Literal["all"] = "all" if seen == "all" else int(seen)
    chosen = choose_labels(data.splits["train"].y, count, seed=params.seed, classes=data.classes)
    return chosen.indices


def visible_labels(data: DataSet, labelled: npt.NDArray[np.int64] | None) -> torch.Tensor:
    """Training labels int64 [N] or [N, K] that SupCon may see; the others are −1 (or all 0).

    Raises DataError for a data set without labels, or where no two labelled images share one:
    every batch would be without a pair, and SupCon nothing but SimCLR.
    """
    y = data.splits["train"].y
    if y is None:
        raise DataError(f"{data.name}: method: supcon needs labels; without any, use simclr")
    labels = y.astype(np.int64)
    if labelled is not None:
        hidden = np.setdiff1d(np.arange(len(labels)), labelled)
        labels[hidden] = 0 if labels.ndim == 2 else -1
    known = labels[labels >= 0] if labels.ndim == 1 else labels
    counts = np.bincount(known) if labels.ndim == 1 else known.sum(axis=0)
    if counts.max(initial=0) < 2:
        raise DataError(
            f"{data.name}: method: supcon: no two labelled training images share a label; "
            "give more labels, or use simclr"
        )
    return torch.from_numpy(labels)


def save_pretraining(result: Pretraining, data: DataSet, run: Run) -> None:
    """Write encoder.safetensors and history.csv into the run's folder."""
    save_encoder(
        run.folder / "encoder.safetensors",
        result.encoder,
        encoder_header(data, run, run.params.method, epoch=result.selected),
    )
    columns = list(dict.fromkeys(key for row in result.history for key in row))
    lines = [",".join(columns)]
    lines += [
        ",".join(f"{row[c]:.7g}" if c in row else "" for c in columns) for row in result.history
    ]
    write_text(run.folder / "history.csv", "\n".join(lines) + "\n")


def encoder_header(data: DataSet, run: Run, method: str, **more: Any) -> dict[str, Any]:
    """What the file of an encoder says of its making. method: how it was trained, last of all."""
    p = run.params
    used = {k: v for k, v in vars(p).items() if PARAMETERS[k].in_hash}
    used |= {"init": run.origin.identity, "dataset": slug(data.name), "run": run.name}
    used.setdefault("augment", run.origin.augment)
    return {
        "size": data.size,
        "dataset": slug(data.name),
        "data": data.fingerprint,
        "method": method,
        "trail": list(run.origin.trained_on(p.dataset, method, "", run.name).trail),
        "parameters": used,
        "commit": commit(),
        **more,
    }


def pretraining_rows(result: Pretraining, run: Run) -> list[dict[str, Any]]:
    """Rows of summary.csv: the loss, the monitor, the epoch kept, the speed."""
    p = run.params
    made = run.origin.trained_on(p.dataset, p.method, p.augment, run.name, p.variant)
    known = {
        "method": made.method_on(p.dataset),
        "encoder": p.encoder,
        "protocol": "pretrain",
        "labels": p.seen_labels if p.method == "supcon" else "",
    }
    values: dict[str, tuple[str, float | None]] = {
        "loss": ("train", result.history[-1]["loss"]),
        "epoch_selected": ("val", float(result.selected)),
        "knn_auroc_untrained": ("val", result.auroc_before),
        "knn_auroc": ("val", result.auroc),
        "images_per_second": ("train", result.images_per_second),
        "seconds": ("train", result.seconds),
    }
    return [
        run.row(metric, value, split=split, **known)
        for metric, (split, value) in values.items()
        if value is not None
    ]
