"""How a cost grows: exponents by least squares on logarithms, and plots with units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lib.figures.base import new_figure, tidy
from lib.files import replacing


@dataclass(frozen=True)
class Power:
    """y = factor · x^exponent. error: standard error of the exponent, NaN from two points."""

    factor: float
    exponent: float
    error: float
    points: int

    def at(self, x: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """The fitted y."""
        return np.asarray(self.factor * np.asarray(x, np.float64) ** self.exponent)

    def __str__(self) -> str:
        error = "" if np.isnan(self.error) else f" ± {self.error:.2f}"
        return f"{self.exponent:.2f}{error}"


def fit_power(x: Sequence[float], y: Sequence[float]) -> Power:
    """Ordinary least squares of log y on log x.

    ValueError for fewer than two different x or for numbers that are not positive. The error is
    that of the straight line on logarithms; where the points bend, it is no measure of that.
    """
    if len(x) != len(y) or len(set(x)) < 2 or min(*x, *y) <= 0:
        raise ValueError(f"expected two or more positive points; found {[*x]} and {[*y]}")
    u, v = np.log(np.asarray(x, np.float64)), np.log(np.asarray(y, np.float64))
    spread = float(((u - u.mean()) ** 2).sum())
    slope = float(((u - u.mean()) * (v - v.mean())).sum()) / spread
    left = v - v.mean() - slope * (u - u.mean())
    n = len(x)
    error = float(np.sqrt((left**2).sum() / (n - 2) / spread)) if n > 2 else float("nan")
    return Power(float(np.exp(v.mean() - slope * u.mean())), slope, error, n)


def plot_growth(
    path: Path,
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    x_label: str,
    y_label: str,
) -> dict[str, Power]:
    """Draw each series of (x, y) with its power law on logarithmic axes into an SVG; the fits."""
    figure, grid = new_figure(5.2, 3.4)
    axes = grid[0, 0]
    fits = {}
    for name, (x, y) in series.items():
        fits[name] = fit_power(x, y)
        [line] = axes.plot(x, y, "o", label=f"{name}: exponent {fits[name]}")
        axes.plot(x, fits[name].at(x), "-", color=line.get_color(), linewidth=1)
    axes.set(xscale="log", yscale="log", xlabel=x_label, ylabel=y_label)
    axes.legend(fontsize=8, frameon=False)
    tidy(axes)
    with replacing(path) as temporary:
        figure.savefig(temporary, metadata={"Date": None})
    return fits
