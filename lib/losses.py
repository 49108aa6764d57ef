"""The contrastive losses NT-Xent and SupCon, and how well the views find each other."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class ViewRanks(NamedTuple):
    """How the other view of an image ranks among all other views of a batch; scalar tensors.

    top1, top5: share of anchors whose positive is first, or among the first five; in [0, 1].
    mean_rank: mean place of the positive; 1 is best, N is chance, 2N − 1 is worst.
    """

    top1: Tensor
    top5: Tensor
    mean_rank: Tensor


def nt_xent(z1: Tensor, z2: Tensor, temperature: float) -> Tensor:
    """Normalised temperature-scaled cross entropy of two views of N images.

    Chen et al. 2020, A Simple Framework for Contrastive Learning, equation 1, averaged over all
    2N anchors: the other view of the anchor's image is its positive, the 2N − 2 views of the other
    images are its negatives.

    z1, z2: float [N, D], projections of view 1 and view 2 in the same order, not yet normalised.
    Returns a scalar ≥ 0, in float32 also under autocast (bf16 would round similarities to steps
    of 0.004, which the division by the temperature magnifies), or in float64 when z1 is float64.
    A batch of one image has no negatives: its loss and gradient are 0, so a last odd batch is safe.
    Raises ValueError for shapes that differ, an empty batch, or a temperature that is not positive.
    """
    _check(z1, z2, temperature)
    N = len(z1)
    similarity = _similarity(torch.cat([z1, z2]))
    positive = torch.arange(2 * N, device=z1.device).roll(N)
    return F.cross_entropy(similarity / temperature, positive)


def sup_con(z1: Tensor, z2: Tensor | None, y: Tensor, temperature: float) -> Tensor:
    """Supervised contrastive loss: every view of the anchor's class is its positive.

    Khosla et al. 2020, Supervised Contrastive Learning, equation 2 (L_out: the mean over positives
    stands outside the log), averaged over the anchors that have a positive. The paper's code also
    multiplies by temperature / base_temperature; here temperature does one thing.

    z1, z2: float [N, D] as in `nt_xent`; z2 may be None for batches of one view per image.
    y: integers [N], or [N, K] of zeros and ones for multi-label tasks, where two images are
    positives of each other when they share at least one label. Two views of one image always are,
    also when it carries no label at all; so labels that are all different give `nt_xent`.
    Anchors without a positive (possible with one view only) are left out of the mean, and a batch
    without any pair gives 0 with a gradient of 0. Precision and errors as in `nt_xent`.
    """
    _check(z1, z1 if z2 is None else z2, temperature)
    N, views = len(z1), 1 if z2 is None else 2
    if y.ndim not in {1, 2} or len(y) != N:
        raise ValueError(f"y: expected [{N}] or [{N}, K], one row per image; found {[*y.shape]}")
    similarity = _similarity(z1 if z2 is None else torch.cat([z1, z2]))
    log_p = F.log_softmax(similarity / temperature, dim=1)

    itself = torch.eye(N, dtype=torch.bool, device=y.device)
    shared = y[:, None] == y[None] if y.ndim == 1 else (y.float() @ y.float().T) > 0
    positive = (shared | itself).repeat(views, views).fill_diagonal_(False).to(z1.device)
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
    similarity = _similarity(torch.cat([z1, z2]))
    positive = torch.arange(2 * N, device=z1.device).roll(N)
    found = similarity.gather(1, positive[:, None])
    better = (similarity > found).sum(dim=1)
    tied = (similarity == found).sum(dim=1) - 1  # the positive ties with itself
    rank = 1 + better + tied / 2
    return ViewRanks((rank <= 1).float().mean(), (rank <= 5).float().mean(), rank.mean())


def _check(z1: Tensor, z2: Tensor, temperature: float) -> None:
    if z1.ndim != 2 or z1.shape != z2.shape or len(z1) == 0:
        found = f"{[*z1.shape]} and {[*z2.shape]}"
        raise ValueError(f"z1, z2: expected the same shape [N, D] with N ≥ 1; found {found}")
    if not temperature > 0:
        raise ValueError(f"temperature: expected a number above 0; found {temperature}")


def _similarity(z: Tensor) -> Tensor:
    """Cosine similarity of all pairs of rows: float32 (or float64) [M, M], −inf on the diagonal."""
    with torch.autocast(z.device.type, enabled=False):
        z = F.normalize(z if z.dtype == torch.float64 else z.float(), dim=1)
        similarity = z @ z.T
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    return similarity.masked_fill(itself, -torch.inf)
