"""Fundus photographs: the disc, the local average, normalising, and `preprocess` on files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import lib.data.decoded
from lib.data import DataError, check_dataset, describe_dataset, load_dataset
from lib.data.decode import decode_image, resample
from lib.data.disc import crop_disc, find_disc, visible_part
from lib.data.fundus import (
    normalise,
    preprocess_fundus,
    sample_photograph,
    steps,
    subtract_local_average,
)
from lib.figures.fundus import plot_steps
from tests.figures.test_figures import png
from tests.photographs import SHADES, photograph, write_photographs


def near(found: Any, disc: tuple[float, float, float], share: float = 0.015) -> bool:
    return found is not None and bool(np.abs(np.subtract(found, disc)).max() < share * disc[2])


@pytest.mark.parametrize(
    ("height", "width", "disc"),
    [
        (300, 400, (200, 150, 130)),  # free on all sides
        (300, 400, (150.5, 140, 120)),  # off the centre
        (300, 400, (200, 150, 190)),  # cut off above and below by the frame
        (300, 400, (205, 110, 180)),  # more above than below
        (400, 400, (199.5, 199.5, 199.5)),  # already cropped to the disc
        (400, 400, (150, 200, 190)),  # cut off at the left
        (1200, 1600, (810, 620, 560)),  # large
        (72, 96, (48, 36, 32)),  # small
    ],
)
def test_the_disc_is_found(height: int, width: int, disc: tuple[float, float, float]) -> None:
    image = photograph(height, width, disc)
    found = find_disc(image)
    assert near(found, disc, 0.03 if height < 100 else 0.015), found
    assert found == find_disc(image)  # no chance in it


@pytest.mark.parametrize("channels", [1, 3])
def test_what_a_camera_adds_does_not_move_the_disc(channels: int) -> None:
    disc = (200.0, 150.0, 130.0)
    image = photograph(disc=disc, shades=SHADES[:channels])
    written = image.copy()
    cv2.putText(written, "OD 45 2014-05-09", (5, 20), 0, 0.6, (255, 255, 255), 2)
    cv2.rectangle(written, (330, 270), (395, 295), (255, 255, 255), -1)
    assert near(find_disc(written), disc)
    notched = image.copy()
    cv2.rectangle(notched, (285, 45), (305, 65), SHADES, -1)
    assert near(find_disc(notched), disc)
    banded = image.copy()  # cut off inside the frame, as the competition's cameras do
    banded[:60], banded[-50:] = 0, 0
    assert near(find_disc(banded), disc)
    shaded = image * np.linspace(0.1, 1.3, 400)[None, :, None]  # a badly lit side
    assert near(find_disc(shaded.clip(0, 255).astype(np.uint8)), disc, 0.03)
    noisy = image + np.random.default_rng(1).uniform(0, 45, image.shape)  # an enhanced background
    assert near(find_disc(noisy.clip(0, 255).astype(np.uint8)), disc)


def test_without_an_edge_there_is_no_disc() -> None:
    image = photograph(300, 400, (200, 150, 500))
    assert find_disc(image) is None
    assert crop_disc(image, None).shape == (300, 300, 3)
    assert (crop_disc(image, None) == image[:, 50:350]).all()
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    assert find_disc(noise) is None
    tile = np.zeros((300, 300, 3), np.uint8)
    tile[60:240, 60:240] = 150  # a square is no disc
    assert find_disc(tile) is None


@pytest.mark.parametrize("level", [0, 6])
def test_a_black_image_is_refused(level: int) -> None:
    image = np.full((100, 120, 3), level, np.uint8)
    for step in (find_disc, lambda x: preprocess_fundus(x, 32), lambda x: steps(x, 32)):
        with pytest.raises(ValueError, match="image is black"):
            step(image)


def test_wrong_arrays_are_refused() -> None:
    for image in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)):
        with pytest.raises(ValueError, match="expected uint8"):
            find_disc(image)  # type: ignore[arg-type]


def test_the_crop_is_the_square_around_the_disc() -> None:
    image = photograph(300, 400, (200, 150, 130))
    square = crop_disc(image, (200, 150, 130))
    assert square.shape == (260, 260, 3)
    assert (square == image[20:280, 70:330]).all()
    cut = crop_disc(image, (200, 150, 190))  # the frame ends 40 pixels before the disc
    assert cut.shape == (380, 380, 3)
    assert (cut[:40] == 0).all() and (cut[340:] == 0).all()
    assert (cut[40:340] == image[:, 10:390]).all()


def test_what_is_visible() -> None:
    square = photograph(200, 200, (99.5, 99.5, 99.5))
    whole = visible_part(square, 0.9)
    assert whole.mean() == pytest.approx(np.pi * 0.45**2, rel=0.01)
    cut = square.copy()
    cut[:40] = 0
    seen = visible_part(cut, 0.9)
    assert not seen[:40].any() and (seen[45:] == whole[45:]).all()
    dark = square.copy()
    dark[80:120, 80:120] = 0  # a bleeding is no edge
    assert (visible_part(dark, 0.9) == whole).all()


def test_local_average_is_grahams() -> None:
    square = photograph(240, 240, (120, 120, 160))
    found = subtract_local_average(square).astype(int)
    for kind, off in ((np.float32, 0.51), (np.uint8, 6)):  # his are whole grey levels, four times
        pixels = square.astype(kind)
        average = cv2.GaussianBlur(pixels, (0, 0), 120 / 30)
        expected = cv2.addWeighted(pixels, 4, average, -4, 128)
        assert np.abs(found - expected.clip(0, 255)).max() <= off


def test_local_average_of_the_visible_alone() -> None:
    square = np.zeros((90, 90, 1), np.uint8)
    visible = np.zeros((90, 90), bool)
    visible[20:70, 10:80] = True
    square[visible] = 100
    found = subtract_local_average(square, visible)
    assert (found == 128).all()  # even tissue has no bright edge
    assert (subtract_local_average(square)[20, 40] > 200).all()  # with black in it, it has one
    # Against the definition, written out.
    rng = np.random.default_rng(0)
    square = rng.integers(0, 256, (45, 45, 1), np.uint8)
    visible = rng.random((45, 45)) < 0.8
    sigma, (rows, columns) = 45 / 2 / 30, np.mgrid[:45, :45]
    for i, j in ((22, 22), (10, 31)):
        weight = np.exp(-((rows - i) ** 2 + (columns - j) ** 2) / (2 * sigma**2)) * visible
        mean = (weight * square[..., 0]).sum() / weight.sum()
        value = float(square[i, j, 0]) if visible[i, j] else mean
        found = subtract_local_average(square, visible)[i, j, 0]
        assert abs(float(found) - np.clip(4 * (value - mean) + 128, 0, 255)) < 4, (i, j)


def test_normalised_images_have_one_mean_and_spread() -> None:
    rng = np.random.default_rng(0)
    visible = np.zeros((80, 80), bool)
    visible[10:70, 10:70] = True
    for mean, spread in ((60, 15), (128, 25), (180, 60)):
        image = rng.normal((mean, mean + 20, mean - 20), spread, (80, 80, 3))
        found = normalise(image.clip(0, 255).astype(np.uint8), visible)
        assert (found[~visible] == 128).all()
        assert np.abs(found[visible].mean(axis=0) - 128).max() < 1
        assert found[visible].std() == pytest.approx(32, abs=1)


def test_normalising_does_not_blow_up_what_is_blurred_or_blank() -> None:
    weak = np.random.default_rng(0).normal(100, 2, (60, 60, 3)).clip(0, 255).astype(np.uint8)
    assert normalise(weak).std() < 3.2 * 2
    assert (normalise(np.full((8, 8, 3), 90, np.uint8)) == 128).all()
    assert (normalise(weak, np.zeros((60, 60), bool)) == 128).all()


def test_lamp_colour_and_frame_make_little_difference() -> None:
    image = photograph(600, 600, (300, 300, 280))
    dim = (image * np.array([0.6, 0.8, 1.2])).clip(0, 255).astype(np.uint8)
    framed = np.zeros((700, 900, 3), np.uint8)
    framed[60:660, 180:780] = image
    (a, _), (b, _), (c, _) = (preprocess_fundus(x, 128) for x in (image, dim, framed))

    def likeness(x: np.ndarray, y: np.ndarray) -> float:
        return float(np.corrcoef(x.ravel(), y.ravel())[0, 1])

    assert likeness(a, b) > 0.9 and likeness(a, c) > 0.9
    raw = [resample(x[None], 128)[0] for x in (image, framed[:, 100:800])]
    assert likeness(*raw) < 0.9


def test_enhanced_photographs_go_through_again() -> None:
    once, found = preprocess_fundus(photograph(600, 800, (400, 300, 280)), 160)
    assert found
    twice, again = preprocess_fundus(once, 160)
    assert not again  # on grey there is no edge against black
    assert twice.shape == once.shape and (twice[0] == twice[0, 0]).all()
    assert np.abs(twice[0, 0].astype(int) - 128).max() < 16
    inside = (slice(40, 120), slice(40, 120))
    assert np.corrcoef(once[inside].ravel(), twice[inside].ravel())[0, 1] > 0.8


def test_grey_photographs_stay_grey() -> None:
    image = photograph(shades=(150,))
    one, found = preprocess_fundus(image, 64)
    three, _ = preprocess_fundus(np.repeat(image, 3, axis=2), 64)
    assert found and one.shape == (64, 64, 1)
    assert np.abs(three.astype(int) - one).max() <= 1


def test_the_photograph_that_scikit_image_ships() -> None:
    image = sample_photograph()
    assert near(find_disc(image), (704, 703, 695), 0.01)
    shown = steps(image, 224)
    assert [*shown] == [
        "photograph, disc found",
        "cropped to the disc",
        "resized to 224 px",
        "local average subtracted",
        "normalised",
    ]
    assert shown["photograph, disc found"].shape == image.shape
    png(plot_steps(shown))
    found, disc = preprocess_fundus(image, 224)
    assert disc and (shown["normalised"] == found).all()
    assert (found[:10] == 128).all() and found[112, 30:200].std() > 10
    assert image.flags.owndata and (image == sample_photograph()).all()  # the original is untouched


def test_real_photographs_have_discs(shared_data: Path) -> None:
    files = sorted((shared_data / "retinopathy" / "images").glob("*"))[::97]
    found = [decode_image(file.read_bytes(), 96, "fundus").disc for file in files]
    assert np.mean(found) > 0.95


def test_files_are_preprocessed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTRASTIVE_CACHE", str(tmp_path / "cache"))
    name = write_photographs(tmp_path / "eyes")
    done: list[str] = []
    original = lib.data.decoded.decode_image

    def counted(data: bytes, size: int, preprocess: str) -> Any:
        done.append(preprocess)
        return original(data, size, preprocess)

    monkeypatch.setattr(lib.data.decoded, "decode_image", counted)
    options: dict[str, Any] = {"progress": False, "max_unreadable": 0.1}
    data = load_dataset(name, 48, preprocess="fundus", **options)
    assert done == ["fundus"] * 20
    again = load_dataset(name, 48, preprocess="fundus", **options)
    assert len(done) == 20 and again.fingerprint == data.fingerprint
    plain = load_dataset(name, 48, **options)
    assert len(done) == 40 and plain.fingerprint != data.fingerprint

    assert data.task == "ordinal"
    assert sum(len(part) for part in data.splits.values()) == 19
    assert any("19 cropped to their disc" in note for note in data.notes)
    assert any("9_left (no fundus to be seen: the image is black)" in n for n in data.notes)
    assert not any("middle square" in note for note in data.notes)
    for part in data.splits.values():
        for image_id, image in zip(part.ids, part.images, strict=True):
            file = (tmp_path / "eyes" / f"{image_id}.jpeg").read_bytes()
            assert (image == decode_image(file, 48, "fundus").pixels).all()
            assert (image[0, 0] == 128).all()
    info = describe_dataset(name, 48, preprocess="fundus")
    assert info.fingerprint == data.fingerprint
    assert describe_dataset(name, 48).fingerprint == plain.fingerprint


def test_deep_photographs_are_scaled_from_their_own_depth() -> None:
    image = photograph(200, 200, (100, 100, 90))
    (_, deep), (_, shallow) = (
        cv2.imencode(".png", x[..., ::-1]) for x in (image.astype(np.uint16) * 16, image)
    )
    a = decode_image(deep.tobytes(), 64, "fundus")
    b = decode_image(shallow.tobytes(), 64, "fundus")
    assert a.pixels.dtype == np.uint8 and a.disc and b.disc
    assert np.abs(a.pixels.astype(int) - b.pixels).mean() < 2


@pytest.mark.parametrize("name", ["breastmnist", "phantom", "npz:some.npz"])
def test_finished_arrays_are_refused(name: str) -> None:
    mistakes = check_dataset(name, 28, preprocess="fundus")
    assert any(line.startswith("preprocess: fundus is for image files") for line in mistakes)
    for act in (load_dataset, describe_dataset):
        with pytest.raises(DataError, match="preprocess: fundus is for image files"):
            act(name, 28, preprocess="fundus")


def test_unknown_preprocessing_is_refused(tmp_path: Path) -> None:
    name = write_photographs(tmp_path / "eyes", 4)
    assert check_dataset(name, 28, preprocess="fundsu") == [
        "preprocess: 'fundsu'; known are none, fundus"
    ]
