"""Thumbnails: the pixels go out as they are, and what stands beside them is text, not markup."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from lib.widgets.thumbnails import FRAMES, Thumbnail, note, picture, rows, strip


def decoded(html: str) -> list[np.ndarray]:
    found = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(code)))) for code in found]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_holds_the_image_pixel_by_pixel(channels: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (9, 9, channels), dtype=np.uint8)
    (seen,) = decoded(picture(image, 40, "a cell"))
    assert np.array_equal(seen.reshape(image.shape), image)


def test_only_enlarged_pixels_stay_square() -> None:
    image = np.zeros((50, 50, 3), np.uint8)
    assert "pixelated" in picture(image, 51, "")
    assert "pixelated" not in picture(image, 50, "")


def test_hits_and_misses_differ_in_more_than_colour() -> None:
    image = np.zeros((4, 4, 1), np.uint8)
    html = strip([Thumbnail(image, (), right) for right in (True, False, None)])
    assert all(frame in html for frame in FRAMES.values())
    assert "solid" in FRAMES[True]
    assert "dashed" in FRAMES[False]


def test_names_are_text() -> None:
    image = np.zeros((2, 4, 4, 3), np.uint8)
    for html in (strip([Thumbnail(image[0], ("<b>",))]), rows({"<b>": image}), note("<b>")):
        assert "<b>" not in html
        assert "&lt;b&gt;" in html
    assert len(decoded(rows({"a": image, "b": image}))) == 4
