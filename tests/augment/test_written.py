"""Augmentations in writing: read, written one way, and the same views as when made by hand."""

from __future__ import annotations

import pytest
import torch

from lib.augment import SEQUENCES, make_augment
from lib.augment.ops import Rotate
from lib.augment.written import own_settings, read_augment, write_augment, written_settings
from lib.checks import ParameterError
from lib.params import check_value


@pytest.mark.parametrize("name", list(SEQUENCES))
def test_a_name_alone_is_the_sequence_with_its_own_settings(name: str) -> None:
    assert read_augment(name) == (name, {})
    assert make_augment(name, 28, 3, **own_settings(name)) == make_augment(name, 28, 3)


@pytest.mark.parametrize(
    ("written", "settings"),
    [
        ("natural crop_scale=0.5", {"crop_scale": (0.5, 1.0)}),
        ("natural blur_sigma=0.6", {"blur_sigma": (0.1, 0.6)}),
        ("natural blur_sigma=0.05", {"blur_sigma": (0.05, 0.05)}),
        ("fundus crop_scale=0.5", {"crop_scale": (0.5, 1.0)}),
        ("natural jitter=2", {"jitter": (1.0, 1.0, 1.0, 0.2)}),
        ("natural jitter=8", {"jitter": (4.0, 4.0, 4.0, 0.5)}),
        ("novel jitter=0", {"jitter": (0.0, 0.0, 0.0, 0.0)}),
        ("novel sharpness=4", {"sharpness": (1.0, 4.0)}),
        ("simple rotation=90 blur_p=0.5", {"rotation": 90.0, "blur_p": 0.5}),
        ("greyscale blur_kernel=5", {"blur_kernel": 5}),
        ("natural blur_p=1 crop_scale=0.08", {}),
    ],
)
def test_what_is_written_is_what_the_sequence_does(
    written: str, settings: dict[str, object]
) -> None:
    name = written.split(maxsplit=1)[0]
    assert written_settings(*read_augment(written)) == settings
    x, seed = torch.rand(6, 3, 28, 28), torch.Generator
    ours = make_augment(written, 28, 3)(x, seed().manual_seed(3))
    by_hand = make_augment(name, 28, 3, **settings)(x, seed().manual_seed(3))  # type: ignore[arg-type]
    assert torch.equal(ours, by_hand)


def test_there_is_one_way_to_write_an_augmentation() -> None:
    for text in ("natural  blur_p=.50 crop_scale=0.3", "natural crop_scale=.3 blur_p=5e-1"):
        assert check_value("augment", text) == "natural crop_scale=0.3 blur_p=0.5"
        assert check_value("train_augment", text) == "natural crop_scale=0.3 blur_p=0.5"
    assert check_value("augment", "novel blur_p=1 jitter=1") == "novel"
    assert write_augment("natural", {"rotation": 180.0}) == "natural rotation=180"


def test_no_rotation_is_no_op() -> None:
    assert not any(isinstance(op, Rotate) for op in make_augment("novel", 28, 3))
    assert make_augment("novel rotation=20", 28, 3).ops[0] == Rotate(20.0)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("", "expected one of natural"),
        ("natual", "did you mean natural?"),
        ("natural blur=0.5", r"no setting 'blur=0.5'.*did you mean blur_p\?"),
        ("natural 0.5", "write SETTING=NUMBER"),
        ("simple flip_p=0.5", "no setting 'flip_p=0.5'"),
        ("natural blur_p=0.5 blur_p=0.2", "blur_p is given twice"),
        ("natural blur_p=often", "blur_p: expected a number, found 'often'"),
        ("natural blur_p=nan", "expected a number"),
        ("natural blur_kernel=2.5", "expected a whole number"),
        ("natural blur_kernel=4", "odd"),
        ("natural blur_p=1.5", "it must lie within 0 and 1"),
        ("natural rotation=270", "it must lie within 0 and 180"),
        ("natural crop_scale=0", "crop|scale"),
    ],
)
def test_what_cannot_be_is_refused(written: str, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        check_value("augment", written)


def test_a_setting_is_given_in_one_place() -> None:
    with pytest.raises(ValueError, match="crop_scale is given twice"):
        make_augment("natural crop_scale=0.3", 28, 3, crop_scale=(0.5, 1.0))
