"""Every number this project reports about predictions, computed in one place.

Scores are rounded to float32 first, the precision of `predictions.csv`: whoever recomputes a
number from that file gets the same one.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from lib.data.base import Task
from lib.statistics.outranking import Array, Outranking, Won, divide

THRESHOLD = 0.5  # of medmnist.Evaluator, for binary and multi-label tasks
REFERABLE = 2  # the grade from which diabetic retinopathy is referred to an eye clinic


def compute_metrics(
    y: npt.ArrayLike, scores: npt.ArrayLike, task: Task, classes: Sequence[str] | None = None
) -> dict[str, float]:
    """All metrics of one set of predictions; what each means stands in `Evaluation`.

    y: integers [N], or [N, K] of zeros and ones for multi-label tasks.
    scores: probabilities [N, K] (K = 2 for binary), for multi-label tasks one per label.
    classes: K names, for the error messages.
    Raises ValueError for shapes, labels and scores that do not fit together, and, with its name,
    for a class that has no image or all of them: its AUROC is undefined.
    """
    evaluation = Evaluation(y, scores, task, classes)
    evaluation.require_all_classes()
    values = evaluation.weighted(np.ones((1, len(evaluation.y))))
    return {name: float(value[0]) for name, value in values.items()}


def count_known(y: npt.NDArray[np.integer], task: Task, n_classes: int) -> dict[int, int]:
    """Images of each class that has some of those with labels y [N] or [N, K], but not all.

    Only these have an AUROC.
    """
    counts = y.sum(axis=0) if task == "multi-label" else np.bincount(y, minlength=n_classes)
    return {k: int(count) for k, count in enumerate(counts) if 0 < count < len(y)}


def auroc_of_known_classes(y: npt.ArrayLike, scores: npt.ArrayLike, task: Task) -> float:
    """Mean AUROC over the classes that have images as well as others: to watch training by.

    A tiny validation split may lack a rare class. A monitor can do without it; a reported result
    cannot, and `compute_metrics` refuses. Raises ValueError where no class is left.
    """
    evaluation = Evaluation(y, scores, task)
    member = evaluation.membership()
    known = count_known(evaluation.y, task, len(evaluation.classes))
    if not known:
        raise ValueError("all images have the same label, so AUROC is undefined")
    once = np.ones((1, len(member)))
    rankings = [Outranking.of(member[:, k], evaluation.scores[:, k]) for k in known]
    return float(np.mean([ranking.weighted(once.T).auroc for ranking in rankings]))


def compute_recalls(
    y: npt.ArrayLike, scores: npt.ArrayLike, task: Task, classes: Sequence[str]
) -> dict[str, float]:
    """Recall of each class as `recall_<class>`; arguments and errors as in `compute_metrics`."""
    evaluation = Evaluation(y, scores, task, classes)
    evaluation.require_all_classes()
    values = evaluation.weighted_recalls(np.ones((1, len(evaluation.y))))
    return {name: float(value[0]) for name, value in values.items()}


def confusion_matrix(y: npt.ArrayLike, scores: npt.ArrayLike, task: Task) -> npt.NDArray[np.int64]:
    """Counts [K, K], rows the truth and columns the prediction; multi-label: [K, 2, 2], by label.

    Arguments as in `compute_metrics`; classes may be missing.
    """
    evaluation = Evaluation(y, scores, task)
    counts = evaluation.confusions(np.ones((1, len(evaluation.y))))[0].astype(np.int64)
    return np.asarray(counts if task == "multi-label" else counts[0])


def predict(scores: npt.ArrayLike, task: Task) -> npt.NDArray[np.int64]:
    """The decision taken from scores [N, K], as `medmnist.Evaluator` takes it.

    Binary: class 1 where its score is above 0.5. Multi-class, ordinal: the highest score, the
    first one on ties. Multi-label: [N, K], 1 where the label's score is above 0.5.
    """
    s = np.asarray(scores, dtype=np.float32)
    if task == "multi-label":
        return (s > THRESHOLD).astype(np.int64)
    if task == "binary":
        return (s[:, 1] > THRESHOLD).astype(np.int64)
    return np.asarray(s.argmax(axis=1), dtype=np.int64)


def expected_grade(scores: npt.ArrayLike) -> Array:
    """The mean grade [N] under ordinal probabilities [N, K]; between 0 and K − 1."""
    s = np.asarray(scores, dtype=np.float64)
    return np.asarray(s @ np.arange(s.shape[1]) / s.sum(axis=1))


class Evaluation:
    """One set of predictions, sorted once, so that many weightings of its images are cheap.

    Weights [B, N] say how often each image counts; a row of ones is the plain metric, a row of
    resampling counts one bootstrap replicate. Every value is [B], NaN where undefined.

    accuracy: share of correct decisions (see `predict`); multi-label: mean over labels, which is
    high wherever labels are rare.
    balanced_accuracy: mean recall of the classes; multi-label: mean over labels of sensitivity
    and specificity.
    auroc: mean over classes of one against the rest; binary: of class 1. Ties count half.
    average_precision: likewise, with tied scores entering together, as in scikit-learn.
    macro_f1: mean over classes (binary: over both); multi-label: mean over labels.
    weighted_precision: mean over classes by their number of images; a class that is never
    predicted counts 0.
    auroc_ovo: multi-class and ordinal only; mean over all pairs of classes of the AUROC between
    the two, itself the mean over which of them is sought: M of Hand & Till (2001). Unlike auroc it
    does not change with the classes' sizes.
    quadratic_kappa: ordinal only; Cohen's kappa with squared distances (Cohen 1968).
    auroc_referable: ordinal with three grades or more; of grade 2 and above against those below,
    by the sum of their scores. For diabetic retinopathy, that is referable disease.
    """

    def __init__(
        self,
        y: npt.ArrayLike,
        scores: npt.ArrayLike,
        task: Task,
        classes: Sequence[str] | None = None,
    ):
        self.task = task
        self.y, self.scores = _check(np.asarray(y), np.asarray(scores), task)
        N, K = self.scores.shape
        if classes is not None and len(classes) != K:
            raise ValueError(f"classes: {len(classes)} names for scores of {K} classes")
        self.classes = tuple(classes) if classes is not None else tuple(map(str, range(K)))
        truth = self.y.reshape(N, -1)  # [N, L]: one decision per image, or one per label
        decision = predict(self.scores, task).reshape(N, -1)
        self.L, self.C = truth.shape[1], 2 if task == "multi-label" else K
        cells = (np.arange(self.L) * self.C + truth) * self.C + decision
        self._cells = cells.ravel()
        # Class by class, so that each is a stretch of memory; multi-label images have no order.
        multi = task == "multi-label"
        self._order = np.arange(N) if multi else np.argsort(self.y, kind="stable")
        self._rankings: list[Outranking] | None = None
        self._upper: Outranking | None = None

    def membership(self) -> npt.NDArray[np.bool_]:
        """Whether each image belongs to each class, [N, K]."""
        if self.task == "multi-label":
            return np.asarray(self.y == 1)
        return np.asarray(self.y[:, None] == np.arange(len(self.classes)))

    def require_all_classes(self) -> None:
        """Raise ValueError where a class has no image, or all of them."""
        N, counts = len(self.y), self.membership().sum(axis=0)
        for bad, found in ((0, "no image"), (N, "every image")):
            names = ", ".join(repr(self.classes[k]) for k in np.flatnonzero(counts == bad))
            if names:
                what = f"{found} of {N} belongs to class {names}, so AUROC is undefined"
                raise ValueError(f"{what}; evaluate on images with and without it")

    def confusions(self, weights: Array) -> Array:
        """Weighted confusion matrices [B, L, C, C]: truth in rows, decision in columns.

        L = 1 and C = K, or, for multi-label tasks, L = K and C = 2.
        """
        size = self.L * self.C * self.C
        counts = [np.bincount(self._cells, np.repeat(w, self.L), size) for w in weights]
        return np.stack(counts).astype(np.float64).reshape(-1, self.L, self.C, self.C)

    def weighted_recalls(self, weights: Array) -> dict[str, Array]:
        """Recall of each class, [B] each, as `recall_<class>`."""
        recall = self._by_class(_recall(self.confusions(weights)))
        return {f"recall_{name}": recall[:, k] for k, name in enumerate(self.classes)}

    def weighted(self, weights: Array) -> dict[str, Array]:
        """All metrics, [B] each, under weights [B, N]."""
        confusion = self.confusions(weights)
        hits = np.diagonal(confusion, axis1=-2, axis2=-1)
        support, predicted = confusion.sum(axis=-1), confusion.sum(axis=-2)
        f1 = self._by_class(divide(2 * hits, support + predicted))
        precision = self._by_class(divide(hits, predicted, undefined=0))
        share = self._by_class(support)
        by_image = np.ascontiguousarray(weights.T[self._order])
        won = self._ranked(by_image)
        values = {
            "accuracy": divide(hits.sum(axis=(1, 2)), support.sum(axis=(1, 2))),
            "balanced_accuracy": _recall(confusion).mean(axis=(1, 2)),
            "auroc": np.mean([w.auroc for w in won], axis=0),
            "average_precision": np.mean([w.precision for w in won], axis=0),
            "macro_f1": f1.mean(axis=1),
            "weighted_precision": divide((share * precision).sum(axis=1), share.sum(axis=1)),
        }
        if self.task in ("multi-class", "ordinal"):
            values["auroc_ovo"] = _one_against_one(won)
        if self.task == "ordinal":
            values["quadratic_kappa"] = quadratic_kappa(confusion[:, 0])
            if len(self.classes) > REFERABLE:
                values["auroc_referable"] = self._referable(by_image)
        return values

    def _referable(self, weights: Array) -> Array:
        """AUROC of the upper grades, [B]; weights: [N, B], images class by class."""
        if self._upper is None:
            tail = self.scores[:, REFERABLE:].sum(axis=1, dtype=np.float64)
            upper = self.y >= REFERABLE
            self._upper = Outranking.of(upper[self._order], tail[self._order])
        return self._upper.weighted(weights).auroc

    def _by_class(self, values: Array) -> Array:
        """Of values [B, L, C] those that stand for the K classes, [B, K]."""
        return values[:, :, 1] if self.task == "multi-label" else values[:, 0]

    def _ranked(self, weights: Array) -> list[Won]:
        """Each class against the rest (binary: class 1); weights: [N, B], images class by class.

        But for multi-label tasks, the parts of the rest are the other classes in their order.
        """
        if self._rankings is None:
            ranked = range(1, 2) if self.task == "binary" else range(len(self.classes))
            member, scores = self.membership()[self._order], self.scores[self._order]
            ends = [0, *np.cumsum(member.sum(axis=0)).tolist()]
            stretches = [slice(a, b) for a, b in pairwise(ends)]
            self._rankings = []
            for k in ranked:
                rest = None if self.task == "multi-label" else stretches[:k] + stretches[k + 1 :]
                self._rankings.append(Outranking.of(member[:, k], scores[:, k], rest))
        return [ranking.weighted(weights) for ranking in self._rankings]


def _one_against_one(won: Sequence[Won]) -> Array:
    """Hand & Till's M, [B]: the mean AUROC of each class against each other one alone."""
    sizes = np.stack([w.positive for w in won])
    shares = [
        divide(w.pairs, w.positive * np.delete(sizes, k, axis=0)).mean(axis=0)
        for k, w in enumerate(won)
    ]
    return np.asarray(np.mean(shares, axis=0))


