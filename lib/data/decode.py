"""One image file to one square array: every common format, 8 or 16 bit, grey or colour."""

from __future__ import annotations

import io
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[Any]  # uint8 or uint16, [H, W, C], C 1 or 3

DECODER_VERSION = 1  # raise it when a change alters decoded images: caches are rebuilt
SUFFIXES = (
    ".jpg",
    ".jpeg",
    ".png",
    ".tif",
    ".tiff",
    ".bmp",
    ".gif",
    ".webp",
    ".jp2",
    ".pgm",
    ".ppm",
)
BIT_DEPTHS = (8, 10, 12, 14, 16)
MIN_SIDE = 7  # pixels: the smallest image that any encoder here is fed
# Pillow refuses more pixels (twice its warning); OpenCV, which reads what has 16 bits, does not.
MAX_PIXELS = 178_956_970
MAX_BYTES = 2**30  # of a file, which is read whole
HEADER_BYTES = 2**16
PNG, TIFF = b"\x89PNG\r\n\x1a\n", (b"II*\0", b"MM\0*")


@dataclass(frozen=True)
class Decoded:
    """A decoded image.

    pixels: [S, S, C], uint8 or uint16 (C 1 or 3); peak: largest value of the file itself;
    cropped: it was not square; animated: only the first of several pictures was read; disc: it
    was cropped to the disc of a fundus photograph.
    """

    pixels: Pixels
    peak: int
    cropped: bool
    animated: bool
    disc: bool = False


def decode_image(data: bytes, size: int, preprocess: str = "none") -> Decoded:
    """Decode a file's bytes, cut out the middle square, resample it to `size`.

    The photographer's orientation (EXIF) is applied; transparency is laid over black; palettes
    become RGB; more than 8 bits stay uint16. Large JPEGs are decoded at the smallest of the
    fractions 1, 1/2, 1/4, 1/8 that leaves at least twice `size`.
    preprocess: `fundus` does what `lib.data.fundus` says in the place of the middle square, on
    the picture as decoded (JPEGs: at least four times `size`), and gives uint8.
    Raises ValueError or OSError with the reason for what cannot be read.
    """
    from PIL import Image, UnidentifiedImageError

    check_size(data)
    if data[:8] == PNG and len(data) > 24 and data[24] == 16:
        return _fit(_decode_deep(data), size, preprocess)  # Pillow drops the lower byte of RGB
    try:
        image = Image.open(io.BytesIO(data))
    except UnidentifiedImageError:
        if data[:4] in TIFF:  # 16-bit RGB TIFF is unknown to Pillow
            return _fit(_decode_deep(data), size, preprocess)
        raise ValueError("not an image, or of an unknown format") from None
    except Image.DecompressionBombError:
        raise ValueError(f"more than {MAX_PIXELS:,} pixels") from None
    with image:
        if image.mode[0] in "IF" or _tiff_bits(image) > 8:
            return _fit(_decode_deep(data), size, preprocess)
        least = 2 * size if preprocess == "none" else 4 * size  # a disc is a part of its picture
        image.draft("", (least, least))
        animated = bool(getattr(image, "is_animated", False))
        return _fit(_decode_shallow(image), size, preprocess, animated)


def check_size(data: bytes) -> None:
    """ValueError for an empty file, and for a PNG or TIFF that says it is of too many pixels.

    data: a file, or its beginning. Both kinds may go to OpenCV, which allocates what a header
    says; a picture that Pillow reads is measured by Pillow before it allocates.
    """
    if not data:
        raise ValueError("the file is empty")
    width = height = 0
    if data[:8] == PNG and len(data) >= 24:
        width, height = struct.unpack(">II", data[16:24])
    elif data[:4] in TIFF:
        width, height = _tiff_size(data)
    if width * height > MAX_PIXELS:
        raise ValueError(f"{width:,} × {height:,} pixels, at most {MAX_PIXELS:,} are read")


def _tiff_size(data: bytes) -> tuple[int, int]:
    """Width and height of a TIFF's first picture; 0, 0 where its directory lies further on."""
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    directory = ImageFileDirectory_v2(data[:8])
    file = io.BytesIO(data)
    file.seek(directory.next)
    try:
        directory.load(file)
        return int(directory[256]), int(directory[257])  # ImageWidth, ImageLength
    # A damaged directory fails in many ways; decoding says which.
    except Exception:
        return 0, 0


def glance(path: Path) -> str:
    """Why a file can be no image, as its size and its beginning tell; "" where they do not."""
    from PIL import Image, UnidentifiedImageError

    try:
        check_bytes(path)
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata, which no image is refused for
            check_size(file.read(HEADER_BYTES))
            file.seek(0)
            Image.open(file).close()
    except UnidentifiedImageError:
        with path.open("rb") as file:
            known = file.read(4) in TIFF
        return "" if known else "not an image, or of an unknown format"
    except Image.DecompressionBombError:
        return f"more than {MAX_PIXELS:,} pixels"
    except (OSError, ValueError) as error:
        return " ".join(str(error).split())
    # Plugins raise anything on a damaged header; decoding says what.
    except Exception:
        return ""
    return ""


