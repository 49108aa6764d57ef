"""Reading .npz files: headers without the data, images in memory or mapped, never half checked."""

from __future__ import annotations

import math
import shutil
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lib.data.base import DataError
from lib.data.cache import IN_MEMORY, cached, open_array
from lib.data.decode import DECODER_VERSION, MIN_SIDE, centre_square, resample

STREAM_BLOCK = 2**24
CHUNK_BYTES = 2**26  # what resampling holds in memory at a time
# zipfile raises RuntimeError for a member with a password, numpy TokenError for some headers.
DAMAGED = (
    OSError,
    ValueError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
    RuntimeError,
    tokenize.TokenError,
)


@dataclass(frozen=True)
class Header:
    """Shape and dtype of an array that has not been read."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def nbytes(self) -> int:
        """Size of the array in memory."""
        return math.prod(self.shape) * self.dtype.itemsize  # no overflow, whatever a file says


def read_headers(path: Path) -> dict[str, Header]:
    """Shapes and dtypes of all arrays in an .npz, without reading them."""
    headers = {}
    key = ""
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                key = member.filename.removesuffix(".npy")
                with archive.open(member) as file:
                    major, _ = np.lib.format.read_magic(file)
                    read = (
                        np.lib.format.read_array_header_1_0
                        if major == 1
                        else np.lib.format.read_array_header_2_0
                    )
                    shape, _, dtype = read(file)
                    header, held = Header(shape, dtype), member.file_size - file.tell()
                # An array of objects is a pickle of any length, and refused where it is read.
                if not dtype.hasobject and held < header.nbytes:
                    shown = " × ".join(map(str, shape))
                    raise DataError(
                        f"{path}: {key} is cut short: {shown} {dtype} take {header.nbytes:,} "
                        f"bytes, the file holds {held:,}"
                    )
                headers[key] = header
    except DAMAGED as error:
        where = f"{path}: {key}" if key else str(path)
        raise DataError(f"{where}: not a readable .npz file ({error})") from error
    return headers


def read_array(path: Path, key: str) -> npt.NDArray[Any]:
    """One array of an .npz, whole. Raises DataError for a damaged or pickled one."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return np.asarray(archive[key])
    except KeyError:
        raise DataError(f"{path}: has no {key}") from None
    except DAMAGED as error:
        raise DataError(f"{path}: {key} cannot be read ({error})") from error


@dataclass(frozen=True)
class Source:
    """An .npz file to take images from: its content's hash, where derived files go, the limit."""

    path: Path
    digest: str
    cache: Path
    limit: int = IN_MEMORY


def read_images(source: Source, key: str, size: int) -> npt.NDArray[np.uint8]:
    """Images as uint8 [N, size, size, C] (C 1 or 3), cut to squares and resampled if need be.

    Up to `source.limit` bytes in memory; a larger array is streamed from the archive into a .npy
    file in the cache and mapped read-only, so that it is never in memory as a whole.
    """
    path, header = source.path, image_header(source.path, read_headers(source.path), key)
    if header.nbytes <= source.limit:
        images = read_array(path, key)
    else:
        member = f"{key}.npy"
        target = source.cache / "npz" / f"{path.stem}-{source.digest[:20]}-{member}"
        images = np.load(
            cached(target, lambda out: _stream(path, member, out)),
            mmap_mode="r",
            allow_pickle=False,
        )
    if images.ndim == 3:
        images = images[..., None]
    images = centre_square(images)
    n, side, _, channels = images.shape
    if side == size:
        return np.ascontiguousarray(images) if header.nbytes <= source.limit else images
    if max(n * size * size * channels, header.nbytes) <= source.limit:
        return resample(images, size)
    name = f"{path.stem}-{source.digest[:20]}-{key}-{size}px-v{DECODER_VERSION}.npy"
    target = source.cache / "npz" / name
    return open_array(cached(target, lambda out: _resample_to(images, size, out)), source.limit)


def image_header(path: Path, headers: Mapping[str, Header], key: str) -> Header:
    """The header of an array of images; DataError unless it is uint8 [N, H, W(, 1 or 3)]."""
    if key not in headers:
        raise DataError(f"{path}: has no {key}; it has {', '.join(sorted(headers)) or 'nothing'}")
    header = headers[key]
    shape, shown = header.shape, " × ".join(map(str, header.shape))
    if header.dtype != np.uint8:
        raise DataError(f"{path}: {key} is {header.dtype}; images must be uint8 (0–255)")
    if len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] not in (1, 3)):
        raise DataError(f"{path}: {key} is {shown}; needed is N × H × W, or N × H × W × 1 or 3")
    if 0 in shape:
        raise DataError(f"{path}: {key} is empty ({shown})")
    if min(shape[1:3]) < MIN_SIDE:
        raise DataError(f"{path}: {key} is {shown}; images need {MIN_SIDE} × {MIN_SIDE} pixels")
    return header


def _stream(path: Path, member: str, out: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive, archive.open(member) as file, out.open("wb") as to:
            shutil.copyfileobj(file, to, STREAM_BLOCK)
    except DAMAGED as error:
        raise DataError(f"{path}: {member} cannot be unpacked to {out.parent} ({error})") from error


def _resample_to(images: npt.NDArray[np.uint8], size: int, out: Path) -> None:
    n, side, _, channels = images.shape
    shape = (n, size, size, channels)
    target = np.lib.format.open_memmap(out, mode="w+", dtype=np.uint8, shape=shape)
    rows = max(1, CHUNK_BYTES // (max(side, size) ** 2 * channels))
    for start in range(0, n, rows):
        target[start : start + rows] = resample(images[start : start + rows], size)
    target.flush()
