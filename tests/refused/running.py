"""Data whose mistake only decoding shows: the run fails, with a line that names it."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tests.refused.case import Desk
from tests.refused.data import good_members, npy


@dataclass(frozen=True)
class Failing:
    """make: writes the data set into a desk of its own and returns its name. says: of the line."""

    name: str
    make: Callable[[Desk], str]
    says: tuple[str, ...]


def cut_images(desk: Desk) -> str:
    """Pictures of which the header is whole and half of the body is missing."""
    for i, row in enumerate(desk.rows()):
        path = desk.image(f"own/{row[0]}", i, size=64)
        path.write_bytes(path.read_bytes()[:2000])
    return desk.table(desk.rows())


def one_cut_image(desk: Desk) -> str:
    path = desk.image("own/im3.png", size=64)
    path.write_bytes(path.read_bytes()[:2000])
    return desk.table(desk.rows())


def tiny_images(desk: Desk) -> str:
    for i, row in enumerate(desk.rows()):
        desk.image(f"own/{row[0]}", i, size=3)
    return desk.table(desk.rows())


def floats(desk: Desk) -> str:
    for i, row in enumerate(desk.rows()):
        buffer = io.BytesIO()
        Image.fromarray(np.full((28, 28), i, np.float32)).save(buffer, "TIFF")
        desk.write(f"own/{row[0]}", buffer.getvalue())
    return desk.table(desk.rows())


def flipped_bits(desk: Desk) -> str:
    """An archive whose images do not have the checksum that it gives."""
    members = good_members()
    name = desk.zipped(members)
    path = Path(name.removeprefix("npz:"))
    content, wanted = path.read_bytes(), members["train_images.npy"]
    at = content.index(wanted) + len(wanted) - 100
    path.write_bytes(
        content[:at] + bytes(b ^ 255 for b in content[at : at + 9]) + content[at + 9 :]
    )
    assert zlib.crc32(wanted) != zlib.crc32(
        path.read_bytes()[at - len(wanted) + 100 :][: len(wanted)]
    )
    return name


def no_class_in_test(desk: Desk) -> str:
    members = good_members()
    members["test_labels.npy"] = npy(np.zeros(6, np.uint8))
    return desk.zipped(members)


CASES = [
    Failing("cut", cut_images, ("labels.csv: 20 of 20 images unreadable", "im0.png")),
    Failing("one cut", one_cut_image, ("labels.csv: 1 of 20 images unreadable", "im3.png")),
    Failing("tiny", tiny_images, ("labels.csv: 20 of 20", "im0.png (3 × 3 pixels")),
    Failing("floats", floats, ("labels.csv: 20 of 20", "im0.png (holds float32 values")),
    Failing("flipped", flipped_bits, ("cells.npz: train_images cannot be read", "CRC")),
]
