"""Numbers on their way to the device that computes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def sent_once(value: Tensor) -> Callable[[Tensor], Tensor]:
    """A function that gives `value` the device and type of another tensor, moving it there once.

    A training step that is recorded (`lib.models.graphs`) must copy nothing from the host.
    """
    there: dict[tuple[torch.device, torch.dtype], Tensor] = {}

    def like(other: Tensor) -> Tensor:
        key = other.device, other.dtype
        if key not in there:
            there[key] = value.to(other)
        return there[key]

    return like


def send(value: Tensor, device: torch.device) -> Tensor:
    """`value` on a device, from the CPU to a GPU without waiting for what the GPU has yet to do.

    A copy from ordinary memory waits; one from pinned memory takes its turn in the GPU's queue.
    """
    if device.type == "cuda" and value.device.type == "cpu":
        return value.pin_memory().to(device, non_blocking=True)
    return value.to(device)
