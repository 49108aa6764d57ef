"""What a classifier is trained on: the loss of its logits, and which images it sees how often."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from lib.data.base import Task

Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Objective:
    """How a classifier is trained.

    loss: logits float [B, K] and labels (int64 [B], or 0/1 [B, K] for multi-label tasks) → scalar.
    sample_weights: float [n], how often each training image is drawn, relative to the others; None
    where each is seen once an epoch. offset: float [K], taken off the logits before prediction;
    None where there is none.
    """

    name: str
    loss: Loss
    sample_weights: Tensor | None = None
    offset: Tensor | None = None


def plain_objective(task: Task) -> Objective:
    """Cross-entropy; for multi-label tasks the mean binary cross-entropy over labels."""
    return Objective("none", binary_cross_entropy if task == "multi-label" else cross_entropy)


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Mean cross-entropy in nats; in float32 or better also under autocast."""
    return F.cross_entropy(at_least_float32(logits), y)


def binary_cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Mean binary cross-entropy in nats over images and labels; in float32 also under autocast."""
    return F.binary_cross_entropy_with_logits(logits.float(), y.float())


def at_least_float32(logits: Tensor) -> Tensor:
    """Logits as float32, whatever autocast made of them; float64 stays."""
    return logits if logits.dtype == torch.float64 else logits.float()


def probabilities(logits: Tensor, task: Task, offset: Tensor | None = None) -> Tensor:
    """Probabilities float32 [N, K] of logits [N, K]; rows sum to 1 but for multi-label tasks."""
    shifted = logits.float() if offset is None else logits.float() - offset.to(logits.device)
    return shifted.sigmoid() if task == "multi-label" else shifted.softmax(dim=1)
