"""Images side by side, and how many there are."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from lib.data.base import DataSet
from lib.figures.base import as_typed, new_figure, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Images = npt.NDArray[np.uint8]


def plot_class_counts(counts: pd.DataFrame) -> Figure:
    """Bars of images per class, one panel per split (columns of `findings.describe_data`)."""
    splits = [c for c in counts.columns if c != "share"]
    figure, grid = new_figure(9, 0.9 + 0.3 * len(counts), 1, len(splits))
    for axes, split in zip(grid[0], splits, strict=True):
        bars = axes.barh(
            [as_typed(str(name)) for name in counts.index], counts[split], color="#0072B2"
        )
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
        label = as_typed(textwrap.fill(name, 28))
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