def check_bytes(path: Path) -> None:
    """ValueError for a file that is too large to be an image, before it is read."""
    size = path.stat().st_size
    if size > MAX_BYTES:
        gib = f"{size / 2**30:.1f} GiB, at most {MAX_BYTES / 2**30:.1f} are read"
        raise ValueError(f"a file of {gib}")


def _tiff_bits(image: Any) -> int:
    bits = image.tag_v2.get(258, 8) if image.format == "TIFF" else 8  # 258: BitsPerSample
    return max(bits) if isinstance(bits, tuple) else int(bits)


def _decode_shallow(image: Any) -> Pixels:
    """A Pillow image of at most 8 bits to uint8 [H, W, 1 or 3]."""
    from PIL import ImageOps

    image.load()  # a truncated file fails here
    ImageOps.exif_transpose(image, in_place=True)
    if image.has_transparency_data:
        rgba = np.asarray(image.convert("RGBA"))
        colour, alpha = rgba[..., :3].astype(np.uint16), rgba[..., 3:]
        return np.asarray((colour * alpha + 127) // 255, np.uint8)
    if image.mode in ("1", "L"):
        return np.asarray(image.convert("L"))[..., None]
    return np.asarray(image.convert("RGB"))


def _decode_deep(data: bytes) -> Pixels:
    """A file of more than 8 bits a channel to uint16 [H, W, 1 or 3]."""
    import cv2

    try:
        array = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ValueError(f"cannot be decoded ({error.err})") from None
    if array is None:
        raise ValueError("cannot be decoded: damaged, or of an unknown kind")
    pixels: Pixels = array[..., None] if array.ndim == 2 else array
    if pixels.dtype.kind not in "iu":
        raise ValueError(f"holds {pixels.dtype} values; convert it to 8 or 16 bit")
    if pixels.min() < 0 or pixels.max() > 65535:
        low, high = pixels.min(), pixels.max()
        raise ValueError(f"holds values from {low} to {high}, outside 16 bit; convert it")
    if pixels.dtype != np.uint8:
        pixels = pixels.astype(np.uint16)
    if pixels.shape[2] == 4:
        full = np.iinfo(pixels.dtype).max
        blended = pixels[..., :3].astype(np.uint64) * pixels[..., 3:] + full // 2
        pixels = (blended // full).astype(pixels.dtype)
    return pixels[..., ::-1] if pixels.shape[2] == 3 else pixels[..., :1]  # OpenCV's BGR to RGB


def _fit(pixels: Pixels, size: int, preprocess: str, animated: bool = False) -> Decoded:
    """A picture of any shape to `size` × `size`; ValueError for one of hardly a pixel."""
    height, width = pixels.shape[:2]
    if min(height, width) < MIN_SIDE:
        raise ValueError(f"{width} × {height} pixels, needed are {MIN_SIDE} × {MIN_SIDE}")
    if preprocess == "fundus":
        from lib.data.fundus import preprocess_fundus

        # Each photograph is normalised by itself, so each is scaled from its own depth.
        shallow = pixels
        if pixels.dtype != np.uint8:
            shallow = to_uint8(pixels, bit_depth(int(pixels.max())))
        result, disc = preprocess_fundus(shallow, size)
        cropped = not disc and pixels.shape[0] != pixels.shape[1]
        return Decoded(result, int(result.max()), cropped, animated, disc)
    return Decoded(
        pixels=resample(centre_square(pixels[None]), size)[0],
        peak=int(pixels.max()),
        cropped=pixels.shape[0] != pixels.shape[1],
        animated=animated,
    )


def centre_square(images: Pixels) -> Pixels:
    """The middle square of [N, H, W, C], as large as the shorter side; a view."""
    height, width = images.shape[1:3]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return images[:, top : top + side, left : left + side]


def resample(images: Pixels, size: int) -> Pixels:
    """Resample square images [N, H, W, C] to [N, size, size, C], dtype kept (uint8 or uint16).

    Shrinking takes area means (OpenCV's INTER_AREA: no aliasing), enlarging is bicubic.
    Images that have the size already come back as they are, not copied.
    """
    import cv2

    n, height, width, channels = images.shape
    if height == width == size:
        return images
    how = cv2.INTER_AREA if size <= min(height, width) else cv2.INTER_CUBIC
    result = np.empty((n, size, size, channels), images.dtype)
    for image, target in zip(images, result, strict=True):
        resized = cv2.resize(np.ascontiguousarray(image), (size, size), interpolation=how)
        target[:] = resized.reshape(size, size, channels)
    return result


def bit_depth(peak: int) -> int:
    """The smallest of 8, 10, 12, 14, 16 bits that holds `peak` (12-bit data in a 16-bit file)."""
    return next(bits for bits in BIT_DEPTHS if peak < 2**bits)


def to_uint8(pixels: Pixels, bits: int) -> npt.NDArray[np.uint8]:
    """Map 0 … 2^bits - 1 onto 0 … 255, rounded; the same scale for every image of a data set."""
    top = 2**bits - 1
    scaled = (pixels.astype(np.uint32) * 255 + top // 2) // top
    return np.asarray(np.minimum(scaled, 255), np.uint8)  # bicubic enlarging may overshoot 12 bits
