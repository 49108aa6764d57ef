"""What 08_features measures: the sample, the classes shown, the positive pairs, the rows."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lib.checks import ParameterError
from lib.data.base import DataError, Task, labels_of
from lib.evaluation.cloud import (
    chance_purity,
    choose_sample,
    cloud_rows,
    compare_clouds,
    is_shown,
    measure_clouds,
    positive_views,
    shown_classes,
)
from lib.evaluation.representation import (
    alignment,
    embed_two_views,
    knn_purity,
    silhouettes,
    uniformity,
)
from lib.identity import RANDOM, Origin
from lib.models.encoder import build_encoder
from lib.models.weights import save_encoder
from lib.run import COLUMNS
from lib.statistics.means import mean_intervals
from tests.synthetic import TASKS, make_data, make_run, unlabelled
from tests.tiny import make_dataset

BLOOD = ("basophil", "immature granulocytes(myelocytes, metamyelocytes)", "lymphocyte")


def test_a_sample_is_seeded_and_in_order() -> None:
    data = make_data(grouped=True)
    sample = choose_sample(data, "train", 20, seed=1)
    assert len(set(sample.rows.tolist())) == 20
    assert (np.diff(sample.rows) > 0).all()
    assert sample.y.tolist() == labels_of(data, "train")[sample.rows].tolist()
    assert sample.groups is not None
    assert sample.groups[0] == f"patient-{sample.rows[0] // 2}"
    assert sample.total == 36
    assert choose_sample(data, "train", 20, seed=1).rows.tolist() == sample.rows.tolist()
    assert choose_sample(data, "train", 20, seed=2).rows.tolist() != sample.rows.tolist()
    assert choose_sample(data, "test", 500, seed=0).rows.tolist() == list(range(24))
    with pytest.raises(DataError, match="has no labels"):
        choose_sample(unlabelled(), "test", 100, 0)


def test_classes_by_name() -> None:
    data = make_data(classes=BLOOD)
    assert shown_classes(data, "") == [0, 1, 2]
    assert shown_classes(data, " Lymphocyte,basophil ") == [0, 2]
    # A name that holds a comma itself.
    assert shown_classes(data, f"{BLOOD[1]}, lymphocyte") == [1, 2]
    with pytest.raises(ParameterError) as error:
        shown_classes(data, "lymphocyte, monocyte")
    assert "classes_shown: 'monocyte' is no class" in str(error.value)
    assert all(name in str(error.value) for name in BLOOD)


def test_images_of_the_classes_shown() -> None:
    data = make_data()
    sample = choose_sample(data, "train", 100, 0)
    assert is_shown(sample, [0, 1, 2], 3).all()
    assert is_shown(sample, [0, 2], 3).tolist() == (sample.y != 1).tolist()
    few = choose_sample(data, "train", 20, 0)
    with pytest.raises(ParameterError, match=r"classes_shown: \d of the 20 images"):
        is_shown(few, [0], 3)
    data = make_data("multi-label")
    sample = choose_sample(data, "train", 100, 0)
    assert is_shown(sample, [0, 1], 2).sum() == 36  # also those without a label
    assert is_shown(sample, [0], 2).tolist() == (sample.y[:, 0] == 1).tolist()


def test_positive_pairs_are_views_by_the_encoder_s_own_augmentation(tmp_path: Path) -> None:
    data = make_dataset()
    pipeline, text = positive_views(data, make_run(tmp_path, RANDOM))
    assert pipeline.name == "natural"
    assert "no augmentation is known" in text
    encoder = build_encoder("resnet18", "strided", 3, seed=0)
    file = tmp_path / "encoder.safetensors"
    used = {"crop_scale": 0.4, "augment": "simple"}
    header = {"size": 28, "dataset": "tiny", "parameters": used, "commit": "x"}
    save_encoder(file, encoder, header)
    run = make_run(tmp_path, Origin("simclr", "simple", "x"), init=str(file))
    pipeline, text = positive_views(data, run)
    assert pipeline.name == "simple"
    assert "own augmentation, simple" in text
    assert any(getattr(op, "scale", None) == (0.4, 1.0) for op in pipeline)


@pytest.mark.parametrize("task", TASKS)
def test_every_number(task: Task, tmp_path: Path) -> None:
    data = dataclasses.replace(make_dataset(task, 1 if task == "binary" else 3))
    run = make_run(tmp_path, RANDOM, init="scratch", dataset="tiny")
    sample = choose_sample(data, "test", 20, 0)
    augment, _ = positive_views(data, run)
    clouds = measure_clouds(data, run, sample, augment, knn_k=5, bootstrap=100)
    assert [c.source for c in clouds] == ["random", "pixels"]
    images = data.splits["test"].images[sample.rows]
    pixels = clouds[1]
    flat = images.reshape(20, -1).astype(np.float64)
    np.testing.assert_allclose(pixels.h, (flat - flat.mean(axis=1, keepdims=True)) / 255, atol=1e-5)
    for c in clouds:
        assert ("silhouette" in c.measures) == (task != "multi-label")
        expected: dict[str, Any] = {"knn_purity": knn_purity(c.h, sample.y, 5)}
        if task != "multi-label":
            expected["silhouette"] = silhouettes(c.h, sample.y)
        for name, values in expected.items():
            np.testing.assert_array_equal(c.measures[name], values)
            assert c.values[name] == pytest.approx(np.nanmean(values))
        assert c.values["uniformity"] == uniformity(c.h)
        assert c.intervals == mean_intervals(c.measures, None, n=100, seed=0)
    views = embed_two_views(None, images, augment, 0, "cpu", "fp32")
    np.testing.assert_array_equal(pixels.measures["alignment"], alignment(*views))
    assert compare_clouds(pixels, pixels, 50, 0)["knn_purity"][:3] == (0, 0, 0)
    rows = cloud_rows(clouds, run, "resnet18")
    assert all(tuple(row) == COLUMNS for row in rows)
    assert {(r["protocol"], r["split"]) for r in rows} == {("features", "test")}
    for row in rows:
        assert (row["low"] == "") == (row["metric"] == "uniformity")
        assert row["encoder"] == ("" if row["method"] == "pixels" else "resnet18")


def test_chance_purity_is_that_of_noise() -> None:
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], [50, 30, 20])
    found = [knn_purity(rng.normal(size=(100, 40)), y, 5).mean() for _ in range(30)]
    assert chance_purity(y, 3) == pytest.approx(np.mean(found), abs=4 * np.std(found) / 30**0.5)
    several = (rng.random((100, 3)) < 0.3).astype(np.int64)
    found = [
        float(np.nanmean(knn_purity(rng.normal(size=(100, 40)), several, 5))) for _ in range(30)
    ]
    expected = chance_purity(several, 3)
    assert expected == pytest.approx(np.mean(found), abs=4 * np.std(found) / 30**0.5)
