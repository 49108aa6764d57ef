"""A linear head on frozen features, fitted under any objective; with a plain one, a probe."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lib.data.base import DataError, Task
from lib.evaluation.remedies import check_labels
from lib.models.probe import STRENGTHS, TOLERANCE, LogisticProbe, standard_scale
from lib.training.objective import Loss, Objective

Array = npt.NDArray[np.float64]
Fit = tuple[Array, Array, bool]  # weight [K, D], bias [K], converged
# Weaker and weaker regularisation takes longer and longer: so many worse ones in a row end it.
PATIENCE = 2


def fit_head(
    h_train: npt.ArrayLike,
    y_train: npt.ArrayLike,
    h_val: npt.ArrayLike,
    y_val: npt.ArrayLike,
    objective: Objective,
    *,
    n_classes: int,
    task: Task = "multi-class",
    prior_shift: npt.ArrayLike | None = None,
    strengths: Sequence[float] = STRENGTHS,
    max_iter: int = 500,
    device: str = "cpu",
) -> LogisticProbe:
    """A linear layer on standardised features, fitted under an objective by full-batch L-BFGS.

    With the plain objective it is `lib.models.probe.fit_logistic`: for each C in `strengths` it
    minimises loss + ‖W‖² / (2 C n), biases free, and the C with the lowest log loss on validation
    is kept, the smallest of equals. C rises until it has been worse twice in a row.
    Objectives with `sample_weights` minimise what drawing by them would see on average; the weights
    may take a few distinct values only, such as one a class.

    prior_shift: float [K], taken off the logits for that choice, not from the result: log
    `learnt_prior` less log shares of the classes where the head is validated. So every remedy is
    judged as an estimate of the same probabilities (Saerens et al. 2002, Adjusting the outputs of
    a classifier to new a priori probabilities), not by the prior it was given.

    h: float [N, D]; y: int [N]. A class that the training labels lack gets score 0, and validation
    images of it do not vote. The objective's offset is part of the bias returned. Computed in
    float64 on `device`. Raises ValueError for inputs that do not fit or labels of one class only,
    DataError for images with several labels.
    """
    if task == "multi-label":
        raise DataError("a remedy for unequal classes needs one label an image; found several")
    y, y_v = check_labels(y_train, n_classes), check_labels(y_val, n_classes)
    h, mean, scale = _standardise(np.asarray(h_train, dtype=np.float32))
    v = (np.asarray(h_val, dtype=np.float64) - mean) / scale
    present, grid = np.unique(y), sorted(strengths)
    if len(h) != len(y) or len(v) != len(y_v):
        raise ValueError(f"labels: {len(y)} and {len(y_v)} for {len(h)} and {len(v)} features")
    if len(present) < 2:
        raise ValueError("y_train: all images have the same label; there is nothing to tell apart")
    voting = np.isin(y_v, present)
    if not voting.any() or not grid or grid[0] <= 0:
        raise ValueError(f"nothing to choose by: {voting.sum()} validation labels, grid {grid}")
    shift = np.zeros(n_classes) if prior_shift is None else np.asarray(prior_shift)
    fits: dict[float, Fit] = {}
    curve: dict[float, float] = {}
    path = _path(h, y, objective, present, n_classes, grid, max_iter, device)
    for strength, (weight, bias, converged) in zip(grid, path, strict=False):
        fits[strength] = (weight, bias, converged)
        logits = v[voting] @ weight.T + np.where(np.isfinite(bias), bias - shift, -np.inf)
        log_p = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
        curve[strength] = float(-log_p[np.arange(len(log_p)), y_v[voting]].mean())
        best = min(curve, key=lambda s: (curve[s], s))
        if grid.index(strength) - grid.index(best) == PATIENCE:
            break
    weight, bias, converged = fits[best]
    if objective.offset is not None:
        bias = bias - objective.offset.numpy()
    return LogisticProbe(task, mean, scale, weight, bias, best, curve, converged)


def _path(
    h: Array,
    y: npt.NDArray[np.int64],
    objective: Objective,
    present: npt.NDArray[np.int64],
    K: int,
    strengths: Sequence[float],
    max_iter: int,
    device: str,
) -> Iterator[Fit]:
    """The fit at each of rising strengths, each started from the one before."""
    x, target = torch.from_numpy(h).to(device), torch.from_numpy(y).to(device)
    loss = _weighting(objective, device)
    # of two classes the first keeps logit 0, as in scikit-learn: a difference is all there is
    rows = torch.from_numpy(present[1:] if len(present) == 2 else present)
    base = torch.full((K,), -torch.inf, dtype=x.dtype)
    base[torch.from_numpy(present)] = 0
    theta = torch.zeros(len(rows), x.shape[1] + 1, dtype=x.dtype, device=device)
    start, on = base.to(device), rows.to(device)
    for strength in strengths:

        def total(t: Tensor, strength: float = strength) -> Tensor:
            scores = x @ t[:, :-1].T + t[:, -1]
            logits = start.repeat(len(x), 1).index_copy(1, on, scores)
            return loss(logits, target) + t[:, :-1].square().sum() / (2 * strength * len(x))

        converged = _minimise(total, theta, max_iter)
        weight, bias = np.zeros((K, x.shape[1])), base.numpy().copy()
        weight[rows], bias[rows] = theta[:, :-1].cpu(), theta[:, -1].cpu()
        yield weight, bias, converged


def _minimise(total: Callable[[Tensor], Tensor], theta: Tensor, max_iter: int) -> bool:
    """Move theta, in place, to a minimum of `total`; whether it came there within max_iter."""
    theta.requires_grad_(True)
    optimizer = torch.optim.LBFGS(
        [theta],
        max_iter=max_iter,
        max_eval=2 * max_iter,
        tolerance_grad=TOLERANCE,
        tolerance_change=1e-14,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = total(theta)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    closure()
    assert theta.grad is not None
    converged = bool(theta.grad.abs().max() <= TOLERANCE)
    theta.grad = None
    theta.requires_grad_(False)
    return converged


def _weighting(objective: Objective, device: str) -> Loss:
    """The objective's loss over all images, each as often as its sample weight asks."""
    weights = objective.sample_weights
    if weights is None:
        return objective.loss
    # A loss gives the mean over images, so images of equal weight are passed to it together.
    groups = [torch.nonzero(weights == value)[:, 0].to(device) for value in torch.unique(weights)]
    shares = [float(weights[group.cpu()].sum() / weights.sum()) for group in groups]

    def loss(logits: Tensor, y: Tensor) -> Tensor:
        parts = [s * objective.loss(logits[g], y[g]) for s, g in zip(shares, groups, strict=True)]
        return torch.stack(parts).sum()

    return loss


def _standardise(h: npt.NDArray[np.float32]) -> tuple[Array, Array, Array]:
    """Features float64 [N, D] with mean 0 and deviation 1, and both [D]; constants become 0."""
    if h.ndim != 2 or len(h) == 0 or not np.isfinite(h).all():
        raise ValueError(f"h_train: expected finite numbers [N, D]; found {[*h.shape]}")
    mean, scale = standard_scale(h)
    return (h - mean) / scale, mean, scale
