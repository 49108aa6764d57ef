"""Gains over in-domain pretraining: which rows make a pair, and what the matrix holds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lib.figures.transfer import plot_transfer_matrix
from lib.run import COLUMNS
from lib.study.transfer import transfer_gains, transfer_matrix
from tests.figures.test_figures import png


def row(dataset: str, method: str, value: float, seed: int = 0, **columns: Any) -> dict[str, Any]:
    blank = dict.fromkeys(COLUMNS, "")
    about = {"notebook": "05_transfer", "encoder": "resnet18", "protocol": "probe", "size": 28}
    about |= {"labels": "all", "split": "test", "metric": "auroc", "seed": str(seed)}
    augment = "" if method in ("random", "imagenet") else "novel"
    return {
        **blank, **about, "dataset": dataset, "method": method, "value": value,
        "augment": augment, **columns,
    }  # fmt: skip


def study() -> pd.DataFrame:
    """Two data sets, three seeds; every value is the in-domain one plus a known gain."""
    rows = []
    for seed, base in enumerate([0.7, 0.8, 0.9]):
        for name, other, gain in (("a", "b", 0.02), ("b", "a", -0.03)):
            rows.append(row(name, "simclr", base, seed))
            rows.append(row(name, f"simclr from {other}", base + gain + 0.001 * seed, seed))
            rows.append(row(name, f"simclr from {other}>{name}", base + gain + 0.05, seed))
            rows.append(row(name, "random", base - 0.1, seed))
    return pd.DataFrame(rows)


def test_gains_are_paired_by_seed() -> None:
    gains = transfer_gains(study()).set_index(["source", "target"])
    assert list(gains["pairs"]) == [3] * 4
    assert gains.loc[("b", "a"), "mean"] == pytest.approx(0.021)
    assert gains.loc[("a", "b"), "mean"] == pytest.approx(-0.029)
    assert gains.loc[("random", "a"), "mean"] == pytest.approx(-0.1)
    # Student's t by hand: sd 0.001, t(2) at 97.5% = 4.3027; values over seeds swing by 0.1.
    half = 4.302653 * 0.001 / math.sqrt(3)
    assert gains.loc[("b", "a"), "low"] == pytest.approx(0.021 - half, abs=1e-6)
    assert gains.loc[("b", "a"), "high"] == pytest.approx(0.021 + half, abs=1e-6)


def test_the_matrix_has_the_sources_that_are_targets_on_its_diagonal() -> None:
    matrix = transfer_matrix(study())
    assert list(matrix.index) == ["a", "b", "random"]
    assert list(matrix.columns) == ["a", "b"]
    expected = [[0, -0.029], [0.021, 0], [-0.1, -0.1]]
    np.testing.assert_allclose(matrix.to_numpy(), expected, atol=1e-9)
    further = transfer_matrix(study(), further=True)
    np.testing.assert_allclose(further.loc["b", "a"], 0.07, atol=1e-9)
    assert further.loc["a", "a"] == 0


def test_only_what_agrees_makes_a_pair() -> None:
    table = study()
    extra = [
        row("a", "simclr from c", 0.9, 7),  # a seed without in-domain pretraining
        row("a", "simclr from e", 0.9, encoder="resnet50"),
        row("a", "simclr from f", 0.9, size=64),
        row("a", "simclr from g (warm)", 0.9),
        row("a", "supcon from h", 0.9),
        row("a", "simclr from i", 0.9, labels="100"),
        row("a", "simclr from j", 0.9, protocol="finetune"),
        row("a", "simclr from k", 0.9, split="val"),
        row("a", "simclr from l", 0.9, metric="accuracy"),
    ]
    both = pd.concat([table, pd.DataFrame(extra)])  # with repeated index values
    pd.testing.assert_frame_equal(transfer_gains(both), transfer_gains(table))


def test_a_source_with_views_of_its_own_stands_against_the_one_encoder_at_home() -> None:
    table = study()
    turned = pd.DataFrame([row("a", "simclr from d", 0.9, 2, augment="natural rotation=180")])
    found = transfer_gains(pd.concat([table, turned])).set_index(["source", "target"])
    assert found.loc[("d", "a"), "mean"] == pytest.approx(0.0)
    # Where the target's own encoders have two augmentations, it is not clear which to take.
    simple = table[table["method"] == "simclr"].assign(augment="simple")
    both = pd.concat([table, simple, turned])
    assert ("d", "a") not in transfer_gains(both).set_index(["source", "target"]).index


def test_the_in_domain_side_is_this_notebooks_own() -> None:
    table = study()
    sizes = table[table["method"] == "simclr"].assign(notebook="06_downsampling", value=0.1)
    probes = table[table["method"] == "simclr"].assign(notebook="02_probe", value=0.2)
    expected = transfer_gains(table).set_index(["source", "target"])
    found = transfer_gains(pd.concat([sizes, probes, table], ignore_index=True))
    pd.testing.assert_frame_equal(found.set_index(["source", "target"]), expected)
    # Where it measured none, another notebook's rows stand in, but never those of 06.
    without = table[table["method"] != "simclr"]
    found = transfer_gains(pd.concat([sizes, probes, without], ignore_index=True))
    assert found.set_index(["source", "target"]).loc[("b", "a"), "mean"] > 0.5
    assert transfer_gains(pd.concat([sizes, without])).empty
    assert transfer_matrix(pd.concat([sizes, without])).empty


def test_folds_are_the_unit_where_there_are_any() -> None:
    rows = []
    for fold, gain in enumerate([0.01, 0.02, 0.04]):
        rows.append(row("a", "simclr", 0.8, fold=str(fold)))
        rows.append(row("a", "simclr from b", 0.8 + gain, fold=str(fold)))
    (gain,) = transfer_gains(pd.DataFrame(rows)).to_dict("records")
    assert gain["pairs"] == 3
    # Nadeau & Bengio widen the interval, since training sets of folds overlap.
    half = 4.302653 * np.std([0.01, 0.02, 0.04], ddof=1) / math.sqrt(3)
    assert gain["high"] - gain["mean"] > 1.2 * half


def test_heat_map() -> None:
    matrix = transfer_matrix(study())
    matrix.loc["c"] = [math.nan, 0.015]
    figure = plot_transfer_matrix(matrix)
    assert len(png(figure)) > 1000
    texts = [t.get_text() for t in figure.axes[0].texts]
    assert texts == [
        "in-domain", "-0.029", "+0.021", "in-domain", "-0.100", "-0.100", "+0.015"
    ]  # fmt: skip
    assert len(figure.axes[0].patches) == 2
    names = [t.get_text() for t in figure.axes[0].get_yticklabels()]
    assert names == ["a", "b", "no pretraining", "c"]
    # No two colours of the scale are told apart by red and green alone.
    assert figure.axes[0].images[0].get_cmap().name == "PuOr"
    assert len(png(plot_transfer_matrix(transfer_matrix(study()) * 0))) > 1000
