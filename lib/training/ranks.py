"""Several processes training one encoder: who does which rows of a batch, and what they exchange.

Each process (rank) holds a copy of the model and does a part of every batch. What a loss or a
batch normalisation needs of the other parts is exchanged, with gradients, so that the ranks
together compute what one process computes on the whole batch, up to rounding.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from lib.training.objective import at_least_float32

T = TypeVar("T")


@dataclass(frozen=True)
class Crew:
    """How many processes train together: one a device, `devices` on each of `num_nodes` nodes."""

    devices: int = 1
    num_nodes: int = 1

    @property
    def size(self) -> int:
        """Processes in all."""
        return self.devices * self.num_nodes

    @property
    def local_rank(self) -> int:
        """Which of its machine's processes this is, from 0, as `lib.training.launch` tells each."""
        return int(os.environ["LOCAL_RANK"]) if self.size > 1 else 0

    @property
    def rank(self) -> int:
        """Which of all processes this is; 0 writes the files."""
        return int(os.environ["NODE_RANK"]) * self.devices + self.local_rank if self.size > 1 else 0

    def device(self, device: str) -> str:
        """The device of this process, where `cuda` stands for all of a machine's."""
        return f"cuda:{self.local_rank}" if self.size > 1 and device == "cuda" else device


ALONE = Crew()


def world_size() -> int:
    """Processes that train together; 1 where none have joined."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def own_rows(n: int) -> slice:
    """The rows of a batch of n that this process does; parts differ by one row at most."""
    return rows_of(n, world_size(), dist.get_rank() if world_size() > 1 else 0)


def rows_of(n: int, world: int, rank: int) -> slice:
    """The rows of a batch of n that one of `world` processes does."""
    each, more = divmod(n, world)
    start = rank * each + min(rank, more)
    return slice(start, start + each + (rank < more))


def from_first(value: T, several: bool) -> T:
    """What the first process has, on all of them; `several`: whether there are others to tell."""
    if several:
        shared = [value]
        dist.broadcast_object_list(shared, 0)
        return shared[0]
    return value


def gather_rows(part: Tensor, n: int) -> Tensor:
    """The whole batch [n, …], of which every process holds its `own_rows` in `part`.

    Each process then computes the same loss L on all of it, and back-propagates through its own
    rows. That gradient is multiplied by the number of processes, since
    `DistributedDataParallel` takes the mean of the processes' gradients and their sum is wanted:
    dL/dθ = Σ_ranks (∂L/∂z_rank) (∂z_rank/∂θ).
    """
    if world_size() == 1:
        return part
    result: Tensor = _GatherRows.apply(part, n)
    return result


class _GatherRows(torch.autograd.Function):
    """`gather_rows`. Its gradient needs no exchange: each process has that of all rows."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, n: int) -> Tensor:
        world, own = dist.get_world_size(), own_rows(n)
        if len(part) != own.stop - own.start:
            raise ValueError(f"rows {own.start} to {own.stop} of {n} expected, found {len(part)}")
        ctx.own, ctx.world = own, world
        # Equal sizes for the exchange: not every backend takes others.
        padded = part.new_zeros(-(-n // world), *part.shape[1:])
        padded[: len(part)] = part
        parts = [torch.empty_like(padded) for _ in range(world)]
        dist.all_gather(parts, padded)
        rows = (rows_of(n, world, rank) for rank in range(world))
        return torch.cat([p[: r.stop - r.start] for p, r in zip(parts, rows, strict=True)])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient[ctx.own] * ctx.world, None


class SharedBatchNorm(_BatchNorm):
    """Batch normalisation by the statistics of all processes' rows, in training.

    What torch.nn.SyncBatchNorm is on a GPU; that one refuses tensors on the CPU. Same state dict.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x float [B, C] or [B, C, H, W]; in eval mode as torch's own does."""
        if not self.training or world_size() == 1:
            return super().forward(x)
        y, mean, var, count = _SharedBatchNorm.apply(x, self.weight, self.bias, self.eps)
        if self.running_mean is not None and self.running_var is not None:
            assert self.momentum is not None and self.num_batches_tracked is not None
            with torch.no_grad():
                self.num_batches_tracked += 1
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(var * (count / (count - 1)), self.momentum)
        result: Tensor = y
        return result

    @staticmethod
    def replace_in(module: nn.Module) -> None:
        """Turn torch's own inside `module`, 1d and 2d, into this class, weights and all."""
        for child in module.modules():
            if type(child) in SHARED:
                child.__class__ = SHARED[type(child)]


class SharedBatchNorm1d(SharedBatchNorm, nn.BatchNorm1d):
    """`SharedBatchNorm` of features [B, C], as in a projection head."""


class SharedBatchNorm2d(SharedBatchNorm, nn.BatchNorm2d):
    """`SharedBatchNorm` of maps [B, C, H, W]."""


SHARED: dict[type, type] = {
    nn.BatchNorm1d: SharedBatchNorm1d,
    nn.BatchNorm2d: SharedBatchNorm2d,
}


class _SharedBatchNorm(torch.autograd.Function):
    """Ioffe & Szegedy 2015, algorithm 1, over the rows of all processes.

    Statistics and gradients are computed in float32, or in float64 where x is.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        C, rows = x.shape[1], all_but_channels(x)
        var, mean = torch.var_mean(at_least_float32(x), dim=rows, correction=0)
        mine = torch.cat([mean, var, mean.new_tensor([x.numel() // C])])
        every = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
        dist.all_gather(every, mine)
        means, variances, counts = torch.split(torch.stack(every), [C, C, 1], dim=1)
        count = counts.sum()
        mean = (counts * means).sum(0) / count
        var = (counts * (variances + (means - mean).square())).sum(0) / count
        ctx.save_for_backward(x, weight, mean, (var + eps).rsqrt(), count)
        ctx.mark_non_differentiable(mean, var, count)
        return F.batch_norm(x, mean, var, weight, bias, False, 0.0, eps), mean, var, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight, mean, scale, count = ctx.saved_tensors
        dy, rows = at_least_float32(dy), all_but_channels(x)
        along = (-1, *[1] * (x.ndim - 2))  # a number of each channel, [C] or [C, 1, 1]
        centred = (at_least_float32(x) - mean.view(along)) * scale.view(along)
        mine = torch.stack([dy.sum(rows), (dy * centred).sum(rows)])
        d_bias, d_weight = mine.clone().to(weight.dtype)
        # Every row of every process has moved the mean and the variance.
        dist.all_reduce(mine)
        by_mean, by_var = (part.view(along) for part in mine / count)
        dx = (dy - by_mean - centred * by_var) * (weight * scale).view(along)
        return dx.to(x.dtype), d_weight, d_bias, None


def all_but_channels(x: Tensor) -> tuple[int, ...]:
    """The dimensions of x [B, C] or [B, C, H, W] that a channel's statistic is taken over."""
    return (0, *range(2, x.ndim))
