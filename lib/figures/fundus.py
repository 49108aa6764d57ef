"""What each step of preprocessing makes of a fundus photograph."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING

from lib.figures.base import new_figure
from lib.figures.images import Images, show_image

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_sample_steps(size: int = 224) -> Figure:
    """`plot_steps` for the photograph that scikit-image ships."""
    from lib.data.fundus import sample_photograph, steps

    return plot_steps(steps(sample_photograph(), size))


def plot_steps(pictures: Mapping[str, Images]) -> Figure:
    """Pictures of any size side by side, each under its number and name.

    pictures: name → uint8 [H, W, C], as `lib.data.fundus.steps` gives them.
    """
    figure, grid = new_figure(2.1 * len(pictures), 2.5, 1, len(pictures))
    for i, (axes, (name, picture)) in enumerate(zip(grid[0], pictures.items(), strict=True), 1):
        show_image(axes, picture)
        axes.set_title(textwrap.fill(f"{i}. {name}", 24), fontsize=8)
    return figure
