"""The augmentation explorer: what its sliders mean, and that its views are those of training."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import yaml

from lib.augment import SEQUENCES, make_augment
from lib.checks import ParameterError
from lib.params import check_value
from lib.preview import preview_views
from lib.widgets import augmentations
from lib.widgets.augmentations import (
    VIEWS,
    changed_settings,
    explore_augmentations,
    knobs_of,
    own_settings,
    say_params,
    show_views,
)
from tests.synthetic import make_data
from tests.widgets.test_thumbnails import decoded

IMAGES = make_data().splits["train"].images[:3]


@pytest.mark.parametrize("augment", list(SEQUENCES))
def test_untouched_sliders_are_the_sequence_itself(augment: str) -> None:
    starts = {setting: start for setting, (_, start) in knobs_of(augment).items()}
    assert changed_settings(augment, starts) == {}
    assert changed_settings(augment, {}) == {}
    again = make_augment(augment, 28, 3, **own_settings(augment))
    assert again == make_augment(augment, 28, 3)
    for setting, (knob, start) in knobs_of(augment).items():
        assert knob.low <= start <= knob.high, setting


@pytest.mark.parametrize("augment", list(SEQUENCES))
def test_every_slider_can_go_to_both_ends(augment: str) -> None:
    plain = make_augment(augment, 28, 3)
    for setting, (knob, start) in knobs_of(augment).items():
        for value in {knob.low, knob.high} - {start}:
            changed = changed_settings(augment, {setting: value})
            assert list(changed) == [setting]
            assert make_augment(augment, 28, 3, **changed) != plain


def test_one_end_of_a_range_moves_and_the_other_stays_in_order() -> None:
    assert changed_settings("novel", {"crop_scale": 0.5}) == {"crop_scale": (0.5, 1.0)}
    assert changed_settings("novel", {"blur_sigma": 0.6}) == {"blur_sigma": (0.1, 0.6)}
    assert changed_settings("fundus", {"crop_scale": 0.5}) == {"crop_scale": (0.5, 1.0)}
    assert changed_settings("novel", {"jitter": 2.0}) == {"jitter": (0.4, 0.4, 0.4, 0.08)}


def test_what_is_shown_is_what_training_would_see() -> None:
    changed = {"crop_scale": (0.5, 1.0)}
    expected = preview_views(IMAGES, "natural", VIEWS, 3, crop_scale=(0.5, 1.0))
    seen = decoded(show_views(IMAGES, "natural", changed, 3))
    assert len(seen) == 3 * (1 + VIEWS)
    assert np.array_equal(np.stack(seen), np.concatenate(list(expected.values())))
    assert np.array_equal(seen[0], IMAGES[0])


def test_settings_that_do_not_fit_are_explained() -> None:
    tiny = IMAGES[:, :4, :4]
    assert "blur" in show_views(tiny, "natural", {}, 0)
    assert "<img" not in show_views(tiny, "natural", {}, 0)


def test_the_text_is_a_params_file_that_is_accepted() -> None:
    text = say_params("novel", changed_settings("novel", {"crop_scale": 0.3}))
    given = yaml.safe_load(text.partition("\n")[2])
    assert given == {"augment": "novel", "crop_scale": 0.3}
    for name, value in given.items():
        assert check_value(name, value) == value
    with pytest.raises(ParameterError):
        check_value("blur_p", 0.5)
    changed = changed_settings("natural", {"blur_p": 0.5, "jitter": 0.5})
    text = say_params("natural", changed)
    call = re.search(r"natural\(size, (.*)\)", text)
    assert "no parameter of a study" in text
    assert call
    assert eval(f"dict({call[1]})") == changed


def test_nothing_where_nobody_watches() -> None:
    assert explore_augmentations(IMAGES, "novel", 0) is None


@pytest.fixture
def explorer(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(augmentations, "is_watched", lambda: True)
    return explore_augmentations(IMAGES, "novel", 0)


def test_the_shell_follows_its_state(explorer: Any) -> None:
    (choice, again, draw, own), (pictures, left) = (box.children for box in explorer.children)
    sliders, text = left.children
    assert pictures.value == show_views(IMAGES, "novel", {}, 0)
    again.click()
    assert draw.value == 1
    assert pictures.value == show_views(IMAGES, "novel", {}, 1)
    sliders.children[0].value = 0.5
    assert pictures.value == show_views(IMAGES, "novel", {"crop_scale": (0.5, 1.0)}, 1)
    assert "crop_scale: 0.5" in text.value
    own.click()
    assert pictures.value == show_views(IMAGES, "novel", {}, 1)
    choice.value = "fundus"
    assert [s.description for s in sliders.children][:2] == [
        "smallest crop, area",
        "rotation up to, °",
    ]
    assert pictures.value == show_views(IMAGES, "fundus", {}, 1)
    draw.value = -5  # a seed is not negative
    assert pictures.value == show_views(IMAGES, "fundus", {}, 0)
