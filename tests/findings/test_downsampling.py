"""How small images may get: kept, lost, or not to be told; from one run and over seeds."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest

from lib.evaluation.downsampling import AtSize, with_size
from lib.evaluation.evaluate import compare, label_budgets, probe_features
from lib.evaluation.size_changes import SizeChange, judge_change, size_changes, smallest_kept
from lib.figures.downsampling import plot_pareto
from lib.findings.downsampling import (
    describe_sizes,
    headline,
    say_sizes,
    say_smallest,
    sizes_table,
    smallest_size,
)
from lib.models.embed import flatten_pixels
from lib.run import COLUMNS
from lib.training.cost import Cost
from tests.figures.test_figures import png
from tests.synthetic import make_data


def change(size: int, low: float, high: float, tolerance: float = 1.0) -> SizeChange:
    value = (low + high) / 2
    return SizeChange(size, value, low, high, judge_change(low, high, tolerance))


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (-0.005, 0.02, "kept"),
        (0.01, 0.02, "kept"),
        (-0.01, 0.0, "kept"),
        (-0.03, -0.011, "lost"),
        (-0.03, -0.01, "open"),
        (-0.03, 0.03, "open"),
        (math.nan, math.nan, "open"),
    ],
)
def test_judge_change(low: float, high: float, expected: str) -> None:
    assert judge_change(low, high, 1.0) == expected


def test_the_smallest_size_is_reached_step_by_step() -> None:
    kept, lost, unclear = (-0.005, 0.005), (-0.08, -0.04), (-0.03, 0.01)
    assert smallest_kept(28, [change(7, *kept), change(14, *kept)]) == 7
    assert smallest_kept(28, [change(14, *kept), change(7, *lost)]) == 14
    # A smaller size that happens to do well does not make up for one that does not.
    assert smallest_kept(28, [change(14, *unclear), change(7, *kept)]) == 28
    assert smallest_kept(28, []) == 28


def test_every_answer_has_its_sentence() -> None:
    kept, lost, unclear = (-0.005, 0.005), (-0.08, -0.04), (-0.03, 0.01)

    def say(*changes: SizeChange) -> str:
        return say_smallest(28, changes, 1.0)

    assert say().startswith("only 28 px was studied")
    both = say(change(14, *kept), change(7, *kept))
    assert both.startswith("**7 px**, the smallest size studied, costs no more than 1 point of")
    assert "14 against 28 px: +0.0 points, 95% interval -0.5 to +0.5" in both
    one = say(change(7, *lost), change(14, *kept))
    assert one.startswith("**14 px** costs no more than 1 point of AUROC; 7 px costs more (14 aga")
    rest = say(change(7, *unclear), change(14, *kept))
    assert rest.startswith("**14 px** costs no more than 1 point of AUROC; whether 7 px does can")
    assert say(change(14, *lost)).startswith("**no smaller than 28 px**: 14 px already costs more")
    assert say(change(14, *unclear)).startswith("it **cannot be told** whether 14 px costs more")
    alone = say_smallest(28, [change(14, math.nan, math.nan, 2.5)], 2.5)
    assert "more than 2.5 points of AUROC" in alone
    assert "one seed" in alone


@pytest.fixture(scope="module")
def found() -> list[AtSize]:
    """Pixels with more and more noise stand for encoders at smaller and smaller sizes."""
    data = make_data("ordinal")
    budgets, _ = label_budgets(data, "12,all", 0, 0)
    clean, rng = flatten_pixels(data), np.random.default_rng(0)
    steps = []
    for i, (size, noise) in enumerate([(7, 6.0), (14, 0.0), (28, 0.0)]):
        h = {
            name: (x + noise * rng.normal(size=x.shape)).astype(np.float32)
            for name, x in clean.items()
        }
        results = probe_features(
            {"simclr": h, "random": h}, data, budgets, augment="novel", knn_k=5, bootstrap=100
        )
        memory = None if i == 0 else 10.0 * size
        cost = Cost(3.0 * size, float(size), 100, memory)
        notes = ("shared", f"Images of {size} px are resampled.") if size < 28 else ("shared",)
        named = [with_size(r, size) for r in results]
        steps.append(AtSize(size, "simclr", "resnet18", named, cost, [], 1, notes))
    return steps


def test_changes_are_the_paired_bootstrap_against_the_largest(found: list[AtSize]) -> None:
    small, large = found[0].test("all"), found[-1].test("all")
    assert small is not None
    assert large is not None
    expected = compare(small, large, 200, 3)["auroc"]
    changes = size_changes(found, "all", 1.0, bootstrap=200, seed=3)
    assert [c.size for c in changes] == [14, 7]
    assert (changes[1].value, changes[1].low, changes[1].high) == expected[:3]
    assert changes[0].value == 0
    assert [c.judgement for c in changes] == ["kept", "lost"]


def test_table_and_sentences(found: list[AtSize]) -> None:
    table = sizes_table(found)
    assert list(table.columns) == ["28 px", "14 px", "7 px"]
    large = found[-1].test("all")
    assert large is not None
    low, high, _ = large.intervals["auroc"]
    shown = f"{large.metrics['auroc']:.3f} ({low:.3f}–{high:.3f})"
    assert table.loc["AUROC, all labels", "28 px"] == shown
    assert table.loc["peak memory, MiB"].tolist() == ["280", "140", "not measured"]
    assert table.loc["images per second", "28 px"] == "4"
    text = say_sizes(found, 1.0, 100, 0)
    assert "- **all labels**: **14 px** costs no more than 1 point" in text
    assert "took 280 s at 28 px and 70 s at 7 px, 4 times less" in text
    # The floor saw the same features.
    assert text.count("no clear difference") == 3
    alone = say_sizes(found[-1:], 1.0, 100, 0)
    assert "only 28 px was studied" in alone
    assert "Cost" not in alone
    assert headline(found).startswith("SimCLR, novel, all labels: test AUROC ")
    data = make_data("ordinal")
    assert (
        describe_sizes(found, data).splitlines()[0]
        == "- 28 px: as Tiny ordinal comes at this size."
    )
    assert "shared" not in describe_sizes(found, data)


def test_pareto_figure(found: list[AtSize]) -> None:
    figure = plot_pareto(found)
    assert len(png(figure)) > 1000
    texts = [t.get_text() for t in figure.axes[1].texts]
    assert texts == ["7 px", "14 px", "28 px"]
    # 28 px is dearer than 14 px and no better.
    filled = [line for line in figure.axes[1].lines if line.get_label().startswith("SimCLR")]
    assert list(filled[0].get_xdata()) == [70.0, 140.0]
    dear = [
        dataclasses.replace(at, results=[r for r in at.results if r.source == "simclr"])
        for at in found
    ]
    assert len(png(plot_pareto(dear[-1:]))) > 1000


def summary(values: dict[tuple[int, int], float], **columns: str) -> pd.DataFrame:
    """Rows of 06_downsampling: (size, seed) → AUROC."""
    rows = []
    for (size, seed), value in values.items():
        row = dict.fromkeys(COLUMNS, "")
        row |= {"notebook": "06_downsampling", "dataset": "breastmnist", "method": "simclr"}
        row |= {"augment": "novel", "encoder": "resnet18", "protocol": "probe", "labels": "all"}
        row |= {"split": "test", "metric": "auroc", "seed": str(seed), **columns}
        rows.append({**row, "size": size, "value": value})
    return pd.DataFrame(rows)


def test_smallest_size_over_seeds() -> None:
    values = {}
    for seed, base in enumerate([0.80, 0.85, 0.90]):
        # Seeds differ by far more than sizes: only paired differences can tell.
        values |= {(28, seed): base, (14, seed): base - 0.002 - 0.0005 * seed}
        values |= {(7, seed): base - 0.1 - 0.01 * seed}
    table = smallest_size(summary(values), tolerance=1.0)
    (row,) = table.to_dict("records")
    assert (row["reference"], row["pairs"], row["smallest"]) == (28, 3, 14)
    # Student's t by hand: mean -0.0025, sd 0.0005, t(2) at 97.5% = 4.3027.
    half = 4.302653 * 0.0005 / math.sqrt(3)
    assert f"{100 * (-0.0025 - half):+.1f} to {100 * (-0.0025 + half):+.1f}" in row["answer"]
    assert "7 px costs more" in row["answer"]
    # The same sizes with another tolerance, and what is not about sizes left out.
    assert smallest_size(summary(values), tolerance=0.1)["smallest"].tolist() == [28]
    probe = summary({(28, 0): 0.1, (7, 0): 0.9}, notebook="02_probe")
    both = pd.concat([probe, summary(values), summary({(7, 0): 0.1}, method="random")])
    assert smallest_size(both, tolerance=1.0)["answer"].tolist() == [row["answer"]]


def test_smallest_size_from_one_seed_cannot_be_told() -> None:
    table = smallest_size(summary({(28, 0): 0.9, (14, 0): 0.9}))
    assert table["smallest"].tolist() == [28]
    assert "cannot be told" in table["answer"][0]
    assert "one seed" in table["answer"][0]
    assert smallest_size(summary({(28, 0): 0.9})).empty
    assert smallest_size(summary({(28, 0): 0.9}, split="val")).empty


def test_smallest_size_for_each_data_set_and_budget() -> None:
    values = {(28, 0): 0.9, (14, 0): 0.89, (28, 1): 0.8, (14, 1): 0.795}
    parts = [summary(values, labels=w) for w in ("all", "100")]
    parts.append(summary(values, dataset="aset"))
    table = smallest_size(pd.concat(parts, ignore_index=True))
    found = list(zip(table["dataset"], table["labels"], strict=True))
    assert found == [("aset", "all"), ("breastmnist", "100"), ("breastmnist", "all")]
