"""Sections of a study's page, made once for the same numbers, and their figures beside the page."""

from __future__ import annotations

import base64
import html
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from lib.figures.alt import describe_figure
from lib.figures.base import to_png, to_svg
from lib.files import write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# (folder, section) → the numbers it was made from, its HTML, and the drawings it saved. A page is
# written after each run, and most runs change few of its sections, which take seconds to make.
_made: dict[tuple[Path, str], tuple[str, str, dict[str, str]]] = {}


class Drawings:
    """Sections of one page with their figures.

    folder: where drawings are kept; saved: the files of those on the page, and their titles.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.saved: dict[str, str] = {}

    def section(self, name: str, rows: pd.DataFrame, make: Callable[[], str]) -> str:
        """A section's HTML, made again only when `rows`, all that it is made from, have changed."""
        key, mark = (self.folder, name), fingerprint(rows)
        known = _made.get(key)
        if known is None or known[0] != mark or not all(map(self.is_there, known[2])):
            before, self.saved = self.saved, {}
            known = _made[key] = (mark, make(), self.saved)
            self.saved = before
        self.saved |= known[2]
        return known[1]

    def is_there(self, file: str) -> bool:
        """Whether a saved drawing still lies beside the page."""
        return (self.folder.parent / file).exists()

    def show(self, name: str, title: str, figure: Figure | None) -> str:
        """A figure as HTML, with a link to its drawing; empty where there is none."""
        if figure is None:
            return ""
        file = self.folder / f"{name}.svg"
        source, alt = self.keep(file, figure)
        self.saved[f"{self.folder.name}/{file.name}"] = title
        link = f"<a href='{self.folder.name}/{file.name}' download>SVG</a>"
        return (
            "<figure><div class='scroll' tabindex='0' role='group' aria-label='Figure'>"
            f"<img src='{source}' alt='{html.escape(alt, quote=True)}'></div>"
            f"<figcaption>{html.escape(title)} ({link})</figcaption></figure>"
        )

    def keep(self, file: Path, figure: Figure) -> tuple[str, str]:
        """Write the drawing, and give it as an image for the page and in words."""
        drawing = to_svg(figure, largest=None)
        assert drawing is not None, "a figure of a study's page shows no images"
        write_text(file, drawing)
        alt = describe_figure(figure)
        # A drawing of very many lines is heavier than its pixels.
        if len(drawing) <= LARGEST_SHOWN:
            return "data:image/svg+xml;base64," + encode(drawing.encode()), alt
        return "data:image/png;base64," + encode(to_png(figure)), alt


LARGEST_SHOWN = 1_000_000


def encode(content: bytes) -> str:
    """Bytes as a data address holds them."""
    return base64.b64encode(content).decode("ascii")


def fingerprint(rows: pd.DataFrame) -> str:
    """The same text for the same rows."""
    return str(int(pd.util.hash_pandas_object(rows, index=False).to_numpy().sum())) + str(len(rows))
