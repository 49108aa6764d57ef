"""Figures: each takes data and returns a matplotlib Figure; no pyplot state."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from lib.data.base import DataSet
from lib.evaluate import Evaluated
from lib.findings.names import PROTOCOL_NAMES, name_source

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# One colour per method wherever it is drawn (Okabe & Ito's palette, safe for colour blindness).
COLOURS = {
    "simclr": "#0072B2",
    "supcon": "#D55E00",
    "imagenet": "#009E73",
    "random": "#7F7F7F",
    "pixels": "#B0A080",
}
AUGMENT_COLOURS = {
    "novel": "#0072B2",
    "natural": "#E69F00",
    "simple": "#56B4E9",
    "greyscale": "#009E73",
    "microscopy": "#CC79A7",
}
LINES = {"probe": "-", "knn": "--"}
Images = npt.NDArray[np.uint8]


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Figure, Any]:
    """An empty figure of `width` × `height` inches and its axes [rows, columns]."""
    figure = displayed_figure()(figsize=(width, height), layout="constrained", dpi=110)
    return figure, figure.subplots(rows, columns, squeeze=False)


@cache
def displayed_figure() -> type[Figure]:
    """matplotlib's Figure, able to show itself in a notebook without pyplot's global state."""
    from matplotlib.figure import Figure

    class DisplayedFigure(Figure):
        def _repr_png_(self) -> bytes:
            buffer = io.BytesIO()
            # One pass of the layout leaves labels beside images a few pixels outside.
            self.draw_without_rendering()
            self.savefig(buffer, format="png", dpi=self.dpi)
            return buffer.getvalue()

    return DisplayedFigure


def tidy(axes: Axes) -> None:
    """A light grid behind the data, no box around it."""
    axes.grid(alpha=0.3, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def colour_of(method: str, augment: str = "") -> str:
    """The colour of a method; augmentations of a pretrained one have their own."""
    if method == "simclr" and augment in AUGMENT_COLOURS:
        return AUGMENT_COLOURS[augment]
    return COLOURS.get(method, "#000000")


def plot_class_counts(counts: pd.DataFrame) -> Figure:
    """Bars of images per class, one panel per split (columns of `findings.describe_data`)."""
    splits = [c for c in counts.columns if c != "share"]
    figure, grid = new_figure(9, 0.9 + 0.3 * len(counts), 1, len(splits))
    for axes, split in zip(grid[0], splits, strict=True):
        bars = axes.barh([str(name) for name in counts.index], counts[split], color="#0072B2")
        axes.bar_label(bars, fmt="{:,.0f}", padding=2, fontsize=8)
        axes.invert_yaxis()
        axes.set(title=split, xlabel="images", xlim=(0, max(counts[split].max(), 1) * 1.25))
        tidy(axes)
        if axes is not grid[0][0]:
            axes.set_yticklabels([])
    return figure


def plot_gallery(rows: Mapping[str, Images], zoom: float = 0.75) -> Figure:
    """Images in rows, each with its name at the left: name → uint8 [N, H, W, C]."""
    columns = max(len(images) for images in rows.values())
    figure, grid = new_figure(1.9 + zoom * columns, zoom * len(rows), len(rows), columns)
    for axes_row, (name, images) in zip(grid, rows.items(), strict=True):
        for axes, image in zip(axes_row, images, strict=False):
            show_image(axes, image)
        for axes in axes_row[len(images) :]:
            axes.axis("off")
        # Unbroken, a long name would take the room of the images.
        label = textwrap.fill(name, 28)
        axes_row[0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=8)
    figure.get_layout_engine().set(w_pad=0.01, h_pad=0.01, wspace=0.02, hspace=0.02)  # type: ignore[call-arg, union-attr]
    return figure


def show_image(axes: Axes, image: Images) -> None:
    """One image uint8 [H, W, C] with its pixels as they are."""
    grey = image.shape[-1] == 1
    axes.imshow(image[..., 0] if grey else image, cmap="gray" if grey else None, vmin=0, vmax=255)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def sample_gallery(data: DataSet, n: int, seed: int) -> dict[str, Images]:
    """A few training images of each class: class name → uint8 [≤ n, H, W, C]."""
    split, rng = data.splits["train"], np.random.default_rng(seed)
    if split.y is None:
        rows = np.sort(rng.permutation(len(split))[:n])
        return {"without labels": split.images[rows]}
    gallery = {}
    for k, name in enumerate(data.classes):
        has = split.y[:, k] == 1 if data.task == "multi-label" else split.y == k
        rows = np.sort(rng.permutation(np.flatnonzero(has))[:n])
        if len(rows):
            gallery[name] = split.images[rows]
    return gallery


def plot_history(history: Sequence[Mapping[str, float]], selected: int) -> Figure:
    """A pretraining epoch by epoch: loss, rank of the other view, kNN AUROC on validation."""
    table = pd.DataFrame(list(history))
    figure, grid = new_figure(10, 2.9, 1, 3)
    left, middle, right = grid[0]
    left.plot(table["epoch"], table["loss"], color="#0072B2")
    left.set(ylabel="NT-Xent loss", xlabel="epoch")
    middle.plot(table["epoch"], table["top1"], color="#0072B2", label="first")
    middle.plot(table["epoch"], table["top5"], color="#56B4E9", label="among first five")
    middle.set(ylabel="other view ranked", xlabel="epoch", ylim=(0, 1.02))
    middle.legend(frameon=False, fontsize=8)
    if "val_knn_auroc" in table:
        seen = table.dropna(subset="val_knn_auroc")
        right.plot(seen["epoch"], seen["val_knn_auroc"], "o-", ms=3, color="#0072B2")
        right.axvline(selected, color="#D55E00", lw=1, label=f"kept: epoch {selected}")
        right.legend(frameon=False, fontsize=8)
    right.set(ylabel="validation kNN AUROC", xlabel="epoch")
    for axes in grid[0]:
        tidy(axes)
    return figure


def plot_budgets(results: Sequence[Evaluated], metric: str = "auroc") -> Figure:
    """A metric on the test split over label budgets: a line per features and classifier."""
    test = [r for r in results if r.predictions.split == "test"]
    budgets = list(dict.fromkeys(r.labels for r in test))
    figure, grid = new_figure(8.5, 3.8)
    axes = grid[0][0]
    keys = list(dict.fromkeys((r.source, r.augment, r.protocol) for r in test))
    for i, (source, augment, protocol) in enumerate(keys):
        mine = [r for r in test if (r.source, r.augment, r.protocol) == (source, augment, protocol)]
        # Lines stand side by side, so that their intervals can be told apart.
        x = np.array([budgets.index(r.labels) for r in mine]) + 0.06 * (i - (len(keys) - 1) / 2)
        y = np.array([r.metrics[metric] for r in mine])
        low = y - np.array([r.intervals[metric].low for r in mine])
        high = np.array([r.intervals[metric].high for r in mine]) - y
        axes.errorbar(
            x,
            y,
            yerr=np.maximum([low, high], 0),
            fmt="o" + LINES[protocol],
            ms=4,
            capsize=2,
            lw=1.4,
            color=colour_of(source, augment),
            label=f"{name_source(source, augment)}: {PROTOCOL_NAMES[protocol]}",
        )
    axes.set_xticks(range(len(budgets)), budgets)
    axes.set(xlabel="labelled training images", ylabel=f"test {metric.upper()} (95% interval)")
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
    tidy(axes)
    return figure


def plot_confusion(counts: npt.NDArray[np.int64], classes: Sequence[str]) -> Figure:
    """Confusion matrix [K, K] as shares of each true class, with the counts written in."""
    K = len(classes)
    side = 1.8 + 0.62 * K
    figure, grid = new_figure(side + 0.6, side)
    axes = grid[0][0]
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for i in range(K):
        for j in range(K):
            ink = "white" if share[i, j] > 0.55 else "black"
            axes.text(j, i, f"{counts[i, j]:,}", ha="center", va="center", color=ink, fontsize=8)
    axes.set_xticks(range(K), classes, rotation=45, ha="right", fontsize=8)
    axes.set_yticks(range(K), classes, fontsize=8)
    axes.set(xlabel="predicted", ylabel="true")
    return figure


def plot_confusions(result: Evaluated) -> Figure:
    """The confusion matrix of one classifier; for multi-label tasks the recall of each label."""
    from lib.metrics import confusion_matrix

    p = result.predictions
    if p.task != "multi-label":
        return plot_confusion(confusion_matrix(p.y, p.scores, p.task), p.classes)
    figure, grid = new_figure(7, 0.9 + 0.3 * len(p.classes))
    axes = grid[0][0]
    axes.barh(p.classes, [result.metrics[f"recall_{name}"] for name in p.classes], color="#0072B2")
    axes.invert_yaxis()
    axes.set(xlabel="recall at threshold 0.5", xlim=(0, 1))
    tidy(axes)
    return figure
