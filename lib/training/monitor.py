"""How good an encoder is while it is trained: AUROC on the validation split."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from lib.data.base import DataSet, Task
from lib.data.store import ImageStore
from lib.models.embed import embed_images
from lib.models.encoder import Encoder
from lib.models.probe import knn_scores
from lib.statistics.metrics import auroc_of_known_classes, count_known
from lib.training.objective import probabilities

# More neighbours to choose from, or more queries, would not change which epoch wins, only its time.
BANK, QUERIES = 5000, 2000
# Images whose features are compared now and then: a breakdown shows in a few
# (`lib.training.diagnosis`).
LOOKED_AT = 64


@dataclass
class KnnMonitor:
    """Validation AUROC of a cosine kNN classifier on an encoder's features.

    bank, queries: images of the training and the validation split; k: neighbours.
    """

    bank: ImageStore
    y_bank: npt.NDArray[np.integer]
    queries: ImageStore
    y_queries: npt.NDArray[np.integer]
    task: Task
    n_classes: int
    k: int
    device: str
    precision: str

    @classmethod
    def of(cls, data: DataSet, k: int, device: str, precision: str, seed: int) -> KnnMonitor | None:
        """A monitor on seeded samples of a data set's splits.

        None without labels, or where all validation images have the same.
        """
        train, val = data.splits["train"], data.splits["val"]
        if train.y is None or val.y is None or len(val) == 0:
            return None
        rng = np.random.default_rng([seed, 41])
        a = np.sort(rng.permutation(len(train))[:BANK])
        b = np.sort(rng.permutation(len(val))[:QUERIES])
        bank, queries = ImageStore(train.images[a], device), ImageStore(val.images[b], device)
        kind, k = (data.task, len(data.classes)), min(k, len(a))
        monitor = cls(bank, train.y[a], queries, val.y[b], *kind, k, device, precision)
        return monitor if monitor.positives() else None

    def standard_error(self, auroc: float) -> float:
        """How uncertain an AUROC on these validation images is (`auroc_error`)."""
        return auroc_error(auroc, self.y_queries, self.task, self.n_classes)

    def positives(self) -> list[int]:
        """Validation images of each class that has some, but not all, of them."""
        return list(count_known(self.y_queries, self.task, self.n_classes).values())

    def auroc(self, encoder: Encoder) -> float:
        """Mean one-vs-rest AUROC over the classes that the validation sample can tell apart."""
        h_bank = torch.from_numpy(embed_images(encoder, self.bank, self.device, self.precision))
        h = torch.from_numpy(embed_images(encoder, self.queries, self.device, self.precision))
        y_bank = torch.from_numpy(self.y_bank.astype(np.int64))
        classes, k = self.n_classes, self.k
        scores = knn_scores(h_bank, y_bank, h, task=self.task, n_classes=classes, k=k)
        return auroc_of_known_classes(self.y_queries, scores.numpy(), self.task)


@dataclass
class ScoreMonitor:
    """Validation AUROC of an encoder with a linear head, while both are trained.

    images: of the validation split; y: their labels, [N] or [N, K].
    """

    images: ImageStore
    y: npt.NDArray[np.integer]
    task: Task
    n_classes: int
    device: str
    precision: str

    @classmethod
    def of(cls, data: DataSet, device: str, precision: str, seed: int) -> ScoreMonitor | None:
        """A monitor on a seeded sample of the validation split.

        None without labels, or where all validation images have the same.
        """
        val, n_classes = data.splits["val"], len(data.classes)
        if val.y is None or not count_known(val.y, data.task, n_classes):
            return None
        rows = np.sort(np.random.default_rng([seed, 43]).permutation(len(val))[:QUERIES])
        if not count_known(val.y[rows], data.task, n_classes):
            return None
        images = ImageStore(val.images[rows], device)
        return cls(images, val.y[rows], data.task, n_classes, device, precision)

    def standard_error(self, auroc: float) -> float:
        """How uncertain an AUROC on these validation images is (`auroc_error`)."""
        return auroc_error(auroc, self.y, self.task, self.n_classes)

    def auroc(self, encoder: Encoder, head: nn.Module, offset: Tensor | None = None) -> float:
        """Mean one-vs-rest AUROC over the classes that the validation sample can tell apart.

        offset: float [K], taken off the logits, as before a prediction.
        """
        h = torch.from_numpy(embed_images(encoder, self.images, self.device, self.precision))
        with torch.no_grad():
            logits = head(h.to(next(head.parameters()).device)).cpu()
        scores = probabilities(logits, self.task, offset)
        return auroc_of_known_classes(self.y, scores.numpy(), self.task)


def auroc_error(auroc: float, y: npt.NDArray[np.integer], task: Task, n_classes: int) -> float:
    """How uncertain an AUROC measured on images with labels y [N] or [N, K] is.

    Hanley & McNeil 1982, for each class against the rest at the same AUROC, then for the mean
    of the classes as if they were independent. About 0.06 on the 78 images of BreastMNIST.
    """
    a = min(max(auroc, 0.5), 1 - 1e-6)
    q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
    errors = []
    for positives in count_known(y, task, n_classes).values():
        n1, n2 = positives, len(y) - positives
        square = a * (1 - a) + (n1 - 1) * (q1 - a * a) + (n2 - 1) * (q2 - a * a)
        errors.append(square / (n1 * n2))
    # Two classes are one question, not two.
    independent = 1 if len(errors) == 2 and task != "multi-label" else len(errors)
    return float(np.sqrt(np.mean(errors) / independent)) if errors else 0.0
