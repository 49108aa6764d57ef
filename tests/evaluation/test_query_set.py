"""Another data set asked about: whose images, by whose grades, on which scale."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from lib.checks import ParameterError
from lib.data.base import DataError, DataSet
from lib.evaluation.grading import grade_features, grading_rows, ways_to_grade
from lib.evaluation.query_set import check_scale, choose_asked, parse_scale
from lib.evaluation.sources import embed_sources
from lib.identity import Origin
from lib.run import Run
from tests.synthetic import make_data, make_run


def asked_about(monkeypatch: pytest.MonkeyPatch, folder: Path, other: DataSet | None, scale: str):
    monkeypatch.setattr(Run, "load_queries", lambda self: other)
    name = other.name if other else ""
    return make_run(folder, queries=name, grade_scale=scale, dataset="tiny-ordinal")


def joined(data: DataSet) -> DataSet:
    """The same images, mild and severe as one grade, under another name."""
    splits = {
        name: dataclasses.replace(split, y=np.minimum(split.y, 1))
        for name, split in data.splits.items()
    }
    return dataclasses.replace(
        data, name="messidor", classes=("none", "some"), task="ordinal", splits=splits
    )


def test_without_queries_the_test_split_is_asked_about(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    data = make_data("ordinal")
    run = asked_about(monkeypatch, tmp_path, None, "")
    features = embed_sources(data, run)
    asked = choose_asked(data, features, run)
    assert asked.data is data
    assert asked.features is features
    assert asked.scale is None
    with pytest.raises(ParameterError, match="grade_scale: the images asked about"):
        choose_asked(data, features, asked_about(monkeypatch, tmp_path, None, "0,1,1"))


def test_other_images_are_graded_by_this_library_on_their_scale(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    data, other = make_data("ordinal"), joined(make_data("ordinal"))
    run = asked_about(monkeypatch, tmp_path, other, "0,1,1")
    features = embed_sources(data, run)
    asked = choose_asked(data, features, run)
    assert asked.data.splits["train"] is data.splits["train"]
    assert asked.data.splits["test"] is other.splits["test"]
    assert asked.data.classes == ("none", "some")
    for source, h in features.items():
        assert asked.features[source]["train"] is h["train"]
        assert asked.features[source]["test"] == pytest.approx(h["test"])  # the same images
    graded = grade_features(
        asked.features, asked.data, ways_to_grade([1, 3]), scale=asked.scale, bootstrap=100
    )
    assert {r.n_grades for r in graded} == {2}
    for r in graded:
        assert 0 <= r.predicted.min() <= r.predicted.max() <= 1
        assert set(r.y) == {0, 1}
    rows = grading_rows(graded, run, "resnet18")
    assert {row["dataset"] for row in rows} == {"messidor"}


def test_rows_name_the_source_of_the_encoder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    data, other = make_data("ordinal"), joined(make_data("ordinal"))
    run = asked_about(monkeypatch, tmp_path, other, "0,1,1")
    run = dataclasses.replace(run, origin=Origin("supcon", "fundus", "x", ("tiny-ordinal",)))
    features = {run.method: embed_sources(data, make_run(tmp_path, floors=False))["random"]}
    graded = grade_features(features, other, ways_to_grade([3]), bootstrap=100)
    assert run.method == "supcon"
    found = {row["method"] for row in grading_rows(graded, run, "resnet18")}
    assert found == {"supcon from tiny-ordinal"}


def test_what_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    data = make_data("ordinal")
    grey = make_data("binary")
    run = asked_about(monkeypatch, tmp_path, grey, "0,1,1")
    with pytest.raises(DataError, match="queries: 1 channels, tiny-ordinal has 3"):
        choose_asked(data, embed_sources(data, run), run)
    unordered = make_data("multi-class")
    run = asked_about(monkeypatch, tmp_path, unordered, "")
    with pytest.raises(DataError, match="no order"):
        choose_asked(data, {}, run)


@pytest.mark.parametrize(
    ("library", "queries", "scale", "message"),
    [
        (5, 4, None, "the library has 5 grades, the queries have 4"),
        (5, 4, (0, 1, 2, 3), "expected 5 grades from 0 to 3"),
        (5, 4, (0, 1, 2, 2, 2), "expected 5 grades from 0 to 3, found 0,1,2,2,2"),
        (5, 4, (0, 1, 2, 3, 4), "expected 5 grades from 0 to 3"),
    ],
)
def test_a_scale_leads_from_one_to_the_other(library, queries, scale, message) -> None:
    with pytest.raises(ParameterError, match=message):
        check_scale(library, queries, scale)
    check_scale(5, 4, (0, 1, 2, 3, 3))
    check_scale(5, 5, None)


def test_parsing() -> None:
    assert parse_scale("") is None
    assert parse_scale("0,1,2,3,3") == (0, 1, 2, 3, 3)
