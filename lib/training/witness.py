"""What a classifier says of whole splits while it is trained: noted, and nothing chosen by it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lib.data.base import DataSet
from lib.data.store import ImageStore
from lib.models.embed import embed_images
from lib.models.encoder import Encoder
from lib.training.objective import probabilities

Seen = dict[str, Tensor]  # probabilities float32 [N, K] by split


class Witness:
    """Notes the scores of all images of some splits at each check of a training.

    To show afterwards what a choice by one split or another would have come to
    (`lib.evaluation.selection`). The training does not know of it: weights, batches and what is
    kept are those of a training without.
    """

    def __init__(self, data: DataSet, splits: Sequence[str], device: str, precision: str) -> None:
        self.task, self.device, self.precision = data.task, device, precision
        self.stores = {name: ImageStore(data.splits[name].images, device) for name in splits}

    def look(self, encoder: Encoder, head: nn.Module, offset: Tensor | None = None) -> Seen:
        """Probabilities of every image; offset: float [K], taken off the logits."""
        seen = {}
        for name, store in self.stores.items():
            h = torch.from_numpy(embed_images(encoder, store, self.device, self.precision))
            with torch.no_grad():
                logits = head(h.to(next(head.parameters()).device)).cpu()
            seen[name] = probabilities(logits, self.task, offset).float()
        return seen
