"""The optimizer and the learning rate over a run: warm-up, then a half cosine down to zero."""

from __future__ import annotations

import math

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


def build_optimizer(module: nn.Module, optimizer: str, lr: float, weight_decay: float) -> Optimizer:
    """AdamW, or SGD with Nesterov momentum 0.9; no weight decay on biases and normalisation.

    Decay pulls weights towards zero, which for a BatchNorm scale or a bias is no simplification.
    """
    trained = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=lr)
    if optimizer == "sgd":
        return torch.optim.SGD(groups, lr=lr, momentum=0.9, nesterov=True)
    raise ValueError(f"optimizer: expected adamw or sgd, found {optimizer!r}")
