"""Linear and nearest-neighbour probes: what frozen features hold, without touching the encoder."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from lib.data.base import Task

Array = npt.NDArray[np.float64]
Features = npt.NDArray[np.float32]
Fit = tuple[Array, Array, bool]  # weight [K, D], bias [K], converged
TOLERANCE = 1e-5  # scikit-learn's 1e-4 stops too early where it starts from a weaker fit
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2)


@dataclass(frozen=True)
class LogisticProbe:
    """A fitted logistic regression on standardised features.

    mean, scale: [D] of the training features; weight: [K, D]; bias: [K], −inf for a class that
    the training labels lack.
    strength: the chosen C of scikit-learn, larger is less regularised; curve: the validation log
    loss in nats per image (multi-label: per image and label) of every C tried.
    converged: whether the optimiser finished at the chosen strength within its iterations.
    """

    task: Task
    mean: Array
    scale: Array
    weight: Array
    bias: Array
    strength: float
    curve: dict[float, float]
    converged: bool

    def predict_proba(self, h: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Probabilities [N, K] of features [N, D]; rows sum to 1 unless the task is multi-label."""
        logits = (np.asarray(h, dtype=np.float64) - self.mean) / self.scale @ self.weight.T
        return np.exp(_log_p(logits + self.bias, self.task)).astype(np.float32)


def fit_logistic(
    h_train: npt.ArrayLike,
    y_train: npt.ArrayLike,
    h_val: npt.ArrayLike,
    y_val: npt.ArrayLike,
    task: Task,
    *,
    n_classes: int,
    strengths: Sequence[float] = STRENGTHS,
    max_iter: int = 500,
) -> LogisticProbe:
    """Fit multinomial logistic regression by L-BFGS, its regularisation chosen on validation.

    The strength with the lowest mean log loss on validation is kept: AUROC moves in steps on the
    78 validation images of BreastMNIST, log loss does not. Ties go to stronger regularisation.
    The probe is not fitted again on training and validation together, so that a label budget
    counts every label the weights have seen.

    h: float [N, D]; y: int [N], or 0/1 [N, K] for multi-label tasks, where each label is a problem
    of its own and all share one strength. n_classes: K of the data set; a class that the training
    labels lack gets score 0, and validation images of it do not vote. A label with a single value
    in training gets that value as its score. Constant features are ignored.
    Raises ValueError for shapes that do not fit, features that are not finite, or training labels
    of one class only.
    """
    h, y = _check("train", h_train, y_train, task, n_classes)
    v, y_v = _check("val", h_val, y_val, task, n_classes)
    grid = sorted(strengths)
    if not grid or grid[0] <= 0:
        raise ValueError(f"strengths: expected numbers above 0; found {grid}")
    if (y == y[0]).all():
        raise ValueError("y_train: all images have the same label; there is nothing to tell apart")
    mean, scale = standard_scale(h)
    standard = ((h - mean) / scale).astype(np.float32)
    if task == "multi-label":
        path = _fit_labels(standard, y, grid, max_iter)
    else:
        path = _fit_classes(standard, y, n_classes, grid, max_iter)
    v_standard = (v - mean) / scale
    losses = [_log_loss(v_standard @ w.T + b, y_v, b, task) for w, b, _ in path]
    if not np.isfinite(losses).any():
        raise ValueError("y_val: no label that training images have as well; nothing to choose by")
    best = int(np.nanargmin(losses))  # the first of equals, and strengths rise
    weight, bias, converged = path[best]
    curve = dict(zip(grid, losses, strict=True))
    return LogisticProbe(task, mean, scale, weight, bias, grid[best], curve, converged)


def standard_scale(h: npt.NDArray[np.float32]) -> tuple[Array, Array]:
    """Mean and deviation, float64 [D], of features h [N, D].

    A constant has the deviation infinity, so that it becomes 0.
    """
    mean, deviation = h.mean(axis=0, dtype=np.float64), h.std(axis=0, dtype=np.float64)
    # The deviation of a constant is not exactly 0 in floating point.
    constant = deviation <= 1e-6 * np.abs(mean) + 1e-30
    return mean, np.where(constant, np.inf, deviation)


@torch.no_grad()
def knn_scores(
    h_bank: Tensor,
    y_bank: Tensor,
    h_query: Tensor,
    *,
    task: Task,
    n_classes: int,
    k: int = 20,
    temperature: float = 0.1,
    batch: int = 1024,
    block: int = 2**15,
) -> Tensor:
    """Class scores [N, K] by the k most similar bank images, voting with exp(similarity / τ).

    Wu et al. 2018, Unsupervised Feature Learning via Non-Parametric Instance Discrimination,
    section 3.4, divided by the sum of the weights: rows sum to 1, or, for multi-label tasks, each
    label gets the weighted share of neighbours that carry it.

    h_bank: float [M, D]; y_bank: int [M] or 0/1 [M, K]; h_query: float [N, D], on one device. They
    need not be normalised. Computed in float32 also under autocast. k above M means all of the
    bank. The bank is compared `block` images at a time with `batch` queries, so that memory does
    not grow with M or N. Returns scores on the device of the inputs. Raises ValueError for shapes
    that do not fit.
    """
    M, D = h_bank.shape
    multi = task == "multi-label"
    if M == 0 or h_query.ndim != 2 or h_query.shape[1] != D:
        found = f"{[*h_bank.shape]} and {[*h_query.shape]}"
        raise ValueError(f"h_bank, h_query: expected [M, D] and [N, D] with M ≥ 1; found {found}")
    if y_bank.shape != ((M, n_classes) if multi else (M,)):
        raise ValueError(f"y_bank: {[*y_bank.shape]} does not fit {M} images, {n_classes} classes")
    if k < 1 or not temperature > 0:
        raise ValueError(f"k, temperature: expected numbers above 0; found {k}, {temperature}")
    scores = []
    with torch.autocast(h_bank.device.type, enabled=False):
        for query in torch.split(h_query, batch):
            similarity, neighbour = _most_similar(_unit(query), h_bank, min(k, M), block)
            weight = (similarity / temperature).softmax(dim=1)
            y = y_bank[neighbour]
            votes = (y if multi else F.one_hot(y.long(), n_classes)).to(weight.dtype)
            scores.append((weight[:, :, None] * votes).sum(dim=1))
    return torch.cat(scores)


