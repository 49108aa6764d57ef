"""Which images make a batch of pretraining, from (seed, epoch) alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor


def mix(seed: int, epoch: int, stream: int) -> int:
    """One generator seed from a run's seed, an epoch and a stream, far from its neighbours."""
    return (seed * 1_000_003 + epoch * 7_919 + stream * 104_729) * 2_654_435_761 % 2**63


class EpochBatches:
    """Indices of the training images in batches, newly shuffled each epoch from (seed, epoch).

    An epoch's images are dealt out evenly: no image is dropped and no batch is left with a few
    images, which would have few negatives, and BatchNorm statistics of next to nothing.
    """

    def __init__(self, n: int, batch_size: int, seed: int, epoch: Callable[[], int]) -> None:
        self.n, self.seed, self.epoch = n, seed, epoch
        self.count = max(1, -(-n // batch_size))

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(mix(self.seed, self.epoch(), 1))
        yield from torch.randperm(self.n, generator=generator).tensor_split(self.count)


class BalancedBatches(EpochBatches):
    """Batches with as many images of each class; an epoch is as long as without balancing.

    y: int64 [N]. Each class is gone through in a shuffled order again and again, the rare ones
    more often, as when images were drawn with the inverse of their class's size as weight, but
    evenly. Classes without an image take no part; images whose label is not known (below 0) count
    as one class.
    """

    def __init__(self, y: Tensor, batch_size: int, seed: int, epoch: Callable[[], int]) -> None:
        super().__init__(len(y), batch_size, seed, epoch)
        self.classes = [(y == k).nonzero().flatten() for k in sorted(set(y.tolist()))]

    def __iter__(self) -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(mix(self.seed, self.epoch(), 1))
        each = -(-self.n // len(self.classes))
        columns = []
        for rows in self.classes:
            rounds = -(-each // len(rows))
            shuffled = [rows[torch.randperm(len(rows), generator=generator)] for _ in range(rounds)]
            columns.append(torch.cat(shuffled)[:each])
        # Class by class in turn: any stretch of it is balanced.
        turns = torch.stack(columns, 1).flatten()[: self.n]
        yield from turns.tensor_split(self.count)
