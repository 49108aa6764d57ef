"""What comparisons answer on a claim: supported, contradicted, no clear difference, not tested."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import pandas as pd

from lib.statistics.paired import CELL, FOUND, Paired, paired_test, signed_rank
from lib.study.measurements import IN_FOLDS

Rule = Literal["general", "consistent", "some"]
Answer = Literal["supported", "contradicted", "no clear difference", "not tested here"]
NOT_TESTED: Answer = "not tested here"


@dataclass(frozen=True)
class Verdict:
    """The answer on one claim, and what it rests on.

    effect: difference on average over data sets, with its interval over seeds. tested: cells with
    a p value; above, below: those clear after correction. datasets: mean difference of each.
    p: of Wilcoxon's test over data sets; NaN where there are too few for one.
    """

    claim: str
    metric: str
    rule: Rule
    answer: Answer
    effect: Paired
    tested: int = 0
    above: int = 0
    below: int = 0
    datasets: dict[str, float] = field(default_factory=dict)
    p: float = math.nan
    cells: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=[*CELL, *FOUND]))


def decide(
    claim: str, cells: pd.DataFrame, metric: str, rule: Rule = "general", level: float = 0.95
) -> Verdict:
    """The answer that the cells of a claim give, at confidence `level`.

    A cell is clear when its corrected p is below 1 − level. Rules:
    general: by Wilcoxon's test over data sets; where there are too few, supported when some cell
    is clearly above, none clearly below, and every data set above on average.
    consistent: supported when every data set has a cell clearly above; any cell clearly below
    contradicts it.
    some: supported when any cell is clearly above; contradicted when all are clearly below.
    Above and below mean above and below the margin of the cells.
    """
    if cells.empty:
        return Verdict(claim, metric, rule, NOT_TESTED, Paired(0, math.nan))
    distance = cells["mean"] - cells["margin"]
    clear = cells["corrected"] < 1 - level
    tested = int(cells["p"].notna().sum())
    above, below = int((clear & (distance > 0)).sum()), int((clear & (distance < 0)).sum())
    names = images_of(cells)
    datasets = {
        str(k): float(v) for k, v in cells["mean"].groupby(names, sort=False).mean().items()
    }
    distances = distance.groupby(names, sort=False).mean()
    p, upward = signed_rank(list(distances), level)
    won = set(names[clear & (distance > 0)])
    answer: Answer = "no clear difference"
    if tested == 0:
        answer = NOT_TESTED
    elif rule == "some":
        answer = "supported" if above else "contradicted" if below == tested else answer
    elif rule == "consistent":
        answer = "contradicted" if below else "supported" if won == set(datasets) else answer
    elif not math.isnan(p):
        if p < 1 - level:
            answer = "supported" if upward else "contradicted"
    elif above and not below and (distances > 0).all():
        answer = "supported"
    elif below and not above and (distances < 0).all():
        answer = "contradicted"
    effect = average_effect(cells, level)
    return Verdict(claim, metric, rule, answer, effect, tested, above, below, datasets, p, cells)


def average_effect(cells: pd.DataFrame, level: float = 0.95) -> Paired:
    """The difference averaged over cells within a data set, then over data sets, with an interval.

    The interval is over the seeds (or folds) that every cell has; the data sets are taken as they
    are, so it says nothing of others. Where cells share fewer than two, there is no interval. Cells
    of a single pair, which nothing can be tested with, count only where there are no others.
    """
    if (cells["pairs"] > 1).any():
        cells = cells[cells["pairs"] > 1]
    units = pd.DataFrame(list(cells["units"])).dropna(axis=1)
    datasets = images_of(cells).reset_index(drop=True)
    if units.shape[1] >= 2:
        means = units.groupby(datasets).mean().mean()
        ratio = float(cells["ratio"].max())
        return paired_test(list(means), level, ratio=ratio)
    return Paired(0, float(cells["mean"].groupby(images_of(cells)).mean().mean()))


def images_of(cells: pd.DataFrame) -> pd.Series:
    """The data set of each cell; one with a split of its own and folds beside it is one."""
    return cells["dataset"].str.removesuffix(IN_FOLDS)
