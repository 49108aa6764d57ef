"""Many image files to one array: decoded once, in parallel, into the cache."""

from __future__ import annotations

import csv
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lib.bars import Bar
from lib.data.base import DataError
from lib.data.cache import cached, combined_hash, write_complete, write_text
from lib.data.decode import (
    DECODER_VERSION,
    Decoded,
    bit_depth,
    check_bytes,
    decode_image,
    to_uint8,
)
from lib.data.parallel import for_each_row

CHUNK_ROWS = 1024  # images held in memory while the cache is finished


@dataclass(frozen=True)
class DecodedFiles:
    """All images of a list of files, decoded.

    array: the .npy file, uint8 [N, size, size, C]; rows of unreadable images are black.
    failures: row -> why it could not be read; listing: the same as a csv file, None if none.
    notes: what was done to the images, in sentences for the report.
    """

    array: Path
    failures: dict[int, str]
    listing: Path | None
    notes: tuple[str, ...]


def decode_files(
    paths: Sequence[Path | None],
    names: Sequence[str],
    digests: Sequence[str],
    size: int,
    cache: Path,
    *,
    label: str,
    preprocess: str = "none",
    workers: int | None = None,
    progress: bool = True,
) -> DecodedFiles:
    """Decode N files to `size`, or find them decoded: the key is their digests and the size.

    preprocess: what is done to each (`decode_image`), part of the key too. Labels and splits are
    no part of it. Paths that are None count as unreadable. Nothing but the workers' own images is
    held in memory. Images come out with one channel when every one of them is grey, else with
    three; all images of more than 8 bits share one scale (`bit_depth`).
    """
    key = combined_hash([*decoder_version(preprocess), size, list(digests)])
    array = cache / "images" / f"{_slug(label.partition('/')[0])}-{size}px-{key[:20]}.npy"
    about, listing = array.with_suffix(".json"), array.with_name(f"{array.stem}-unreadable.csv")

    if not about.exists():  # it is written before the array: someone tidied up
        array.unlink(missing_ok=True)

    def build(target: Path) -> None:
        facts = _decode_all(
            paths, size, target, label, preprocess, workers=workers, progress=progress
        )
        failures = [(row, names[row], reason) for row, reason in sorted(facts.failures.items())]
        if failures:
            write_complete(listing, lambda path: _write_listing(path, failures))
        known = {"failures": failures, "notes": facts.notes(size, preprocess)}
        write_text(about, json.dumps(known, indent=1))

    cached(array, build)
    facts = json.loads(about.read_text())
    failures = {row: reason for row, _, reason in facts["failures"]}
    return DecodedFiles(array, failures, listing if failures else None, tuple(facts["notes"]))


def decoder_version(preprocess: str) -> list[int | str]:
    """What identifies how a file becomes an image, as part of a hash."""
    if preprocess == "none":
        return [DECODER_VERSION]
    from lib.data.fundus import FUNDUS_VERSION

    return [DECODER_VERSION, preprocess, FUNDUS_VERSION]


