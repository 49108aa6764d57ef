"""The optimizer, and the learning rate over a run."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer


def cosine_with_warmup(step: int, warmup: int, total: int) -> float:
    """Share of the peak learning rate at `step` of `total`: linear rise, then half a cosine.

    Loshchilov & Hutter 2017 (SGDR) without restarts, after the linear warm-up of Goyal et al. 2017.
    The first step already learns a little, the last one still does.
    """
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, total - warmup)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def learning_rate_share(schedule: str, step: int, warmup: int, total: int) -> float:
    """Share of the peak learning rate at `step`: `cosine` as above, or `constant` after warm-up."""
    if schedule == "constant":
        return (step + 1) / warmup if step < warmup else 1.0
    if schedule == "cosine":
        return cosine_with_warmup(step, warmup, total)
    raise ValueError(f"schedule: expected cosine or constant, found {schedule!r}")


def build_optimizer(module: nn.Module, optimizer: str, lr: float, weight_decay: float) -> Optimizer:
    """AdamW, or SGD with Nesterov momentum 0.9; no weight decay on biases and normalisation."""
    trained = [p for p in module.parameters() if p.requires_grad]
    return optimizer_of(without_decay(trained, weight_decay), optimizer, lr)


def without_decay(parameters: list[nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Two groups for an optimizer: weights, which decay, and biases and normalisation.

    Decay pulls weights towards zero, which for a BatchNorm scale or a bias is no simplification.
    """
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def optimizer_of(groups: list[dict[str, Any]], optimizer: str, lr: float) -> Optimizer:
    """The optimizer of that name; lr: of groups that bring none of their own.

    Fused: one pass over the weights for a step, a third of AdamW's time on a CPU.
    """
    if optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=lr, fused=True)
    if optimizer == "sgd":
        return torch.optim.SGD(groups, lr=lr, momentum=0.9, nesterov=True, fused=True)
    raise ValueError(f"optimizer: expected adamw or sgd, found {optimizer!r}")
