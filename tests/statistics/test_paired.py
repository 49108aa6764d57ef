"""Paired tests against scipy, closed forms and a slow oracle; what is paired with what."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from lib.statistics.paired import (
    CELL,
    FOUND,
    compare,
    concat_cells,
    fewest_datasets,
    fold_ratio,
    holm,
    paired_test,
    signed_rank,
)
from lib.study.measurements import measurements
from tests.summaries import PROBE, SCRATCH, as_table, make_row, over

GAINS = [0.03, 0.01, -0.02, 0.05, 0.02]


@pytest.mark.parametrize("level", [0.95, 0.8])
@pytest.mark.parametrize("margin", [0.0, -0.01])
def test_over_seeds_it_is_students_paired_t(level: float, margin: float) -> None:
    found = paired_test(GAINS, level, margin=margin)
    expected = stats.ttest_1samp(GAINS, margin)
    interval = expected.confidence_interval(level)
    assert (found.n, found.mean) == (5, pytest.approx(np.mean(GAINS)))
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.p == pytest.approx(expected.pvalue)


def test_over_folds_it_is_the_corrected_resampled_t() -> None:
    # Nadeau & Bengio 2003: t = mean / sqrt((1/k + n_test/n_train) s²), k − 1 degrees of freedom.
    k, ratio = len(GAINS), 0.25
    s2 = sum((g - np.mean(GAINS)) ** 2 for g in GAINS) / (k - 1)
    t = np.mean(GAINS) / math.sqrt((1 / k + ratio) * s2)
    found = paired_test(GAINS, ratio=ratio)
    assert found.p == pytest.approx(2 * stats.t.sf(abs(t), k - 1))
    assert found.mean - found.low == pytest.approx(
        stats.t.ppf(0.975, k - 1) * math.sqrt((1 / k + ratio) * s2)
    )
    assert found.p > paired_test(GAINS).p


@pytest.mark.parametrize("same", [[0.1], [0.1, 0.1, 0.1], [0.0, 0.0]])
def test_without_spread_there_is_no_test(same: list[float]) -> None:
    found = paired_test(same)
    assert found.mean == pytest.approx(same[0])
    assert all(math.isnan(v) for v in (found.low, found.high, found.p))


def closed_testing(p: list[float]) -> list[float]:
    """Holm's adjusted p by its definition: the largest Bonferroni p of any subset that holds i."""
    n, adjusted = len(p), []
    for i in range(n):
        subsets = [s for r in range(1, n + 1) for s in itertools.combinations(range(n), r)]
        worst = [min(1.0, len(s) * min(p[j] for j in s)) for s in subsets if i in s]
        adjusted.append(max(worst))
    return adjusted


@pytest.mark.parametrize("seed", range(5))
def test_holm_is_closed_testing_with_bonferroni(seed: int) -> None:
    p = list(np.random.default_rng(seed).beta(0.3, 2, size=7))
    assert holm(p) == pytest.approx(closed_testing(p))


def test_holm_by_hand_and_with_a_missing_test() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    first, missing, second = holm([0.02, math.nan, 0.5])
    assert (first, second) == pytest.approx((0.04, 0.5))
    assert math.isnan(missing)
    assert holm([]) == []


def test_folds_know_their_share_of_test_images() -> None:
    # A fifth is test; of the rest an eighth is validation.
    assert fold_ratio(["0", "1", "2", "3", "4"]) == pytest.approx(0.2 / (0.8 * 7 / 8))
    # Fewer folds than were planned: more caution, not less.
    assert fold_ratio(["0", "1"]) > fold_ratio(["0", "4"])


def test_wilcoxon_needs_enough_data_sets_to_reach_the_level() -> None:
    assert fewest_datasets(0.95) == 6
    for n in (5, 6):
        smallest = stats.wilcoxon(np.arange(1, n + 1)).pvalue
        assert (smallest < 0.05) == (n >= fewest_datasets(0.95))
    assert math.isnan(signed_rank([1, 2, 3, 4, 5], 0.95)[0])


def test_wilcoxon_over_data_sets() -> None:
    means = [0.1, 0.2, -0.05, 0.3, 0.25, 0.15, 0.12]
    p, upward = signed_rank(means, 0.95)
    assert (p, upward) == (pytest.approx(stats.wilcoxon(means).pvalue), True)
    assert signed_rank([-m for m in means], 0.95) == (pytest.approx(p), False)
    assert signed_rank([0.0] * 6, 0.95)[0] == 1.0


def test_pairs_share_seed_budget_and_data_set(tmp_path: Path) -> None:
    place = {"datasets": ("b", "a"), "labels": ("all", "100")}
    rows = [*over(PROBE, 0.9, **place), *over(SCRATCH, 0.8, **place)[::-1]]
    rows += [make_row(seed=77), make_row(dataset="alone")]
    table = measurements(as_table(rows, tmp_path))
    sides = [table[table["method"] == name] for name in ("simclr", "random")]
    cells = compare(*sides, ["size"])
    assert list(cells.columns) == [*CELL, *FOUND]
    assert {(d, w) for d, w in zip(cells["dataset"], cells["labels"], strict=True)} == {
        (d, w) for d in "ab" for w in ("all", "100")
    }
    assert set(cells["pairs"]) == {5}
    for cell in cells.itertuples():
        here = [s[(s["dataset"] == cell.dataset) & (s["labels"] == cell.labels)] for s in sides]
        a, b = (s.set_index("seed")["value"].sort_index() for s in here)
        expected = stats.ttest_rel(a, b)
        assert cell.p == pytest.approx(expected.pvalue)
        assert cell.units == pytest.approx({f"seed {s}": a[s] - b[s] for s in a.index})
    assert list(cells["corrected"]) == pytest.approx(holm(list(cells["p"])))


def test_folds_are_pairs_after_averaging_their_seeds(tmp_path: Path) -> None:
    rows = []
    for fold in range(5):
        for seed in range(3):
            gain = GAINS[fold] + (seed - 1) * 0.01
            rows.append(make_row(fold=fold, seed=seed, value=0.5 + gain))
            rows.append(make_row(**SCRATCH, fold=fold, seed=seed, value=0.5))
    table = measurements(as_table(rows, tmp_path))
    sides = [table[table["method"] == name] for name in ("simclr", "random")]
    [cell] = compare(*sides, ["size"]).to_dict("records")
    assert (cell["unit"], cell["pairs"]) == ("fold", 5)
    expected = paired_test(GAINS, ratio=fold_ratio(["4"]))
    assert (cell["mean"], cell["p"]) == pytest.approx((expected.mean, expected.p))


def test_families_are_corrected_together(tmp_path: Path) -> None:
    rows = [*over(PROBE, 0.9), *over(SCRATCH, 0.895, spread=0.01)]
    table = measurements(as_table(rows, tmp_path))
    sides = [table[table["method"] == name] for name in ("simclr", "random")]
    one = compare(*sides, ["size"])
    both = concat_cells([one, one, compare(sides[0].head(0), sides[1], ["size"])])
    assert list(both["corrected"]) == pytest.approx([min(1.0, 2 * one["p"].iloc[0])] * 2)
    assert concat_cells([one.head(0), one.head(0)]).empty