def _recall(confusion: Array) -> Array:
    """Recall [B, L, C] of confusion matrices [B, L, C, C]."""
    return divide(np.diagonal(confusion, axis1=-2, axis2=-1), confusion.sum(axis=-1))


def quadratic_kappa(confusion: Array) -> Array:
    """Cohen's kappa with squared distances, [B], of confusion matrices [B, K, K].

    1 − observed / expected squared distance (Cohen 1968); NaN where all is one class.
    """
    grade = np.arange(confusion.shape[-1])
    distance = (grade[:, None] - grade[None]) ** 2
    support, predicted = confusion.sum(axis=-1), confusion.sum(axis=-2)
    observed = (distance * confusion).sum(axis=(1, 2))
    expected = np.einsum("bi,ij,bj->b", support, distance, predicted)
    return 1 - divide(observed * support.sum(axis=1), expected)


def _check(
    y: npt.NDArray[np.generic], scores: npt.NDArray[np.generic], task: Task
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    if (
        scores.ndim != 2
        or len(scores) == 0
        or scores.shape[1] < (1 if task == "multi-label" else 2)
    ):
        raise ValueError(f"scores: expected [N, K], a column per class; found {[*scores.shape]}")
    N, K = scores.shape
    if task == "binary" and K != 2:
        raise ValueError(f"scores: a binary task has two columns; found {K}")
    expected = (N, K) if task == "multi-label" else (N,)
    if y.shape != expected or y.dtype.kind not in "iub":
        found = f"{y.dtype} {[*y.shape]}"
        raise ValueError(f"y: expected integers {[*expected]} for task {task!r}; found {found}")
    labels, rounded = y.astype(np.int64), scores.astype(np.float32)
    top = 1 if task == "multi-label" else K - 1
    if labels.min() < 0 or labels.max() > top:
        raise ValueError(f"y: expected 0 to {top}; found {labels.min()} to {labels.max()}")
    low, high = float(rounded.min()), float(rounded.max())
    if not (low >= -1e-5 and high <= 1 + 1e-5):  # also catches NaN
        found = f"{low:.4g} to {high:.4g}"
        raise ValueError(f"scores: expected probabilities, 0 to 1; found {found} (logits?)")
    return labels, rounded
