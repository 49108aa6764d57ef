"""Verdicts: the answer follows the effect that was put in, and its absence."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lib.statistics.paired import compare
from lib.study.measurements import IN_FOLDS, measurements
from lib.study.verdicts import Verdict, average_effect, decide
from tests.summaries import PROBE, SCRATCH, as_table, over

MANY = tuple("abcdefg")


def cells(tmp_path: Path, gains: dict[str, float], margin: float = 0.0, **columns: Any) -> Any:
    """Cells of a probe over scratch with a gain for each data set."""
    rows = []
    for dataset, gain in gains.items():
        place = {"labels": ("100", "all"), **columns, "datasets": (dataset,)}
        rows += [*over(PROBE, 0.8 + gain, **place), *over(SCRATCH, 0.8, **place)]
    table = measurements(as_table(rows, tmp_path))
    sides = [table[table["method"] == name] for name in ("simclr", "random")]
    return compare(*sides, ["size"], margin=margin)


def judged(tmp_path: Path, gains: dict[str, float], rule: Any = "general", **how: Any) -> Verdict:
    return decide("pretraining", cells(tmp_path, gains, **how), "auroc", rule)


def test_an_effect_everywhere_is_supported(tmp_path: Path) -> None:
    v = judged(tmp_path, dict.fromkeys("ab", 0.1))
    assert (v.answer, v.above, v.below, v.tested) == ("supported", 4, 0, 4)
    assert v.effect.low < 0.1 < v.effect.high
    assert set(v.datasets) == {"a", "b"}
    assert math.isnan(v.p)


def test_a_harm_everywhere_is_contradicted(tmp_path: Path) -> None:
    v = judged(tmp_path, dict.fromkeys("ab", -0.1))
    assert (v.answer, v.above, v.below) == ("contradicted", 0, 4)


@pytest.mark.parametrize("datasets", [("a", "b"), MANY])
@pytest.mark.parametrize("rule", ["general", "consistent"])
def test_no_effect_is_no_clear_difference(datasets: Any, rule: Any, tmp_path: Path) -> None:
    v = judged(tmp_path, dict.fromkeys(datasets, 0.0), rule, spread=0.05)
    assert v.answer == "no clear difference"
    assert v.effect.low < 0 < v.effect.high


def test_good_here_and_bad_there_is_no_clear_difference(tmp_path: Path) -> None:
    v = judged(tmp_path, {"a": 0.1, "b": -0.05})
    assert (v.answer, v.above, v.below) == ("no clear difference", 2, 2)
    assert judged(tmp_path, {"a": 0.1, "b": -0.05}, "consistent").answer == "contradicted"


def test_consistent_asks_for_every_data_set(tmp_path: Path) -> None:
    assert judged(tmp_path, dict.fromkeys("ab", 0.1), "consistent").answer == "supported"
    gains = {"a": 0.1, "b": 0.0001}
    assert judged(tmp_path, gains, "consistent", spread=0.004).answer == "no clear difference"


def test_with_enough_data_sets_wilcoxon_decides(tmp_path: Path) -> None:
    gains = dict(zip(MANY, [0.1, 0.08, 0.02, 0.05, 0.04, 0.03, -0.01], strict=True))
    v = judged(tmp_path, gains)
    assert v.below > 0  # one data set is clearly worse, and still
    assert v.answer == "supported"
    assert v.p == pytest.approx(stats.wilcoxon(list(v.datasets.values())).pvalue)
    assert judged(tmp_path, {k: -g for k, g in gains.items()}).answer == "contradicted"


def test_one_seed_allows_no_test(tmp_path: Path) -> None:
    v = judged(tmp_path, dict.fromkeys("ab", 0.1), seeds=[0])
    assert (v.answer, v.tested) == ("not tested here", 0)
    assert v.effect.mean == pytest.approx(0.1, abs=0.01)
    assert math.isnan(v.effect.low)


def test_nothing_to_compare_is_not_tested(tmp_path: Path) -> None:
    found = cells(tmp_path, {"a": 0.1})
    v = decide("pretraining", found.head(0), "auroc")
    assert (v.answer, v.datasets, v.tested) == ("not tested here", {}, 0)


def test_within_the_tolerance_somewhere_is_enough_for_some(tmp_path: Path) -> None:
    gains = {"a": 0.0, "b": -0.1}
    v = judged(tmp_path, gains, "some", margin=-0.01)
    assert (v.answer, v.above, v.below) == ("supported", 2, 2)
    assert judged(tmp_path, {"b": -0.1}, "some", margin=-0.01).answer == "contradicted"
    found = cells(tmp_path, {"a": 0.0}, margin=-0.01)
    undecided = found.assign(mean=-0.008, p=0.6, corrected=1.0)
    assert decide("x", undecided, "auroc", "some").answer == "no clear difference"


def test_the_level_decides_what_is_clear(tmp_path: Path) -> None:
    found = cells(tmp_path, {"a": 0.004}, labels=("100",), spread=0.002)
    p = float(found["corrected"].iloc[0])
    assert 0.0001 < p < 0.1
    assert decide("x", found, "auroc", level=1 - 2 * p).answer == "supported"
    assert decide("x", found, "auroc", level=1 - p / 2).answer == "no clear difference"


def test_the_average_gives_each_data_set_the_same_weight(tmp_path: Path) -> None:
    both = [cells(tmp_path, {"a": 0.1}), cells(tmp_path, {"b": 0.0}, labels=("100",))]
    found = pd.concat(both, ignore_index=True)
    effect = average_effect(found)
    by_seed = [
        np.mean([np.mean([u[f"seed {s}"] for u in part["units"]]) for part in both])
        for s in range(5)
    ]
    expected = stats.ttest_1samp(by_seed, 0).confidence_interval(0.95)
    assert (effect.n, effect.mean) == (5, pytest.approx(np.mean(by_seed)))
    assert (effect.low, effect.high) == pytest.approx((expected.low, expected.high))


def test_data_sets_without_a_common_seed_have_no_common_interval(tmp_path: Path) -> None:
    both = [cells(tmp_path, {"a": 0.1}), cells(tmp_path, {"b": 0.0}, seeds=[8, 9])]
    effect = average_effect(pd.concat(both, ignore_index=True))
    assert effect.mean == pytest.approx(0.05, abs=0.01)
    assert math.isnan(effect.low)


def test_a_data_set_with_folds_beside_its_own_split_counts_once(tmp_path: Path) -> None:
    both = cells(tmp_path, {"a": 0.1, "a" + IN_FOLDS: 0.2, "b": 0.3})
    v = decide("pretraining", both, "auroc")
    assert v.datasets == pytest.approx({"a": 0.15, "b": 0.3}, abs=0.01)
    assert v.effect.mean == pytest.approx(0.225, abs=0.01)


def test_a_cell_of_one_seed_takes_no_interval_from_the_others(tmp_path: Path) -> None:
    several = cells(tmp_path, {"a": 0.1})
    single = cells(tmp_path, {"a": 0.5}, seeds=[0], labels=("tail 100",))
    both = average_effect(pd.concat([several, single], ignore_index=True))
    alone = average_effect(several)
    assert (both.n, both.mean, both.low) == (alone.n, alone.mean, alone.low)
    assert average_effect(single).mean == pytest.approx(0.5, abs=0.01)
