"""One image file to pixels: formats, depths, palettes, orientation, damage."""

from __future__ import annotations

import io
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from lib.data.decode import bit_depth, decode_image, resample, to_uint8
from tests.refused.data import png_header, tiff_header

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (40, 40), np.uint8)
RGB = RNG.integers(0, 256, (40, 40, 3), np.uint8)
SMOOTH = cv2.resize(RNG.integers(0, 256, (6, 6, 3), np.uint8), (600, 600))


def encode(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("form", ["PNG", "TIFF", "BMP", "WEBP", "PPM"])
@pytest.mark.parametrize("array", [GREY, RGB], ids=["grey", "rgb"])
def test_lossless_formats_come_back_exactly(form: str, array: np.ndarray) -> None:
    options = {"lossless": True} if form == "WEBP" else {}
    decoded = decode_image(encode(Image.fromarray(array), form, **options), 40)
    expected = array.reshape(40, 40, -1)
    assert decoded.pixels.dtype == np.uint8
    assert (decoded.pixels == expected).all()  # WebP stores grey as RGB: broadcast
    assert not decoded.cropped


def test_palettes_become_their_colours() -> None:
    image = Image.fromarray(RGB).quantize(32)
    for form in ("PNG", "GIF"):
        decoded = decode_image(encode(image, form), 40)
        assert np.array_equal(decoded.pixels, np.asarray(image.convert("RGB")))


def test_bilevel_becomes_black_and_white() -> None:
    bits = GREY > 127
    decoded = decode_image(encode(Image.fromarray(bits), "PNG"), 40)
    assert np.array_equal(decoded.pixels[..., 0], bits * 255)


def test_transparency_lies_over_black() -> None:
    alpha = RNG.integers(0, 256, (40, 40, 1), np.uint8)
    rgba = np.concatenate([RGB, alpha], axis=2)
    decoded = decode_image(encode(Image.fromarray(rgba), "PNG"), 40)
    exact = RGB * (alpha / 255)
    assert np.abs(decoded.pixels - exact).max() <= 0.5 + 1e-6


@pytest.mark.parametrize("form", [".png", ".tiff"])
@pytest.mark.parametrize("shape", [(40, 40), (40, 40, 3)], ids=["grey", "rgb"])
def test_sixteen_bits_are_kept(form: str, shape: tuple[int, ...]) -> None:
    array = RNG.integers(0, 4096, shape, np.uint16)
    written = array if array.ndim == 2 else np.ascontiguousarray(array[..., ::-1])
    ok, data = cv2.imencode(form, written)
    assert ok
    decoded = decode_image(data.tobytes(), 40)
    assert decoded.pixels.dtype == np.uint16
    assert np.array_equal(decoded.pixels, array.reshape(40, 40, -1))
    assert decoded.peak == array.max()


def test_the_peak_is_that_of_the_file_not_of_the_means() -> None:
    array = np.zeros((40, 40), np.uint16)
    array[3, 3] = 4000
    decoded = decode_image(cv2.imencode(".png", array)[1].tobytes(), 10)
    assert decoded.peak == 4000 > decoded.pixels.max()


def test_floating_point_is_refused_with_a_reason() -> None:
    data = encode(Image.fromarray(RNG.random((40, 40), np.float32)), "TIFF")
    with pytest.raises(ValueError, match="float32"):
        decode_image(data, 40)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    upright = Image.fromarray(SMOOTH[:200, :300])
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = decode_image(encode(stored, "JPEG", quality=95, exif=exif), 64)
    expected = resample(np.asarray(upright)[None, :, 50:250], 64)[0]
    assert np.abs(decoded.pixels.astype(int) - expected).mean() < 3


def test_the_middle_square_is_taken() -> None:
    wide = np.zeros((20, 50), np.uint8)
    wide[:, 15:35] = GREY[:20, :20]
    for array in (wide, wide.T):
        decoded = decode_image(encode(Image.fromarray(array), "PNG"), 20)
        square = GREY[:20, :20] if array is wide else GREY[:20, :20].T
        assert np.array_equal(decoded.pixels[..., 0], square)
        assert decoded.cropped


@pytest.mark.parametrize("size", [28, 64, 224])
def test_reduced_jpeg_decoding_is_close_to_the_area_mean(size: int) -> None:
    data = encode(Image.fromarray(SMOOTH), "JPEG", quality=95)
    with Image.open(io.BytesIO(data)) as image:
        full = resample(np.asarray(image.convert("RGB"))[None], size)[0]
    difference = np.abs(decode_image(data, size).pixels.astype(int) - full)
    assert difference.mean() < 0.6
    assert difference.max() <= 6


def test_cmyk_and_grey_jpegs_decode() -> None:
    cmyk = encode(Image.fromarray(SMOOTH).convert("CMYK"), "JPEG", quality=95)
    assert np.abs(decode_image(cmyk, 600).pixels.astype(int) - SMOOTH).mean() < 3
    grey = encode(Image.fromarray(SMOOTH[..., 0]), "JPEG")
    assert decode_image(grey, 28).pixels.shape == (28, 28, 1)


def test_an_animation_gives_its_first_picture() -> None:
    frames = [Image.fromarray(np.full((40, 40), v, np.uint8)) for v in (10, 200)]
    decoded = decode_image(encode(frames[0], "GIF", save_all=True, append_images=frames[1:]), 40)
    assert decoded.animated
    assert (decoded.pixels == 10).all()


@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF"])
def test_damage_is_an_error(form: str) -> None:
    data = encode(Image.fromarray(SMOOTH), form)
    for bad in (b"", b"text", data[: len(data) // 2], data[:30]):
        with pytest.raises((ValueError, OSError, SyntaxError)):
            decode_image(bad, 28)


@pytest.mark.parametrize(
    ("peak", "bits"), [(0, 8), (255, 8), (256, 10), (1023, 10), (4095, 12), (4096, 14), (65535, 16)]
)
def test_the_bit_depth_holds_the_peak(peak: int, bits: int) -> None:
    assert bit_depth(peak) == bits


def test_scaling_maps_the_whole_range() -> None:
    for bits in (8, 10, 12, 14, 16):
        top = 2**bits - 1
        values = np.arange(top + 1, dtype=np.uint16)
        assert np.array_equal(to_uint8(values, bits), np.floor(values * (255 / top) + 0.5))


@pytest.mark.parametrize(
    "content",
    [png_header(50_000, 50_000), png_header(30_000, 30_000, 16, 2), tiff_header(30_000, 30_000)],
)
def test_a_header_that_boasts_is_refused_before_anything_is_allocated(
    content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decoded(*_: object) -> None:
        pytest.fail("a decoder was called")

    monkeypatch.setattr("cv2.imdecode", decoded)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decoded)
    with pytest.raises(ValueError, match=r"0,000 × .0,000 pixels, at most 178,956,970 are read"):
        decode_image(content, 28)


def test_an_image_of_hardly_a_pixel_is_refused() -> None:
    buffer = io.BytesIO()
    Image.new("L", (300, 6)).save(buffer, "PNG")
    with pytest.raises(ValueError, match="300 × 6 pixels, needed are 7 × 7"):
        decode_image(buffer.getvalue(), 28)
