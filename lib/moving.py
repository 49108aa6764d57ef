"""Numbers on their way to the device that computes."""

from __future__ import annotations

import torch
from torch import Tensor


def send(value: Tensor, device: torch.device) -> Tensor:
    """`value` on a device, from the CPU to a GPU without waiting for what the GPU has yet to do.

    A copy from ordinary memory waits; one from pinned memory takes its turn in the GPU's queue.
    """
    if device.type == "cuda" and value.device.type == "cpu":
        return value.pin_memory().to(device, non_blocking=True)
    return value.to(device)
