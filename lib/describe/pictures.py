"""What one picture says of itself: sides, channels, depth, and a small grey version of it."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lib.data.decode import Pixels, bit_depth, centre_square, decode_image, resample, to_uint8

SMALL = 32  # side of the small version, in pixels
DECODED = 64  # side at which files are decoded: JPEGs at a fraction of their size
WHOLE = 384  # longer side of an uncropped picture
TURNED = (5, 6, 7, 8)  # values of EXIF's orientation (tag 274) that swap height and width
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


@dataclass(frozen=True)
class Picture:
    """One picture that could be read.

    height, width: in pixels, as shown. channels: as stored, 1 or 3; coloured: the three differ.
    bits: 8, or the smallest of 10, 12, 14, 16 that holds its largest value. kind: the format.
    small: float32 [SMALL, SMALL], grey, 0 to 255 on the picture's own bits, its middle square.
    spread: largest minus smallest value of the middle square at 64 px, 0 to 255.
    digest: of the file's bytes, or of the array.
    """

    height: int
    width: int
    channels: int
    coloured: bool
    bits: int
    kind: str
    small: npt.NDArray[np.float32]
    spread: float
    digest: str


def picture_from_file(data: bytes) -> Picture:
    """Read the bytes of an image file; raises what `decode_image` raises."""
    decoded = decode_image(data, DECODED)
    height, width, kind, channels = _header(data)
    deep = decoded.pixels.dtype == np.uint16
    bits = bit_depth(decoded.peak) if deep else 8
    pixels = to_uint8(decoded.pixels, bits) if deep else decoded.pixels
    digest = hashlib.blake2b(data, digest_size=16).hexdigest()
    return _picture(pixels, (height, width), channels or pixels.shape[2], bits, kind, digest)


def picture_from_array(image: npt.NDArray[np.uint8]) -> Picture:
    """Take an image uint8 [H, W, C] of a finished array."""
    digest = hashlib.blake2b(image.tobytes(), digest_size=16).hexdigest()
    height, width, channels = image.shape
    square = centre_square(image[None])[0]
    return _picture(square, (height, width), channels, 8, "array", digest)


def _picture(
    square: Pixels, sides: tuple[int, int], channels: int, bits: int, kind: str, digest: str
) -> Picture:
    coloured = square.shape[2] == 3 and bool((square != square[..., :1]).any())
    grey = square.astype(np.float32) @ LUMA if square.shape[2] == 3 else square[..., 0]
    small = resample_grey(np.asarray(grey, np.float32))
    spread = float(square.max()) - float(square.min())
    return Picture(*sides, channels, coloured, bits, kind, small, spread, digest)


def resample_grey(grey: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """A grey square float32 [S, S] to [SMALL, SMALL]."""
    return np.asarray(resample(grey[None, ..., None], SMALL)[0, ..., 0], np.float32)


def whole_picture(data: bytes, side: int = WHOLE) -> npt.NDArray[np.uint8]:
    """A picture of at most 8 bits in colour, uncropped, its longer side at most `side` pixels."""
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        image.draft("RGB", (side, side))
        small = image.convert("RGB")
    small.thumbnail((side, side))
    return np.asarray(small)


def _header(data: bytes) -> tuple[int, int, str, int]:
    """Height and width as shown, format, and stored channels (0 where only decoding tells)."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data)) as image:
            width, height = image.size
            turned = image.getexif().get(274) in TURNED
            grey = image.mode[0] in "1LIF"
            kind = str(image.format)
            # 16-bit colour is opened as what Pillow can hold: its mode says nothing of channels.
            channels = 1 if grey else 3
            return (width, height, kind, channels) if turned else (height, width, kind, channels)
    except UnidentifiedImageError:
        shape = _shape_by_opencv(data)
        return shape[0], shape[1], "TIFF", 0


def _shape_by_opencv(data: bytes) -> tuple[int, ...]:
    import cv2

    array: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    return tuple(array.shape)
