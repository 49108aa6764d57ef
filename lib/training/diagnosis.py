"""A training that has broken down is stopped, with what probably broke it."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from lib.data.store import ImageStore
from lib.models.embed import embed_images
from lib.training.monitor import LOOKED_AT

# Batches between two looks at the loss: each look waits for the device.
EVERY = 50
# Features whose directions differ less than this (1 − mean cosine) are one and the same vector in
# float32. An untrained ResNet, whose features are much alike, has a thousand times as much.
COLLAPSED = 1e-6
# Seconds between two looks at the features: an epoch of a few batches is shorter than a look.
LOOKS = 2.0
SAMPLE = 500  # images searched for copies and single colours
# Beyond these a training is unusual: temperatures and learning rates of SimCLR, SupCon and others.
LOW_TEMPERATURE = 0.03
HIGH_LR = {"adamw": 0.01, "sgd": 1.0}


class TrainingError(RuntimeError):
    """A training has broken down; the message says how, and what probably broke it."""


class Diagnosis(Callback):
    """Stops a training whose loss is no number any more, or whose encoder says the same to all.

    Looks at the loss of every batch, but waits for it only now and then, and at features after the
    first epoch, the last, and others that end when a while has passed. Draws no random numbers.
    """

    def __init__(self) -> None:
        self.broken: Tensor | None = None
        self.unseen = 0
        self.looked = -math.inf

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note whether the losses, of one batch or several, are finite."""
        loss = outputs["loss"] if isinstance(outputs, dict) else outputs
        if not isinstance(loss, Tensor):
            return
        bad = ~torch.isfinite(loss.detach()).all()
        self.broken = bad if self.broken is None else self.broken | bad
        self.unseen += loss.numel()
        if self.unseen >= EVERY:
            self.check_loss(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Look at the epoch's losses, and at features where the training is contrastive."""
        self.check_loss(trainer, pl_module)
        if not hasattr(pl_module.recipe, "temperature"):
            return
        last = trainer.current_epoch + 1 == trainer.max_epochs
        # All ranks or none: one that stops leaves the others waiting for it; clocks differ.
        if not trainer.strategy.broadcast(last or time.monotonic() - self.looked >= LOOKS):
            return
        self.looked = time.monotonic()
        if has_collapsed(pl_module.encoder, pl_module.store):
            raise TrainingError(
                f"the features had collapsed by epoch {trainer.current_epoch + 1}: all images "
                f"have the same. {causes(pl_module)}"
            )

    def check_loss(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Raise TrainingError where a loss was not finite."""
        self.unseen = 0
        if self.broken is not None and bool(self.broken):
            raise TrainingError(
                f"the loss became NaN or infinite in epoch {trainer.current_epoch + 1}. "
                f"{causes(pl_module)}"
            )


def has_collapsed(encoder: torch.nn.Module, store: ImageStore) -> bool:
    """Whether an encoder gives a sample of different images one and the same feature vector.

    False for fewer than 8 images, which may be alike by chance.
    """
    if len(store) < 8:
        return False
    device = str(next(encoder.parameters()).device)
    h = embed_images(encoder, sample(store, LOOKED_AT), device).astype(np.float64)
    if not np.isfinite(h).all():
        return True
    length = np.linalg.norm(h, axis=1, keepdims=True)
    if not length.all():
        return not length.any()
    return bool(1 - (h / length).mean(axis=0) @ (h / length).mean(axis=0) < COLLAPSED)


def sample(store: ImageStore, most: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Some images of a store, evenly taken: uint8 [n, H, W, C]."""
    rows = np.unique(np.linspace(0, len(store) - 1, min(most, len(store))).astype(np.int64))
    return np.asarray(store.images[rows])


def causes(module: Any) -> str:
    """What of a training's parameters and images is known to break trainings, in sentences."""
    recipe, found = module.recipe, []
    temperature = getattr(recipe, "temperature", None)
    lr = float(getattr(recipe, "lr", 0.0) or getattr(module, "lr", 0.0))
    if temperature is not None and temperature < LOW_TEMPERATURE:
        found.append(
            f"temperature {temperature:g} is low (0.05 to 0.5 is usual): the gradient grows with "
            "its inverse"
        )
    if lr > HIGH_LR[recipe.optimizer]:
        usual = HIGH_LR[recipe.optimizer]
        found.append(f"lr {lr:g} is high for {recipe.optimizer} (at most {usual:g} is usual)")
    if recipe.gradient_clip == 0:
        found.append("gradient_clip 0 lets a single batch take any step")
    images = sample(module.store, SAMPLE)
    n = len(images)
    copies = n - len(np.unique(images.reshape(n, -1), axis=0))
    if copies > n // 10:
        found.append(
            f"{copies} of {n} images looked at are copies of another: a copy counts as a negative"
        )
    plain = int((images.reshape(n, -1, images.shape[-1]).std(axis=1) == 0).all(axis=1).sum())
    if plain > n // 10:
        found.append(f"{plain} of {n} images looked at have a single colour")
    if found:
        return f"Probably: {'; '.join(found)}."
    tried = f"lr {lr:g}" + (f", temperature {temperature:g}" if temperature is not None else "")
    return f"None of the usual causes stands out ({tried}); try a lower lr" + (
        " or a higher temperature." if temperature is not None else "."
    )
