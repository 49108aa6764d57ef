"""What every augmentation shares: parameters by sample, seeded draws, work on a subset."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lib.moving import send


def check_images(x: Tensor) -> tuple[int, int, int, int]:
    """Return `B, C, H, W`; ValueError unless `x` is a batch of grey or colour float images."""
    if x.ndim != 4 or x.shape[1] not in (1, 3):
        raise ValueError(
            f"images: found shape {tuple(x.shape)}; augmentations take [B, C, H, W] with C 1 or 3"
        )
    if not x.is_floating_point():
        raise ValueError(f"images: found {x.dtype}; convert to float32 and divide by 255 first")
    B, C, H, W = x.shape
    return B, C, H, W


def per_sample(value: Tensor, x: Tensor, ndim: int = 4) -> Tensor:
    """Shape a parameter [B] as [B, 1, 1, …] on the device and in the precision of the images."""
    if value.shape != x.shape[:1]:
        raise ValueError(
            f"parameter: found shape {tuple(value.shape)}; one value a sample is [{x.shape[0]}]"
        )
    return send(value.to(x.dtype), x.device).view(-1, *[1] * (ndim - 1))


def uniform(
    generator: torch.Generator, shape: tuple[int, ...], low: float = 0.0, high: float = 1.0
) -> Tensor:
    """Draw float32 [shape] uniformly from [low, high) on the CPU.

    The draw is on the CPU whatever the images' device, so that one seed gives the same views
    everywhere; a generator of another device is refused with ValueError.
    """
    if generator.device.type != "cpu":
        raise ValueError(
            f"generator: found one on {generator.device}; pass a CPU torch.Generator, "
            "which gives the same views on every device"
        )
    draw = torch.rand(shape, generator=generator)
    return draw if (low, high) == (0.0, 1.0) else draw.mul_(high - low).add_(low)


def touched(generator: torch.Generator, n: int, p: float) -> Tensor:
    """Draw which of `n` samples an op with probability `p` touches: bool [n] on the CPU."""
    return uniform(generator, (n,)) < p


def spread(values: Tensor, mask: Tensor) -> Tensor:
    """Values [n', …] of the samples in `mask` bool [n] as [n, …], with 0 for the others."""
    out = values.new_zeros(len(mask), *values.shape[1:])
    out[mask] = values
    return out


def on_subset(
    x: Tensor, mask: Tensor, function: Callable[[Tensor], Tensor], own: bool = False
) -> Tensor:
    """Apply `function` to the samples `x[mask]` alone and return the whole batch.

    mask: bool [B] on the CPU: the host then knows how many samples there are without waiting for
    an accelerator. own: `x` may be overwritten.
    """
    index = mask.nonzero().flatten()
    if len(index) == 0:
        return x
    index = send(index, x.device)
    part = function(x.index_select(0, index))
    return x.index_copy_(0, index, part) if own else x.index_copy(0, index, part)


def where_touched(x: Tensor, mask: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """What `on_subset` returns, by one sequence of operations whatever `mask` says.

    mask: bool [B] on the device of `x`, which nobody reads: `function` works on all samples, and
    where the mask is False its result is dropped.
    """
    return torch.where(mask.view(-1, 1, 1, 1), function(x), x)