def _most_similar(unit: Tensor, h_bank: Tensor, k: int, block: int) -> tuple[Tensor, Tensor]:
    """Cosine similarity and row of the k most similar of the bank, both [N, k], merged by block."""
    best = rows = None
    for start in range(0, len(h_bank), block):
        part = _unit(h_bank[start : start + block])
        found, place = (unit @ part.T).topk(min(k, len(part)), dim=1)
        place += start
        if best is not None and rows is not None:
            found, place = torch.cat([best, found], dim=1), torch.cat([rows, place], dim=1)
            found, order = found.topk(min(k, found.shape[1]), dim=1)
            place = place.gather(1, order)
        best, rows = found, place
    assert best is not None and rows is not None  # M ≥ 1 was checked
    return best, rows


def _unit(h: Tensor) -> Tensor:
    return F.normalize(h if h.dtype == torch.float64 else h.float(), dim=1)


def _check(
    split: str, h: npt.ArrayLike, y: npt.ArrayLike, task: Task, K: int
) -> tuple[Features, npt.NDArray[np.int64]]:
    features, labels = np.asarray(h, dtype=np.float32), np.asarray(y, dtype=np.int64)
    if features.ndim != 2 or len(features) == 0 or not np.isfinite(features).all():
        raise ValueError(f"h_{split}: expected finite numbers [N, D]; found {[*features.shape]}")
    expected = (len(features), K) if task == "multi-label" else (len(features),)
    if labels.shape != expected:
        raise ValueError(f"y_{split}: expected {[*expected]}; found {[*labels.shape]}")
    top = 1 if task == "multi-label" else K - 1
    if labels.min() < 0 or labels.max() > top:
        raise ValueError(f"y_{split}: expected 0 to {top}; found {labels.min()} to {labels.max()}")
    return features, labels


def _fit_labels(
    h: Features, y: npt.NDArray[np.int64], strengths: Sequence[float], max_iter: int
) -> list[Fit]:
    """One binary problem per column of y [N, K]: K fits stacked, for each strength."""
    fits = [_fit_classes(h, column, 2, strengths, max_iter) for column in y.T]
    path = []
    for labels in zip(*fits, strict=True):
        weight = np.stack([weight[1] - weight[0] for weight, _, _ in labels])
        bias = np.array([bias[1] - bias[0] for _, bias, _ in labels])
        path.append((weight, bias, all(converged for _, _, converged in labels)))
    return path


def _fit_classes(
    h: Features, y: npt.NDArray[np.int64], K: int, strengths: Sequence[float], max_iter: int
) -> list[Fit]:
    """Weight [K, D], bias [K] and whether the optimiser finished, for each (rising) strength."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    present = np.unique(y)
    model = LogisticRegression(solver="lbfgs", tol=TOLERANCE, max_iter=max_iter, warm_start=True)
    path = []
    for strength in strengths:
        weight, bias = np.zeros((K, h.shape[1])), np.full(K, -np.inf)
        converged = True
        if len(present) == 1:
            bias[present] = 0
        else:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", ConvergenceWarning)
                model.set_params(C=strength).fit(h, y)  # starts from the weights before
            converged = not any(issubclass(w.category, ConvergenceWarning) for w in caught)
            # of two classes scikit-learn keeps the weights of the second; the first has 0
            weight[present[-len(model.coef_) :]] = model.coef_
            bias[present] = 0
            bias[present[-len(model.coef_) :]] = model.intercept_
        path.append((weight, bias, converged))
    return path


def _log_p(logits: Array, task: Task) -> Array:
    """Log probabilities [N, K]."""
    if task == "multi-label":
        return np.asarray(-np.logaddexp(0, -logits))
    return np.asarray(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))


def _log_loss(logits: Array, y: npt.NDArray[np.int64], bias: Array, task: Task) -> float:
    """Mean log loss over what training could have learnt: infinite biases are left out."""
    known = np.isfinite(bias)
    rows = np.flatnonzero(known[y]) if task != "multi-label" else np.arange(len(y))
    if len(rows) == 0:
        return float("nan")
    if task == "multi-label":
        signed = (2 * y[:, known] - 1) * logits[:, known]
        return float(-_log_p(signed, task).mean())
    return float(-_log_p(logits[rows], task)[np.arange(len(rows)), y[rows]].mean())