class _Facts:
    """What the workers learn about the images; one lock for all of it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.failures: dict[int, str] = {}
        self.deep: list[int] = []  # rows of more than 8 bits
        self.peak = 0
        self.colour = False
        self.cropped = self.animated = self.stored_as_colour = self.discs = self.whole = 0

    def add(self, row: int, image: Decoded) -> None:
        pixels = image.pixels
        coloured = pixels.shape[2] == 3 and bool((pixels != pixels[..., :1]).any())
        with self.lock:
            self.colour |= coloured
            self.stored_as_colour += pixels.shape[2] == 3
            self.cropped += image.cropped
            self.discs += image.disc
            self.whole += not image.disc
            self.animated += image.animated
            if pixels.dtype == np.uint16:
                self.deep.append(row)
                self.peak = max(self.peak, image.peak)

    def notes(self, size: int, preprocess: str) -> list[str]:
        found = []
        if preprocess == "fundus":
            text = f"Fundus photographs: {self.discs:,} cropped to their disc, the local average "
            text += "subtracted (Graham 2015), each normalised."
            if self.whole:
                text += f" {self.whole:,} show no edge of a disc: their middle square was taken."
            found.append(text)
        elif self.cropped:
            found.append(
                f"{self.cropped:,} images are not square: cropped to their middle square, then "
                f"resampled to {size} × {size}."
            )
        if self.deep:
            bits = bit_depth(self.peak)
            found.append(
                f"{len(self.deep):,} images have more than 8 bits a channel (largest value "
                f"{self.peak:,}): all of them scaled from 0–{2**bits - 1:,} to 0–255."
            )
        if self.animated:
            found.append(f"{self.animated:,} files hold several pictures: the first was read.")
        if self.stored_as_colour and not self.colour:
            found.append("Every image is grey, though stored as colour: one channel is kept.")
        return found


def _decode_all(
    paths: Sequence[Path | None],
    size: int,
    target: Path,
    label: str,
    preprocess: str,
    *,
    workers: int | None,
    progress: bool,
) -> _Facts:
    n, facts = len(paths), _Facts()
    colour_file, deep_file = (target.with_suffix(f".{part}.npy") for part in ("rgb", "deep"))
    shape = (n, size, size, 3)
    try:
        shallow: npt.NDArray[np.uint8] = _new_array(colour_file, shape, np.uint8)
        deep: npt.NDArray[np.uint16] = _new_array(deep_file, shape, np.uint16)  # sparse on disk

        def work(row: int) -> None:
            image = _read(paths[row], size, preprocess)
            if isinstance(image, str):
                facts.failures[row] = image
            else:
                array = deep if image.pixels.dtype == np.uint16 else shallow
                array[row] = image.pixels  # one channel is repeated thrice
                facts.add(row, image)

        with _one_opencv_thread():
            bar = Bar(f"Decoding {label}", n, "image", show=progress)
            for_each_row(n, work, bar, workers)
        _finish(shallow, deep, facts, target)
    finally:
        colour_file.unlink(missing_ok=True)
        deep_file.unlink(missing_ok=True)
    return facts


def _read(path: Path | None, size: int, preprocess: str) -> Decoded | str:
    """The image, or why it cannot be read."""
    if path is None:
        return "file not found"
    try:
        check_bytes(path)
        return decode_image(path.read_bytes(), size, preprocess)
    except MemoryError:
        raise
    except Exception as error:  # decoders raise anything on a damaged file; it is listed
        return " ".join(str(error).split()) or type(error).__name__


def _finish(
    shallow: npt.NDArray[np.uint8], deep: npt.NDArray[np.uint16], facts: _Facts, target: Path
) -> None:
    """Bring all rows to 8 bits and the fewest channels, chunk by chunk."""
    n, size = shallow.shape[:2]
    bits = bit_depth(facts.peak)
    is_deep = np.zeros(n, bool)
    is_deep[facts.deep] = True
    channels = 3 if facts.colour else 1
    final = _new_array(target, (n, size, size, channels), np.uint8)
    for start in range(0, n, CHUNK_ROWS):
        rows = slice(start, start + CHUNK_ROWS)
        chunk = shallow[rows, ..., :channels].copy()
        chosen = is_deep[rows]
        if chosen.any():
            chunk[chosen] = to_uint8(deep[rows, ..., :channels][chosen], bits)
        final[rows] = chunk
    final.flush()


def _new_array(path: Path, shape: tuple[int, ...], dtype: Any) -> Any:
    try:
        return np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    except OSError as error:
        raise DataError(f"{path.parent}: cannot write the decoded images ({error})") from error


@contextmanager
def _one_opencv_thread() -> Iterator[None]:
    """The pool's workers are the threads; OpenCV must not start more inside each."""
    import cv2

    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def _slug(label: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in label).strip("-").lower()[:40]


def _write_listing(path: Path, failures: list[tuple[int, str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["row", "image", "reason"])
        writer.writerows(failures)
