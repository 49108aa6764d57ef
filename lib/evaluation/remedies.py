"""Remedies for unequal classes: losses, weights of images, and offsets of logits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from lib.data.base import DataError
from lib.moving import sent_once
from lib.params import REMEDIES
from lib.training.objective import Loss, Objective, at_least_float32, cross_entropy

Array = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


def make_objective(
    name: str, y: npt.ArrayLike, n_classes: int, *, focal_gamma: float, adjustment: float
) -> Objective:
    """How a classifier is trained under the remedy `name`, one of `lib.params.REMEDIES`.

    y: int [n], labels of the images trained on; from their counts n_k come weights and priors
    π_k = n_k / n. A class without images gets weight 0, and an offset that keeps it from being
    predicted where its logit has not been trained.

    none, undersample: cross-entropy; undersampling is a choice of images, made before.
    oversample: cross-entropy, each image drawn with a frequency ∝ 1 / n_k of its class.
    class_weights: each image's cross-entropy times n / (K n_k), 1 on average over images.
    focal: −(1 − p_y)^γ log p_y (Lin et al. 2017, Focal Loss for Dense Object Detection, eq. 4,
    with softmax probabilities and without α); γ = `focal_gamma`, 0 being cross-entropy.
    balanced_softmax: cross-entropy of the logits plus log π (Ren et al. 2020, Balanced
    Meta-Softmax, eq. 3), which are not added at prediction.
    logit_adjustment: cross-entropy; at prediction τ log π is taken off (Menon et al. 2021,
    Long-tail learning via logit adjustment, eq. 9, post hoc); τ = `adjustment`.

    Raises ValueError for an unknown name, DataError for images with several labels.
    """
    labels = check_labels(y, n_classes)
    counts = np.bincount(labels, minlength=n_classes)
    weights = torch.from_numpy(class_weights(counts))
    log_prior = torch.from_numpy(log_shares(counts / len(labels))).float()
    absent = torch.from_numpy(np.where(counts == 0, np.inf, 0.0)).float()
    if name in ("none", "undersample"):
        return Objective(name, cross_entropy)
    if name == "oversample":
        return Objective(name, cross_entropy, sample_weights=weights[torch.from_numpy(labels)])
    if name == "class_weights":
        return Objective(name, weighted_cross_entropy(weights))
    if name == "focal":
        return Objective(name, focal_loss(focal_gamma))
    if name == "balanced_softmax":
        offset = absent if (counts == 0).any() else None
        return Objective(name, balanced_softmax_loss(log_prior), offset=offset)
    if name == "logit_adjustment":
        finite = torch.where(absent > 0, 0.0, log_prior)
        return Objective(name, cross_entropy, offset=adjustment * finite + absent)
    raise ValueError(f"remedy: {name!r} is not one of {', '.join(REMEDIES)}")


def class_weights(counts: npt.ArrayLike) -> Array:
    """Weight n / (K n_k) of each class, 1 on average over images; 0 for a class without images.

    counts: int [K]. K is the number of classes that have images.
    """
    n = np.asarray(counts, dtype=np.float64)
    return np.where(n > 0, n.sum() / ((n > 0).sum() * np.maximum(n, 1)), 0.0)


def learnt_prior(name: str, y: npt.ArrayLike, n_classes: int) -> Array:
    """The class shares [K] that probabilities learnt under a remedy take for granted.

    Equal ones where the remedy evens classes out in training, those of y elsewhere; logit
    adjustment counts as untreated, since it acts only after training.
    """
    counts = np.bincount(check_labels(y, n_classes), minlength=n_classes)
    if name in ("oversample", "class_weights", "balanced_softmax"):
        counts = (counts > 0).astype(np.int64)
    return np.asarray(counts / counts.sum(), dtype=np.float64)


def weighted_cross_entropy(weights: Tensor) -> Loss:
    """Mean over images of w_y times the cross-entropy; weights float [K].

    Divided by the number of images, not by the weights in the batch as torch does: that would
    make a rare image count for less in the batches that hold it.
    """

    weights_like = sent_once(weights)

    def loss(logits: Tensor, y: Tensor) -> Tensor:
        each = F.cross_entropy(at_least_float32(logits), y, reduction="none")
        return (weights_like(each)[y] * each).mean()

    return loss


def focal_loss(gamma: float) -> Loss:
    """Mean over images of −(1 − p_y)^γ log p_y, p the softmax of the logits."""

    def loss(logits: Tensor, y: Tensor) -> Tensor:
        log_p = -F.cross_entropy(at_least_float32(logits), y, reduction="none")
        # 1 − p without cancellation; above 0, since a power below 1 has no slope there
        rest = (-torch.expm1(log_p)).clamp(min=torch.finfo(log_p.dtype).tiny)
        return -(rest**gamma * log_p).mean()

    return loss


def balanced_softmax_loss(log_prior: Tensor) -> Loss:
    """Mean cross-entropy of the logits plus log_prior float [K]."""

    prior_like = sent_once(log_prior)

    def loss(logits: Tensor, y: Tensor) -> Tensor:
        wide = at_least_float32(logits)
        return F.cross_entropy(wide + prior_like(wide), y)

    return loss


def check_labels(y: npt.ArrayLike, n_classes: int) -> Labels:
    """Labels as int64 [n]; DataError for several an image, ValueError where they do not fit."""
    labels = np.asarray(y)
    if labels.ndim == 2:
        raise DataError("a remedy for unequal classes needs one label an image; found several")
    if len(labels) == 0 or labels.min() < 0 or labels.max() >= n_classes:
        raise ValueError(f"y: expected labels 0 to {n_classes - 1}; found {labels}")
    return labels.astype(np.int64)


def log_shares(x: Array) -> Array:
    """Natural logarithm, −inf for a share of 0."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(x))
