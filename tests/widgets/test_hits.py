"""The retrieval explorer: it shows the hits that were measured; pictures come in whole."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lib.data.base import DataSet
from lib.evaluation.queries import choose_queries
from lib.evaluation.retrieval import Retrieval, retrieve
from lib.findings.retrieval import name_labels_of
from lib.models.embed import flatten_pixels
from lib.widgets import hits
from lib.widgets.hits import (
    EVERY,
    UNREADABLE,
    choose_class,
    count_labels,
    explore_retrieval,
    hits_of,
    hits_of_picture,
    query_of,
    read_picture,
)
from tests.synthetic import TASKS, make_data, make_run
from tests.widgets.test_thumbnails import decoded


def searched(data: DataSet) -> tuple[dict[str, Any], Retrieval]:
    features = {"pixels": flatten_pixels(data)}
    (result,) = retrieve(features, data, choose_queries(data), [1, 12], bootstrap=100)
    return features, result


def encoded(image: np.ndarray, kind: str = "png") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format=kind)
    return buffer.getvalue()


@pytest.mark.parametrize("task", TASKS)
def test_hits_are_the_measured_ones_with_their_labels(task: Any) -> None:
    data = make_data(task)
    _, result = searched(data)
    train = data.splits["train"]
    assert train.y is not None
    for q in (0, len(result.queries.rows) - 1):
        shown = hits_of(result, data, q)
        assert len(shown) == 10
        for thumbnail, row, similarity in zip(
            shown, result.hits[q], result.similarity[q], strict=False
        ):
            assert np.array_equal(thumbnail.image, train.images[row])
            label = name_labels_of(np.asarray(train.y[row]).astype(np.int64), data.classes)
            assert thumbnail.lines[1] == label
            assert thumbnail.lines[0].endswith(f"{1 - similarity:.3f}")
            assert thumbnail.lines[0].startswith("✓ " if thumbnail.right else "✗ ")
        assert [t.right for t in shown] == result.found[q][:10].tolist()
        row = result.queries.rows[q]
        assert np.array_equal(query_of(result, data, q).image, data.splits["test"].images[row])


@pytest.mark.parametrize("task", TASKS)
def test_queries_of_a_class(task: Any) -> None:
    data = make_data(task)
    _, result = searched(data)
    everyone = choose_class(result, data, EVERY)
    assert everyone == list(range(len(result.queries.rows)))
    of_classes = [choose_class(result, data, name) for name in data.classes]
    assert all(of_classes)
    assert set().union(*of_classes) == set(everyone)
    for name, places in zip(data.classes, of_classes, strict=True):
        assert all(name in query_of(result, data, q).lines[1] for q in places)


def test_a_training_image_finds_itself() -> None:
    data = make_data()
    features, result = searched(data)
    picture = read_picture(encoded(data.splits["train"].images[5]), data)
    assert np.array_equal(picture, data.splits["train"].images[5])
    found = hits_of_picture(
        features["pixels"]["train"][5], features["pixels"]["train"], result, data
    )
    assert np.array_equal(found[0].image, picture)
    assert found[0].lines[0] == "0.000"
    assert {hit.right for hit in found} == {None}
    text = count_labels(found)
    assert text.startswith("Of the 10 nearest: ")
    assert sum(int(part.split(" × ")[0].split()[-1]) for part in text.split(", ")) == 10


def test_pictures_become_what_the_data_set_holds() -> None:
    grey, colour = make_data("binary"), make_data()
    red = np.zeros((30, 50, 3), np.uint8)
    red[..., 0] = 200
    assert (read_picture(encoded(red, "jpeg"), colour)[..., 0] > 180).all()
    luma = read_picture(encoded(red), grey)
    assert luma.shape == (12, 12, 1)
    assert np.unique(luma).tolist() == [round(0.299 * 200)]
    deep = np.full((20, 20), 4095, np.uint16)
    deep[:10] = 0
    seen = read_picture(encoded(deep), colour)
    assert seen.shape == (12, 12, 3)
    assert (seen.min(), seen.max()) == (0, 255)
    with pytest.raises(ValueError, match="not an image"):
        read_picture(b"not an image at all", colour)


def test_nothing_where_nobody_watches(tmp_path: Path) -> None:
    data = make_data()
    features, result = searched(data)
    assert explore_retrieval(result, features, data, make_run(tmp_path)) is None


def test_the_shell_follows_its_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hits, "is_watched", lambda: True)
    data = make_data()
    features, result = searched(data)
    explorer = explore_retrieval(result, features, data, make_run(tmp_path))
    _, top, middle, text = explorer.children
    kind, place, _, upload = top.children
    asked, found = middle.children
    kind.value = "ring"
    place.value = 2
    q = choose_class(result, data, "ring")[2]
    assert np.array_equal(decoded(asked.value)[0], query_of(result, data, q).image)
    assert np.array_equal(
        np.stack(decoded(found.value)), np.stack([t.image for t in hits_of(result, data, q)])
    )
    mine = data.splits["train"].images[7]
    file = {"name": "mine.png", "type": "image/png", "size": 1, "last_modified": datetime.now(UTC)}
    upload.value = [{**file, "content": encoded(mine)}]
    assert np.array_equal(decoded(found.value)[0], mine)
    assert "as the encoder sees it, 12 px" in asked.value
    upload.value = [{**file, "name": "broken.png", "content": b"nonsense"}]
    assert UNREADABLE.strip() in text.value
    assert "broken.png" in text.value
