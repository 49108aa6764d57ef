"""What a foreign encoder is worth: tables, sentences and bars follow the intervals."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from lib.evaluation.evaluate import Evaluated, compare, label_budgets, probe_features
from lib.evaluation.transfer import Start, Transfer
from lib.figures.transfer import plot_transfer
from lib.findings.transfer import (
    differences_table,
    headline,
    name_classifier,
    say_pair,
    say_starts,
    say_transfer,
    transfer_table,
)
from lib.models.embed import flatten_pixels
from lib.statistics.bootstrap import Difference
from tests.figures.test_figures import png
from tests.synthetic import make_data


def as_finetuned(r: Evaluated) -> Evaluated:
    key = {**r.predictions.key, "protocol": "finetune"}
    predictions = dataclasses.replace(r.predictions, key=key)
    return dataclasses.replace(r, protocol="finetune", predictions=predictions)


@pytest.fixture(scope="module")
def found() -> Transfer:
    """Further pretraining takes the noise out of the source's features."""
    data = make_data("binary")
    clean, rng = flatten_pixels(data), np.random.default_rng(0)
    noisy = {
        name: (x + 4 * rng.normal(size=x.shape)).astype(np.float32) for name, x in clean.items()
    }
    starts = [
        Start("source", "simclr from a", "novel", "x"),
        Start("further", "simclr from a>b", "novel", "x"),
        Start("random", "random", "", "scratch"),
    ]
    features = {starts[0].method: noisy, starts[1].method: clean, "random": noisy}
    budgets, _ = label_budgets(data, "12,all", 0, 0)
    results = probe_features(features, data, budgets, augment="novel", knn_k=5, bootstrap=100)
    results += [as_finetuned(r) for r in results if r.protocol == "probe"]
    return Transfer("resnet18", starts, results, notes=["A note."])


def test_names() -> None:
    assert name_classifier("random", "", "probe") == "untrained, frozen"
    assert name_classifier("random", "", "finetune") == "from scratch"
    ours = name_classifier("simclr from a>b", "novel", "finetune")
    assert ours == "SimCLR, novel, from a then b, finetuned"


def test_tables(found: Transfer) -> None:
    table = transfer_table(found)
    assert list(table.columns) == ["12 labels", "all labels"]
    assert list(table.index) == [
        "SimCLR, novel, from a, frozen",
        "SimCLR, novel, from a then b, frozen",
        "untrained, frozen",
        "SimCLR, novel, from a, finetuned",
        "SimCLR, novel, from a then b, finetuned",
        "from scratch",
    ]
    r = found.test("further", "probe", "all")
    assert r is not None
    low, high, _ = r.intervals["auroc"]
    cell = f"{r.metrics['auroc']:.3f} ({low:.3f}–{high:.3f})"
    assert table.loc["SimCLR, novel, from a then b, frozen", "all labels"] == cell
    differences = differences_table(found, bootstrap=100, seed=1)
    other = found.test("source", "probe", "all")
    assert other is not None
    d = compare(r, other, 100, 1)["auroc"]
    row = ("frozen", "further pretraining minus the source's encoder")
    shown = f"{d.value:+.3f} ({d.low:+.3f} to {d.high:+.3f})"
    assert differences.loc[row, "all labels"] == shown
    assert ("finetuned", "the source's encoder minus training from scratch") in differences.index
    assert len(differences) == 6


def test_sentences_follow_the_intervals(found: Transfer) -> None:
    assert say_pair(["a", "b"], Difference(0.1, 0.05, 0.2)).startswith("a is above b (+0.100, 95%")
    assert say_pair(["a", "b"], Difference(-0.1, -0.2, -0.05)).startswith("a is **below** b (-0.1")
    assert say_pair(["a", "b"], Difference(0.1, -0.1, 0.2)).startswith("no clear difference bet")
    text = say_transfer(found, 100, 0)
    assert len(text.splitlines()) == 4
    frozen = next(line for line in text.splitlines() if "all labels, frozen" in line)
    # The source and the untrained encoder saw the same features.
    assert "no clear difference between the source's encoder and the untrained encoder" in frozen
    assert "further pretraining is above the source's encoder" in frozen
    floors = dataclasses.replace(found, starts=found.starts[-1:])
    assert say_transfer(floors).startswith("There is no pretrained encoder here")
    assert differences_table(floors).empty
    assert headline(found).startswith("test AUROC with all labels: SimCLR, novel, from a, frozen ")
    said = say_starts(found, ["Another note."]).splitlines()
    assert said[0] == "- SimCLR, novel, from a"
    assert said[-2:] == ["- A note.", "- Another note."]


def test_bars(found: Transfer) -> None:
    figure = plot_transfer(found)
    assert len(png(figure)) > 1000
    r = found.test("further", "probe", "all")
    assert r is not None
    bars = [(b.get_x(), b.get_width()) for b in figure.axes[1].patches]
    assert any(x == 0.5 and w == pytest.approx(r.metrics["auroc"] - 0.5) for x, w in bars)
    long = "simclr from npz:a_folder/with_a_long_name.npz>npz:a_folder/with_a_longer_name.npz"
    named = [dataclasses.replace(r, source=long) for r in found.results if "a>b" in r.source]
    assert len(png(plot_transfer(dataclasses.replace(found, results=named)))) > 1000
    assert isinstance(transfer_table(found, "accuracy"), pd.DataFrame)
    assert len(png(plot_transfer(found, "accuracy"))) > 1000
