"""Grad-CAM against its closed form, the cases that are shown, and the map with images on it."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
import torch
from bs4 import BeautifulSoup
from PIL import Image
from torch import nn

from lib.data.base import Task
from lib.evaluation.saliency import Cases, choose_cases, deepest_stage, explain
from lib.figures import hover
from lib.figures.features import make_key
from lib.figures.hover import fit, hover_map, thumbnail
from lib.figures.saliency import plot_saliency
from lib.models.encoder import build_encoder
from lib.pages.markup import tidy
from lib.preview import to_tensor
from lib.statistics.predictions import Predictions
from lib.training.finetune import Finetuned
from tests.figures.test_figures import png
from tests.synthetic import NAMES, TASKS, make_data


def make_tuned(stem: str, classes: int = 3) -> Finetuned:
    torch.manual_seed(0)
    encoder = build_encoder("resnet18", stem, 3, seed=0)
    return Finetuned(
        encoder, nn.Linear(512, classes), "multi-class", None, 0.1, [], 1, None, 1, 0.0
    )


def scored(task: Task) -> Predictions:
    data = make_data(task)
    y = np.asarray(data.splits["test"].y, np.int64)
    scores = np.random.default_rng(0).random((len(y), len(data.classes))).astype(np.float32)
    return Predictions(data.splits["test"].ids, y, scores, task, data.classes, "test")


def test_maps_at_the_last_stage_are_class_activation_maps() -> None:
    """Behind an average and a linear layer, Grad-CAM is CAM (Zhou et al. 2016), up to scale."""
    tuned = make_tuned("small")
    images = np.random.default_rng(1).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    cases = Cases(np.array([3, 0]), np.array([2, 1]), np.array([True, False]))
    found = explain(tuned, images, cases)
    assert found.stage == "layer4"
    with torch.inference_mode():
        h = tuned.encoder.eval().feature_map(to_tensor(images[cases.rows]))
        weights = tuned.head.weight[torch.from_numpy(cases.decided)]
        cam = torch.einsum("nk,nkhw->nhw", weights, h).clamp_min(0)
        cam = cam / cam.amax(dim=(1, 2), keepdim=True)
    np.testing.assert_allclose(found.maps, cam.numpy(), atol=1e-4)
    assert found.maps.max() == pytest.approx(1)


def test_the_stage_has_cells_enough() -> None:
    assert deepest_stage(make_tuned("strided").encoder, 28) == "layer3"
    assert deepest_stage(make_tuned("small").encoder, 28) == "layer4"
    assert deepest_stage(make_tuned("imagenet").encoder, 8) == "layer1"


def test_frozen_weights_and_training_mode_make_no_difference() -> None:
    tuned = make_tuned("strided")
    images = np.random.default_rng(1).integers(0, 256, (2, 28, 28, 3), dtype=np.uint8)
    cases = Cases(np.array([0, 1]), np.array([0, 1]), np.array([True, True]))
    before = explain(tuned, images, cases).maps
    tuned.encoder.train()
    for parameter in tuned.encoder.parameters():
        parameter.requires_grad_(False)
    np.testing.assert_allclose(explain(tuned, images, cases).maps, before, atol=1e-6)
    none = explain(tuned, images, Cases(*(np.zeros(0, t) for t in (int, int, bool))))
    assert len(none.maps) == 0


@pytest.mark.parametrize("task", TASKS)
def test_cases_are_right_and_wrong_as_they_say(task: Task) -> None:
    p = scored(task)
    cases = choose_cases(p, 4, seed=0)
    assert cases.right.sum() <= 4 and (~cases.right).sum() <= 4
    assert len(set(cases.rows)) == len(cases.rows)
    for row, decided, right in zip(cases.rows, cases.decided, cases.right, strict=True):
        assert decided == p.scores[row].argmax()
        truth = p.y[row, decided] == 1 if task == "multi-label" else p.y[row] == decided
        assert right == truth
    assert list(choose_cases(p, 4, seed=0).rows) == list(cases.rows)


@pytest.mark.parametrize("task", TASKS)
def test_the_figure_says_what_was_decided(task: Task) -> None:
    data = make_data(task)
    tuned = make_tuned("strided", len(NAMES[task]))
    found = explain(tuned, data.splits["test"].images, choose_cases(scored(task), 3, seed=0))
    figure = plot_saliency(found, data)
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert sum("✓" in t for t in titles) == found.cases.right.sum()
    assert sum("✗" in t for t in titles) == (~found.cases.right).sum()
    assert f"{found.cases.right.sum()} test images" in figure.alt  # type: ignore[attr-defined]
    png(figure)


# The map with images on it


def drawn(n: int = 24, task: Task = "multi-class") -> str:
    data = make_data(task)
    split = data.splits["test"]
    key = make_key(np.asarray(split.y, np.int64)[:n], data)
    coordinates = np.random.default_rng(0).normal(size=(n, 2))
    return str(hover_map(coordinates, key, split.images[:n], "UMAP <x>").data)


@pytest.mark.parametrize("task", TASKS)
def test_every_point_carries_its_image_and_its_class(task: Task) -> None:
    data = make_data(task)
    soup = BeautifulSoup(tidy(drawn(task=task)), "html.parser")
    points = soup.select("g.point")
    assert len(points) == 24
    content = points[5].image["href"].removeprefix("data:image/jpeg;base64,")
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(content))), float)
    image = data.splits["test"].images[5].astype(float)
    assert np.abs(shown - image.reshape(shown.shape)).mean() < 12  # JPEG's loss on noise
    if task == "multi-class":
        assert [g.find("text").get_text() for g in points[:3]] == list(NAMES[task])
    assert "24 images" in soup.svg["aria-label"] and soup.svg["role"] == "img"
    assert soup.figcaption.get_text().startswith("UMAP <x>, 24 images")
    assert not soup.find_all("script")


def test_points_and_pictures_stay_inside() -> None:
    places = fit(np.array([[0.0, 0.0], [10.0, 1.0], [5.0, -3.0]]))
    assert places.min() >= hover.EDGE - 1e-9
    assert places[:, 0].max() <= hover.WIDTH - hover.EDGE + 1e-9
    # One scale for both directions, y upwards.
    assert places[1, 0] - places[0, 0] == pytest.approx(10 * (places[0, 1] - places[1, 1]))
    for x, y, side in re.findall(r'<image x="([-\d.]+)" y="([-\d.]+)" width="(\d+)"', drawn()):
        assert 0 <= float(x) <= hover.WIDTH - float(side)
        assert 0 <= float(y) <= hover.HEIGHT - float(side)


def test_only_so_many_points_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hover, "MOST", 10)
    text = drawn()
    assert text.count('class="point"') == 10
    assert "10 of 24 images" in text


def test_large_images_are_made_small() -> None:
    large = np.zeros((300, 300, 3), np.uint8)
    picture = Image.open(io.BytesIO(base64.b64decode(thumbnail(large))))
    assert picture.size == (hover.LARGEST, hover.LARGEST)
