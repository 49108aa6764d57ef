"""What a figure shows, in words for readers who do not see it, read off what is drawn."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LONGEST = 900  # letters; a longer text would tire its listener
PANELS = 6  # panels described one by one, at most


def describe_figure(figure: Figure) -> str:
    """The text that stands for a figure: `figure.alt` where a plot has set it, else read off it.

    Read off: how many panels, their titles and axes, and each line, bar or cloud of points with
    its name and the values it begins and ends with.
    """
    given = getattr(figure, "alt", "")
    if given:
        return shorten(str(given))
    panels = [axes for axes in figure.axes if axes.axison and axes.get_label() != "<colorbar>"]
    pictures = [axes for axes in panels if axes.images and not len(axes.get_xticks())]
    if pictures and len(pictures) == len(panels):
        return shorten(describe_pictures(pictures))
    parts = [f"{len(panels)} panels."] if len(panels) > 1 else []
    shared = legend_names(figure)
    parts += [describe_axes(axes, shared) for axes in panels[:PANELS]]
    if len(panels) > PANELS:
        parts.append(f"{len(panels) - PANELS} more panels of the same kind.")
    return shorten(" ".join(part for part in parts if part) or "An empty figure.")


def shorten(text: str) -> str:
    """One line, cut after a word where it is too long."""
    # Names are escaped for matplotlib (`lib.figures.base.as_typed`), not for readers.
    line = " ".join(text.replace(r"\$", "$").split())
    return line if len(line) <= LONGEST else line[: LONGEST - 2].rpartition(" ")[0] + " …"


def describe_pictures(panels: list[Axes]) -> str:
    """A grid of images by the names of its rows and the captions over them."""
    rows = [axes.get_ylabel() for axes in panels if axes.get_ylabel()]
    titles = [axes.get_title() for axes in panels if axes.get_title()]
    text = f"{len(panels)} images"
    text += f" in rows: {listed(rows)}" if rows else ""
    return text + (f", captioned {listed(titles)}" if titles else "") + "."


def describe_axes(axes: Axes, shared: dict[Any, str]) -> str:
    """One panel: title, axes, and what is drawn in it."""
    title, x, y = axes.get_title(), axes.get_xlabel(), axes.get_ylabel()
    about = " over ".join(words for words in (y, x) if words)
    head = ": ".join(words for words in (title, about) if words)
    drawn = [*describe_lines(axes, shared), *describe_bars(axes), *describe_points(axes)]
    if not drawn and axes.images:
        drawn = describe_matrix(axes)
    return f"{head}: {'; '.join(drawn)}." if drawn and head else f"{head or '; '.join(drawn)}."


def describe_lines(axes: Axes, shared: dict[Any, str]) -> list[str]:
    """Each named line with its first and last value."""
    said = []
    for line in axes.lines:
        name = str(line.get_label())
        y = np.asarray(line.get_ydata(), dtype=float)
        seen = y[np.isfinite(y)]
        if name.startswith("_"):
            name = shared.get(style_of(line), "")
        if not name and len(axes.lines) == 1 and not axes.containers:
            name = axes.get_ylabel()
        if not name or not len(seen) or line.get_marker() in ("_", "|"):
            continue
        x = np.asarray(line.get_xdata(), dtype=float)
        if len(x) == 2 and x[0] == x[1] and set(y) == {0.0, 1.0}:  # a mark across the panel
            said.append(name)
            continue
        if len(seen) == 1 or (len(seen) == 2 and seen[0] == seen[1]):
            said.append(f"{name} {number(seen[0])}")
        else:
            said.append(f"{name} from {number(seen[0])} to {number(seen[-1])}")
    for container in axes.containers:
        name, data = str(container.get_label()), getattr(container, "lines", (None,))
        if name.startswith("_") and data and data[0] is not None:
            name = shared.get(style_of(data[0]), "")
        # Its own lines have names that begin with an underscore, so none is said twice.
        if name and not name.startswith("_") and data and data[0] is not None:
            y = np.asarray(data[0].get_ydata(), dtype=float)
            seen = y[np.isfinite(y)]
            if len(seen) and not any(s.startswith(f"{name} ") for s in said):
                span = f"from {number(seen[0])} to {number(seen[-1])}"
                said.append(f"{name} {span if len(seen) > 1 else number(seen[0])}")
    return said


def describe_bars(axes: Axes) -> list[str]:
    """Bars by the names beside them."""
    from matplotlib.container import BarContainer

    lying = [t.get_text() for t in axes.get_yticklabels()]
    standing = [t.get_text() for t in axes.get_xticklabels()]
    said = []
    for container in axes.containers:
        if not isinstance(container, BarContainer):
            continue
        across = len({round(bar.get_height(), 9) for bar in container.patches}) == 1
        names = lying if across and len(lying) >= len(container.patches) else standing
        for i, bar in enumerate(container.patches):
            value = bar.get_x() + bar.get_width() if across else bar.get_y() + bar.get_height()
            place = bar.get_y() + bar.get_height() / 2 if across else i
            at = round(float(place)) if across else i
            name = names[at] if 0 <= at < len(names) else ""
            said.append(f"{name} {number(value)}".strip())
    return said


def describe_points(axes: Axes) -> list[str]:
    """Clouds of points by name and size."""
    from matplotlib.collections import PathCollection

    clouds = [c for c in axes.collections if isinstance(c, PathCollection)]
    named = [(str(c.get_label()), len(np.asarray(c.get_offsets()))) for c in clouds]
    return [f"{n:,} points {name}" for name, n in named if not name.startswith("_")]


def describe_matrix(axes: Axes) -> list[str]:
    """A matrix of values by its rows, its columns and the range of its numbers."""
    rows = [t.get_text() for t in axes.get_yticklabels() if t.get_text()]
    columns = [t.get_text() for t in axes.get_xticklabels() if t.get_text()]
    values = np.asarray(axes.images[0].get_array(), dtype=float)
    span = f"values from {number(np.nanmin(values))} to {number(np.nanmax(values))}"
    return [f"rows {listed(rows)}", f"columns {listed(columns)}", span]


def legend_names(figure: Figure) -> dict[Any, str]:
    """Style of a line → its name, from the figure's legends."""
    found: dict[Any, str] = {}
    for legend in figure.legends:
        texts = [t.get_text() for t in legend.get_texts()]
        for handle, text in zip(legend.legend_handles, texts, strict=False):
            line = getattr(handle, "lines", [handle])[0]
            if line is not None and hasattr(line, "get_linestyle"):
                found[style_of(line)] = " ".join(text.split())
    return found


def style_of(line: Any) -> tuple[Any, ...]:
    """What tells lines of a figure apart for the eye."""
    from matplotlib.colors import to_hex

    if not hasattr(line, "get_marker"):
        return ()
    return to_hex(line.get_color()), line.get_linestyle(), line.get_marker()


def listed(words: Iterable[str], most: int = 12) -> str:
    """Words with commas, the first dozen of many."""
    kept = [" ".join(word.split()) for word in words]
    more = f" and {len(kept) - most} more" if len(kept) > most else ""
    return ", ".join(kept[:most]) + more


def number(value: float) -> str:
    """A number with three digits that count, whole ones as they are."""
    value = float(value)
    if value == int(value) and abs(value) < 1e6:
        return f"{int(value):,}"
    return f"{value:.3f}" if 0.001 <= abs(value) < 100 else f"{value:.3g}"
