"""The report's figures: what is drawn, and that nothing is drawn of nothing."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pandas as pd
import pytest

from lib.figures.report import plot_beside, published_points
from lib.figures.verdicts import plot_verdict
from lib.study.claims import judge
from lib.study.measurements import measurements
from lib.study.published import REBUILT
from tests.summaries import as_table, whole_study


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    return as_table(whole_study(("bloodmnist", "cells")), tmp_path_factory.mktemp("study"))


def test_ours_are_lines_and_published_are_marks(study: pd.DataFrame) -> None:
    figure = plot_beside(study, "auroc")
    assert figure is not None
    panels = [axes for axes in figure.axes if axes.get_title()]
    # At the size that others published, and at the largest where nobody did.
    assert [axes.get_title() for axes in panels] == ["bloodmnist, 28 px", "cells, 28 px"]
    blood, cells = panels
    assert len(blood.containers) == len(cells.containers) == 7  # no encoder from elsewhere
    marks = [line for line in blood.lines if line.get_markerfacecolor() == "none"]
    drawn = sorted(float(y) for line in marks for y in line.get_ydata())
    assert drawn == sorted(published_points("bloodmnist", 28, "auroc")["value"])
    assert not [line for line in cells.lines if line.get_markerfacecolor() == "none"]
    assert [t.get_text() for t in blood.get_xticklabels()] == ["100", "250", "1000", "all"]
    line = blood.containers[0][0]
    rows = measurements(study)
    own = rows[(rows["dataset"] == "bloodmnist") & (rows["size"] == 28)]
    mine = own[(own["method"] == "simclr") & (own["augment"] == "novel")]
    probe = mine[(mine["protocol"] == "probe") & (mine["labels"] == "100")]["value"]
    assert line.get_ydata()[0] == pytest.approx(probe.mean())


def test_points_of_other_data_and_of_cut_classes_are_not_drawn() -> None:
    points = published_points("dermamnist", 28, "accuracy")
    assert not points["pretrained_on"].str.contains("pathmnist").any()
    assert not points["caveat"].str.contains("undersampling").any()
    assert set(points["protocol"]) == {"probe", "finetune"}
    [rebuilt] = REBUILT
    assert len(published_points(rebuilt, 28, "accuracy")) == len(points)
    assert published_points("cells", 28, "accuracy").empty


def test_nothing_to_draw(study: pd.DataFrame) -> None:
    assert plot_beside(study.head(0), "auroc") is None
    assert all(plot_verdict(v) is None for v in judge(study.head(0)).values())


def test_every_comparison_is_drawn_and_clear_ones_are_filled(study: pd.DataFrame) -> None:
    verdict = judge(study)["novel"]
    figure = plot_verdict(verdict)
    assert figure is not None
    panels = [axes for axes in figure.axes if axes.get_title()]
    assert sum(len(axes.containers) for axes in panels) == len(verdict.cells) == 8
    assert [t.get_text() for t in panels[0].get_xticklabels()] == ["100", "all"]
    unclear = dataclasses.replace(verdict, cells=verdict.cells.assign(corrected=1.0))
    for v, filled in ((verdict, True), (unclear, False)):
        drawn = plot_verdict(v)
        assert drawn is not None
        faces = {c[0].get_markerfacecolor() for axes in drawn.axes for c in axes.containers}
        assert ("white" not in faces) == filled


def test_sizes_are_drawn_with_their_margin(study: pd.DataFrame) -> None:
    figure = plot_verdict(judge(study)["downsampling"])
    assert figure is not None
    axes = figure.axes[0]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["14 px", "7 px"]
    assert -0.01 in [line.get_ydata()[0] for line in axes.lines if line.get_linestyle() == ":"]


def test_one_seed_is_drawn_without_intervals(tmp_path: Path) -> None:
    table = as_table(whole_study(("bloodmnist",), seeds=1), tmp_path)
    for figure in (plot_beside(table, "auroc"), plot_verdict(judge(table)["pretraining"])):
        assert figure is not None
        figure.draw_without_rendering()
