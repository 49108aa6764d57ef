"""The contrastive losses NT-Xent and SupCon, and how well the views find each other.

All compare every view with every other. Where that matrix would be large, it is made and forgotten
a few rows at a time, once in the forward and once in the backward pass, so that memory grows with
the batch and not with its square.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

# Similarities held at a time: the whole matrix of up to 4,096 views, 64 MiB in float32.
AT_A_TIME = 2**24


class ViewRanks(NamedTuple):
    """How the other view of an image ranks among all other views of a batch; scalar tensors.

    top1, top5: share of anchors whose positive is first, or among the first five; in [0, 1].
    mean_rank: mean place of the positive; 1 is best, N is chance, 2N − 1 is worst.
    """

    top1: Tensor
    top5: Tensor
    mean_rank: Tensor


def nt_xent(z1: Tensor, z2: Tensor, temperature: float, *, block: int | None = None) -> Tensor:
    """Normalised temperature-scaled cross entropy of two views of N images.

    Chen et al. 2020, A Simple Framework for Contrastive Learning, equation 1, averaged over all
    2N anchors: the other view of the anchor's image is its positive, the 2N − 2 views of the other
    images are its negatives.

    z1, z2: float [N, D], projections of view 1 and view 2 in the same order, not yet normalised.
    block: rows of the similarity matrix at a time; None: all, or as many as fit AT_A_TIME.
    Returns a scalar ≥ 0, in float32 also under autocast (bf16 would round similarities to steps
    of 0.004, which the division by the temperature magnifies), or in float64 when z1 is float64.
    A batch of one image has no negatives: its loss and gradient are 0, so a last odd batch is safe.
    Raises ValueError for shapes that differ, an empty batch, or a temperature that is not positive.
    """
    _check(z1, z2, temperature)
    N = len(z1)
    z = _normalized(torch.cat([z1, z2]))
    if _rows(2 * N, block) < 2 * N:
        positive = (z * z.roll(N, 0)).sum(dim=1) / temperature
        return (_log_sum_exp(z, temperature, _rows(2 * N, block)) - positive).mean()
    other = torch.arange(2 * N, device=z1.device).roll(N)
    return F.cross_entropy(_similarity(z) / temperature, other)


def sup_con(
    z1: Tensor, z2: Tensor | None, y: Tensor, temperature: float, *, block: int | None = None
) -> Tensor:
    """Supervised contrastive loss: every view of the anchor's class is its positive.

    Khosla et al. 2020, Supervised Contrastive Learning, equation 2 (L_out: the mean over positives
    stands outside the log), averaged over the anchors that have a positive. The paper's code also
    multiplies by temperature / base_temperature; here temperature does one thing.

    z1, z2: float [N, D] as in `nt_xent`; z2 may be None for batches of one view per image.
    y: integers [N], or [N, K] of zeros and ones for multi-label tasks, where two images are
    positives of each other when they share at least one label. Two views of one image always are,
    also when it carries no label at all; so labels that are all different give `nt_xent`.
    Anchors without a positive (possible with one view only) are left out of the mean, and a batch
    without any pair gives 0 with a gradient of 0. block, precision and errors as in `nt_xent`.
    """
    _check(z1, z1 if z2 is None else z2, temperature)
    N, views = len(z1), 1 if z2 is None else 2
    if y.ndim not in {1, 2} or len(y) != N:
        raise ValueError(f"y: expected [{N}] or [{N}, K], one row per image; found {[*y.shape]}")
    z = _normalized(z1 if z2 is None else torch.cat([z1, z2]))
    y = y.to(z.device)
    M = len(z)
    if _rows(M, block) < M:
        count: Tensor
        total, count = _PositiveSum.apply(z, y, _rows(M, block))
        mean = (z * total).sum(dim=1) / count.clamp(min=1) / temperature
        # an anchor without a positive may have no negative either, and then −inf here
        loss = torch.where(count > 0, _log_sum_exp(z, temperature, _rows(M, block)) - mean, 0)
    else:
        log_p = F.log_softmax(_similarity(z) / temperature, dim=1)
        positive = _positives(y, 0, M, views)
        count = positive.sum(dim=1)
        # masked_fill, not a product: the diagonal of log_p is −inf, and 0 × −inf is NaN
        loss = -log_p.masked_fill(~positive, 0).sum(dim=1) / count.clamp(min=1)
    return loss.sum() / (count > 0).sum().clamp(min=1)


@torch.no_grad()
def contrastive_accuracy(z1: Tensor, z2: Tensor) -> ViewRanks:
    """Where the other view of each image ranks among all 2N − 1 other views, by cosine similarity.

    z1, z2: float [N, D] as in `nt_xent`, with its errors. Ranks come from comparisons, without a
    sort. Ties count half, so that a collapsed encoder (all z equal) shows rank N, not 1.
    """
    _check(z1, z2, temperature=1)
    N = len(z1)
    z = _normalized(torch.cat([z1, z2]))
    ranks = []
    for start, stop in _blocks(2 * N, _rows(2 * N, None)):
        similarity = _similarity(z, start, stop)
        other = (torch.arange(start, stop, device=z.device) + N) % (2 * N)
        found = similarity.gather(1, other[:, None])
        better = (similarity > found).sum(dim=1)
        tied = (similarity == found).sum(dim=1) - 1  # the positive ties with itself
        ranks.append(1 + better + tied / 2)
    rank = torch.cat(ranks)
    return ViewRanks((rank <= 1).float().mean(), (rank <= 5).float().mean(), rank.mean())


def _check(z1: Tensor, z2: Tensor, temperature: float) -> None:
    if z1.ndim != 2 or z1.shape != z2.shape or len(z1) == 0:
        found = f"{[*z1.shape]} and {[*z2.shape]}"
        raise ValueError(f"z1, z2: expected the same shape [N, D] with N ≥ 1; found {found}")
    if not temperature > 0:
        raise ValueError(f"temperature: expected a number above 0; found {temperature}")


def _rows(M: int, block: int | None) -> int:
    """Rows of the M × M similarities to hold at a time."""
    if block is not None and block < 1:
        raise ValueError(f"block: expected at least 1; found {block}")
    return min(M, max(1, AT_A_TIME // M) if block is None else block)


def _blocks(M: int, rows: int) -> Iterator[tuple[int, int]]:
    """First row and end of each block of rows."""
    return ((start, min(start + rows, M)) for start in range(0, M, rows))


def _normalized(z: Tensor) -> Tensor:
    """Rows of length 1, float32 also under autocast, or float64."""
    with torch.autocast(z.device.type, enabled=False):
        return F.normalize(z if z.dtype == torch.float64 else z.float(), dim=1)


def _similarity(z: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
    """Similarity of the rows from start to stop to all, [stop − start, M]; −inf to themselves."""
    with torch.autocast(z.device.type, enabled=False):
        similarity = z[start:stop] @ z.T
    row = torch.arange(start, start + len(similarity), device=z.device)[:, None]
    return similarity.masked_fill(row == torch.arange(len(z), device=z.device), -torch.inf)


def _positives(y: Tensor, start: int, stop: int, views: int) -> Tensor:
    """Which views are positives of the views from start to stop: bool [stop − start, views · N].

    y: [N] or [N, K] as in `sup_con`. Symmetric, when all rows are taken.
    """
    N = len(y)
    anchor = torch.arange(start, stop, device=y.device)[:, None]
    mine = y[anchor[:, 0] % N]
    shared = mine[:, None] == y[None] if y.ndim == 1 else (mine.float() @ y.float().T) > 0
    image = torch.arange(N, device=y.device)
    other = torch.arange(views * N, device=y.device)
    return (shared | (anchor % N == image)).repeat(1, views) & (anchor != other)


def _log_sum_exp(z: Tensor, temperature: float, rows: int) -> Tensor:
    """log Σ exp(z_i · z_j / temperature) over all j but i: [M, D] → [M], in blocks of rows."""
    result: Tensor = _LogSumExp.apply(z, temperature, rows)
    return result


class _LogSumExp(torch.autograd.Function):
    """`_log_sum_exp` with its gradient, for which the similarities are made once more."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, temperature: float, rows: int) -> Tensor:
        parts = [
            torch.logsumexp(_similarity(z, start, stop).div_(temperature), dim=1)
            for start, stop in _blocks(len(z), rows)
        ]
        result = torch.cat(parts)
        ctx.save_for_backward(z, result)
        ctx.temperature, ctx.rows = temperature, rows
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        z, total = ctx.saved_tensors
        result = torch.empty_like(z)
        for start, stop in _blocks(len(z), ctx.rows):
            scaled = _similarity(z, start, stop).div_(ctx.temperature)
            # z_i is in its own sum and in that of every j, where it has the same similarity.
            weight = (scaled - total[start:stop, None]).exp_().mul_(gradient[start:stop, None])
            weight.add_(scaled.sub_(total).exp_().mul_(gradient))
            with torch.autocast(z.device.type, enabled=False):
                torch.matmul(weight, z, out=result[start:stop])
        return result / ctx.temperature, None, None


class _PositiveSum(torch.autograd.Function):
    """Sum and number of each anchor's positives: [M, D], y → [M, D], [M], in blocks of rows."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, y: Tensor, rows: int) -> tuple[Tensor, Tensor]:
        total, count = _sum_positives(z, y, rows)
        ctx.save_for_backward(y)
        ctx.rows = rows
        ctx.mark_non_differentiable(count)
        return total, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor, None, None]:
        # Positives are mutual: the map is its own transpose.
        return _sum_positives(gradient, ctx.saved_tensors[0], ctx.rows)[0], None, None


def _sum_positives(z: Tensor, y: Tensor, rows: int) -> tuple[Tensor, Tensor]:
    total, count = torch.empty_like(z), y.new_empty(len(z), dtype=torch.int64)
    for start, stop in _blocks(len(z), rows):
        positive = _positives(y, start, stop, len(z) // len(y))
        count[start:stop] = positive.sum(dim=1)
        with torch.autocast(z.device.type, enabled=False):
            torch.matmul(positive.to(z.dtype), z, out=total[start:stop])
    return total, count
