"""What every figure shares: size, colours, grid; no pyplot state."""

from __future__ import annotations

import io
from functools import cache
from typing import TYPE_CHECKING, Any

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
    "fundus": "#882255",
}


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


def as_typed(name: str) -> str:
    """A name as matplotlib shows it sign by sign: between two `$` it would read a formula."""
    return name.replace("$", r"\$")


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
