"""Tables, sentences and figures about grades and severity, also where there is nothing to say."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from lib.evaluation.grading import Graded, Neighbours, grade_features
from lib.evaluation.severity import Severity, compare_with_probe, order_by_severity, vary_references
from lib.figures.severity import plot_grades, plot_references, plot_severity
from lib.findings.severity import (
    GRADE_NAMES,
    grading_table,
    mean_and_range,
    medians_table,
    neighbours_table,
    references_table,
    say_change,
    say_grading,
    say_references,
    say_severity,
    severity_table,
)
from lib.models.embed import flatten_pixels
from lib.statistics.correlation import Estimate
from tests.figures.test_figures import png
from tests.synthetic import NAMES, make_data

DATA = make_data("ordinal", grouped=True)
CLASSES = NAMES["ordinal"]
PIXELS = flatten_pixels(DATA)
RNG = np.random.default_rng(1)
NOISE = {name: RNG.normal(size=h.shape).astype(np.float32) for name, h in PIXELS.items()}
TRIED = [Neighbours(k, weighted) for k in (1, 5) for weighted in (False, True)]


@pytest.fixture(scope="module")
def graded() -> list[Graded]:
    features = {"random": NOISE, "supcon": PIXELS}
    return grade_features(features, DATA, TRIED, augment="fundus", bootstrap=100)


@pytest.fixture(scope="module")
def severities() -> list[Severity]:
    features = {"random": NOISE, "supcon": PIXELS}
    return order_by_severity(features, DATA, 8, augment="fundus", bootstrap=100)


@pytest.fixture(scope="module")
def sweep() -> pd.DataFrame:
    return vary_references({"random": NOISE, "supcon": PIXELS}, DATA, [1, 4, 12], [0, 1, 2])


def test_grading_tables(graded: list[Graded]) -> None:
    table = grading_table(graded)
    assert [*table.columns] == ["random encoder", "SupCon, fundus"]
    e = graded[1].errors["quadratic_kappa"]
    cell = table.loc[GRADE_NAMES["quadratic_kappa"], "SupCon, fundus"]
    assert cell == f"{e.value:.3f} ({e.low:.3f} to {e.high:.3f})"
    assert table.iloc[-1, 1] == graded[1].chosen.name
    tried = neighbours_table(graded)
    assert [*tried.index] == ["1 nearest", "1 nearest by distance", "5 nearest",
                              "5 nearest by distance"]  # fmt: skip


def test_grading_in_words(graded: list[Graded]) -> None:
    text = say_grading(graded, 100)
    assert "in the features of SupCon, fundus are off by" in text
    assert f"would be off by more, {graded[0].guess:.3f}" in text
    assert "- Against random encoder: mean absolute error in grades better (-" in text
    twins = [dataclasses.replace(graded[1], source=s) for s in ("random", "supcon")]
    assert say_grading(twins, 100).count("no clear difference (+0.000") == 2
    level = dataclasses.replace(graded[1], guess=graded[1].errors["grade_mae"].value)
    assert "no clear difference." in say_grading([level], 100)
    worse = dataclasses.replace(graded[1], guess=-1.0)
    assert "**less**" in say_grading([worse], 100)


def test_severity_tables(severities: list[Severity]) -> None:
    table = severity_table(severities)
    assert table.loc["healthy reference images"].tolist() == ["8", "8"]
    e = severities[1].order["kendall"]
    cell = table.loc[GRADE_NAMES["kendall"], "SupCon, fundus"]
    assert cell == f"{e.value:.3f} ({e.low:.3f} to {e.high:.3f})"
    medians = medians_table(severities, CLASSES)
    assert [*medians.index] == [*CLASSES]
    mine = severities[1].distance[severities[1].y == 2]
    assert medians.loc["severe", "SupCon, fundus"] == f"{np.median(mine):.4f}"


def test_severity_in_words(severities: list[Severity]) -> None:
    against = {
        "supcon": compare_with_probe(severities[1], DATA.splits["test"].y.astype(float), 100)
    }
    first, second = say_severity(severities, against, 100).splitlines()
    assert first.startswith("- **SupCon, fundus**: the further from the healthy, the higher")
    assert "fitted on grades: better (+" in first
    assert second.startswith("- **random encoder**: no clear order by grade")
    assert "Against it, SupCon, fundus is: better (+" in second

    def with_order(*values: float) -> list[Severity]:
        return [dataclasses.replace(severities[1], order={"spearman": Estimate(*values)})]

    assert "the **lower** the grade" in say_severity(with_order(-0.5, -0.6, -0.4))
    assert "no order" in say_severity(with_order(np.nan, np.nan, np.nan))


def test_references_in_words(sweep: pd.DataFrame) -> None:
    table = references_table(sweep, {"supcon": "fundus"})
    assert table.loc[("SupCon, fundus", "12"), "agreement"] == ("1.000 (1.000 to 1.000)")
    text = say_references(sweep)
    mine = sweep[(sweep["source"] == "supcon") & (sweep["references"] == 1)]["spearman"]
    assert text.startswith("With 1 healthy image as reference, Spearman")
    assert f"between {mine.min():.3f} and {mine.max():.3f}" in text

    def made(few: list[float], many: float) -> str:
        rows = [("supcon", 5, s, v) for s, v in enumerate(few)] + [("supcon", 50, 0, many)]
        return say_references(
            pd.DataFrame(rows, columns=["source", "references", "seed", "spearman"])
        )

    assert "no clear gain" in made([0.2, 0.5], 0.4)
    assert "above every choice" in made([0.2, 0.3], 0.4)
    assert "**below** every choice" in made([0.5, 0.6], 0.4)
    assert "With 50" not in made([0.2, 0.3], np.nan)
    assert say_references(sweep.assign(spearman=np.nan)) == "No choice of references gave an order."


def test_numbers_in_words() -> None:
    assert mean_and_range(pd.Series([0.5, np.nan, 0.7])) == "0.600 (0.500 to 0.700)"
    assert mean_and_range(pd.Series([np.nan])) == "–"
    assert say_change(Estimate(0.1, 0.05, 0.2)).startswith("better (+0.100")
    assert say_change(Estimate(0.1, 0.05, 0.2), less_is_better=True).startswith("**worse**")
    assert say_change(Estimate(-0.1, -0.2, -0.05), less_is_better=True).startswith("better (-0.100")
    assert say_change(Estimate(0.0, 0.0, 0.0)).startswith("no clear difference")
    assert "undefined" in say_change(Estimate(np.nan, np.nan, np.nan))


def test_figures(graded: list[Graded], severities: list[Severity], sweep: pd.DataFrame) -> None:
    png(plot_severity(severities, CLASSES))
    png(plot_grades(graded, CLASSES))
    png(plot_references(sweep, {"supcon": "fundus"}))
    long = ("no apparent retinopathy", "mild", "proliferative retinopathy")
    png(plot_severity(severities[:1], long))


def test_figures_of_many_flat_and_missing_values(severities: list[Severity]) -> None:
    many = dataclasses.replace(
        severities[0],
        distance=np.random.default_rng(0).random(5000),
        y=np.repeat([0, 2], [4990, 10]),
    )
    figure = plot_severity([many], CLASSES)
    png(figure)
    drawn = sum(len(line.get_xdata()) for line in figure.axes[0].lines if line.get_marker() == "o")
    assert drawn == 600 + 10
    png(plot_severity([dataclasses.replace(many, distance=np.full(5000, 0.5))], CLASSES))
