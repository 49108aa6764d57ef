"""What every figure shares: size, colours, grid; no pyplot state."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from lib.figures.alt import describe_figure
from lib.methods import FLOORS, split_method

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


# A drawing larger than this is shown as pixels: thousands of points weigh more than their picture.
LARGEST = 400_000
ACROSS = 3  # panels beside each other
# Lines over label budgets: networks trained whole, frozen features, and what no pretraining made.
WHOLE, FROZEN, UNTRAINED = "-", "--", ":"


def line_style(method: str, protocol: str) -> str:
    """The line of a classifier over label budgets, the same in every figure of a study."""
    if protocol.startswith("finetune"):
        return WHOLE
    return UNTRAINED if split_method(method)[0] in FLOORS else FROZEN


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Figure, Any]:
    """An empty figure of `width` × `height` inches and its axes [rows, columns]."""
    figure = displayed_figure()(figsize=(width, height), layout="constrained", dpi=110)
    return figure, figure.subplots(rows, columns, squeeze=False)


def new_panels(
    n: int, panel: tuple[float, float], margin: tuple[float, float], most: int = ACROSS
) -> tuple[Figure, list[Any]]:
    """A figure of n panels, at most `most` in a row, and their axes; as few columns as rows allow.

    panel: width and height of one, in inches; margin: of what stands beside and below them all.
    """
    rows = -(-n // most)
    columns = -(-n // rows)
    width, height = panel[0] * columns + margin[0], panel[1] * rows + margin[1]
    figure, grid = new_figure(width, height, rows, columns)
    for axes in grid.flat[n:]:
        axes.axis("off")
    return figure, list(grid.flat[:n])


def first_in_row(panels: Sequence[Any]) -> list[Any]:
    """The panels with nothing on their left, which have the label of the vertical axis."""
    return [axes for axes in panels if axes.get_subplotspec().is_first_col()]


@cache
def displayed_figure() -> type[Figure]:
    """matplotlib's Figure, able to show itself in a notebook without pyplot's global state."""
    from matplotlib.figure import Figure

    class DisplayedFigure(Figure):
        # What the figure shows, in words; empty: read off what is drawn.
        alt = ""

        def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, str], dict[str, Any]]:
            """A drawing where it is small, else pixels; and the words for who sees neither."""
            alt = {"alt": describe_figure(self)}
            drawing = to_svg(self)
            if drawing is not None:
                return {"image/svg+xml": drawing}, {"image/svg+xml": alt}
            pixels = base64.b64encode(to_png(self)).decode("ascii")
            return {"image/png": pixels}, {"image/png": alt}

    return DisplayedFigure


def as_typed(name: str) -> str:
    """A name as matplotlib shows it sign by sign: between two `$` it would read a formula."""
    return name.replace("$", r"\$")


def tell(figure: Figure, text: str) -> Figure:
    """The figure, with words of its own for readers who do not see it."""
    figure.alt = text  # type: ignore[attr-defined]
    return figure


def to_png(figure: Figure) -> bytes:
    """A figure as pixels, as reports show it."""
    buffer = io.BytesIO()
    # One pass of the layout leaves labels beside images a few pixels outside.
    figure.draw_without_rendering()
    figure.savefig(buffer, format="png", dpi=figure.dpi)
    return buffer.getvalue()


def to_svg(figure: Figure, largest: int | None = LARGEST) -> str | None:
    """A figure as a drawing; None where it has more than `largest` letters, or shows images.

    Letters are outlines, so the drawing looks the same where this machine's fonts are missing.
    The same figure gives the same text.
    """
    from matplotlib import rc_context

    if any(axes.images for axes in figure.axes):
        return None
    buffer = io.StringIO()
    with rc_context({"svg.hashsalt": "figure", "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    if largest is not None and len(text) > largest:
        return None
    # The prologue names a document type by an address, which no viewer needs.
    return re.sub(r"\A<\?xml.*?<svg ", "<svg ", text, flags=re.DOTALL)


def tidy(axes: Axes) -> None:
    """A light grid behind the data, no box around it."""
    axes.grid(alpha=0.3, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def colour_of(method: str, augment: str = "") -> str:
    """The colour of a method as in summary.csv, whatever its source, variant or settings.

    SimCLR has one for each sequence of augmentations.
    """
    base = split_method(method)[0].partition("+")[0]
    sequence = re.split("[ ,]", augment, maxsplit=1)[0]
    if base == "simclr" and sequence in AUGMENT_COLOURS:
        return AUGMENT_COLOURS[sequence]
    return COLOURS.get(base, "#000000")


def colours_of(kinds: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Colours of methods and augmentations side by side: what would share one gets lighter ones."""
    from matplotlib.colors import to_hex, to_rgb

    given: dict[str, int] = {}
    found = {}
    for kind in dict.fromkeys(kinds):
        colour = colour_of(*kind)
        light = 1 - 0.6 ** given.get(colour, 0)  # the share of white
        given[colour] = given.get(colour, 0) + 1
        r, g, b = (part + light * (1 - part) for part in to_rgb(colour))
        found[kind] = to_hex((r, g, b))
    return found
