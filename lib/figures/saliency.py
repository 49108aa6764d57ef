"""Images with what a network looked at laid over them, right decisions above wrong ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lib.data.base import DataSet, labels_of
from lib.evaluation.saliency import Saliency
from lib.figures.base import new_figure, tell
from lib.figures.images import show_image
from lib.figures.retrieval import caption, frame
from lib.findings.retrieval import name_labels_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_saliency(found: Saliency, data: DataSet, split: str = "test") -> Figure:
    """Cases in rows of right and wrong decisions: each image, and the same under its map.

    Yellow is where the decision came from. A solid frame and ✓: decided rightly; dashed and ✗:
    wrongly. Above the image its own label, above the map the one decided for.
    """
    cases = found.cases
    sides = [np.flatnonzero(cases.right == side) for side in (True, False)]
    sides = [side for side in sides if len(side)]
    columns = max((len(side) for side in sides), default=1)
    figure, grid = new_figure(
        2.3 * columns + 0.3, 1.65 * max(1, len(sides)), max(1, len(sides)), 2 * columns
    )
    for axes in grid.flat:
        axes.set_axis_off()
    labels = labels_of(data, split)
    said = []
    for row, side in zip(grid, sides, strict=False):
        for j, i in enumerate(side):
            at = int(cases.rows[i])
            decided = str(data.classes[cases.decided[i]])
            image = np.asarray(data.splits[split].images[at])
            own = name_labels_of(labels[at], data.classes)
            draw_case(row[2 * j], row[2 * j + 1], image, found.maps[i])
            caption(row[2 * j], "is", own)
            caption(row[2 * j + 1], f"{'✓' if cases.right[i] else '✗'} decided", decided)
            frame(row[2 * j + 1], bool(cases.right[i]))
            said.append(f"{own} decided {decided}")
    figure.get_layout_engine().set(w_pad=0.04, h_pad=0.05, wspace=0.03, hspace=0.03)  # type: ignore[call-arg, union-attr]
    right = int(cases.right.sum())
    return tell(
        figure,
        f"Grad-CAM maps over {right} test images that were decided rightly and "
        f"{len(cases.right) - right} decided wrongly: {'; '.join(said)}.",
    )


def draw_case(left: Any, right: Any, image: Any, values: Any) -> None:
    """An image, and beside it the same in grey with its map over it, smoothed to its size."""
    left.set_axis_on()
    right.set_axis_on()
    show_image(left, image)
    grey = image.mean(axis=-1, keepdims=True).astype(np.uint8)
    show_image(right, grey)
    side = image.shape[0]
    # Cells as wide as they are in the image: the middle of the first is not at its edge.
    right.imshow(
        values, cmap="viridis", vmin=0, vmax=1, alpha=0.55, interpolation="bilinear",
        extent=(-0.5, side - 0.5, side - 0.5, -0.5),
    )  # fmt: skip
