"""The augmentation explorer: what its sliders mean, and that its views are those of training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import yaml

from lib.augment import SEQUENCES, make_augment
from lib.augment.written import write_augment
from lib.params import check_value
from lib.preview import preview_views
from lib.widgets import augmentations
from lib.widgets.augmentations import (
    VIEWS,
    explore_augmentations,
    knobs_of,
    say_params,
    show_views,
)
from tests.synthetic import make_data
from tests.widgets.test_thumbnails import decoded

IMAGES = make_data().splits["train"].images[:3]


@pytest.mark.parametrize("augment", list(SEQUENCES))
def test_untouched_sliders_are_the_sequence_itself(augment: str) -> None:
    starts = {setting: start for setting, (_, start) in knobs_of(augment).items()}
    assert write_augment(augment, starts) == augment
    for setting, (knob, start) in knobs_of(augment).items():
        assert knob.low <= start <= knob.high, setting


@pytest.mark.parametrize("augment", list(SEQUENCES))
def test_every_slider_can_go_to_both_ends(augment: str) -> None:
    plain = make_augment(augment, 28, 3)
    for setting, (knob, start) in knobs_of(augment).items():
        for value in {knob.low, knob.high} - {start}:
            written = write_augment(augment, {setting: value})
            assert written == f"{augment} {setting}={value:g}"
            assert make_augment(written, 28, 3).ops != plain.ops


def test_what_is_shown_is_what_training_would_see() -> None:
    expected = preview_views(IMAGES, "natural", VIEWS, 3, crop_scale=(0.5, 1.0))
    seen = decoded(show_views(IMAGES, "natural crop_scale=0.5", 3))
    assert len(seen) == 3 * (1 + VIEWS)
    assert np.array_equal(np.stack(seen), np.concatenate(list(expected.values())))
    assert np.array_equal(seen[0], IMAGES[0])


def test_settings_that_do_not_fit_are_explained() -> None:
    tiny = IMAGES[:, :4, :4]
    assert "blur" in show_views(tiny, "natural", 0)
    assert "<img" not in show_views(tiny, "natural", 0)


def test_the_text_is_a_params_file_that_is_accepted() -> None:
    written = write_augment("novel", {"crop_scale": 0.3, "jitter": 0.5, "blur_p": 1.0})
    given = yaml.safe_load(say_params(written).partition("\n")[2])
    assert given == {"augment": "novel crop_scale=0.3 jitter=0.5"}
    assert check_value("augment", given["augment"]) == given["augment"]


def test_nothing_where_nobody_watches() -> None:
    assert explore_augmentations(IMAGES, "novel", 0) is None


@pytest.fixture
def explorer(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(augmentations, "is_watched", lambda: True)
    return explore_augmentations(IMAGES, "novel", 0)


def test_the_shell_follows_its_state(explorer: Any) -> None:
    (choice, again, draw, own), (pictures, left) = (box.children for box in explorer.children)
    sliders, text = left.children
    assert pictures.value == show_views(IMAGES, "novel", 0)
    again.click()
    assert draw.value == 1
    assert pictures.value == show_views(IMAGES, "novel", 1)
    sliders.children[0].value = 0.5
    assert pictures.value == show_views(IMAGES, "novel crop_scale=0.5", 1)
    assert "augment: novel crop_scale=0.5" in text.value
    own.click()
    assert pictures.value == show_views(IMAGES, "novel", 1)
    choice.value = "fundus"
    assert [s.description for s in sliders.children][:2] == [
        "smallest crop, area",
        "rotation up to, °",
    ]
    assert pictures.value == show_views(IMAGES, "fundus", 1)
    draw.value = -5  # a seed is not negative
    assert pictures.value == show_views(IMAGES, "fundus", 0)


def test_the_settings_of_a_params_file_are_where_the_sliders_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(augmentations, "is_watched", lambda: True)
    shell = explore_augmentations(IMAGES, "novel blur_p=0.25", 0)
    (choice, *_), (pictures, left) = (box.children for box in shell.children)
    assert choice.value == "novel"
    assert {s.setting: s.value for s in left.children[0].children}["blur_p"] == 0.25
    assert pictures.value == show_views(IMAGES, "novel blur_p=0.25", 0)
