"""Damage at random: whatever a byte does to a file, it is refused in a line or read as data."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from lib.data import DataError, check_dataset, describe_dataset, load_dataset
from lib.data.decode import decode_image, glance
from tests.refused import Desk

TIMES = 40


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """Cut short, or with up to a dozen bytes changed, most of them where headers are."""
    if rng.random() < 0.25:
        return content[: rng.integers(len(content))]
    changed = bytearray(content)
    for _ in range(rng.integers(1, 12)):
        near = int(rng.integers(min(len(content), 500)))
        changed[near if rng.random() < 0.5 else -1 - near] = rng.integers(256)
    return bytes(changed)


@pytest.mark.parametrize("kind", ["npz", "csv"])
def test_a_damaged_data_set_is_refused_or_read(kind: str, tmp_path: Path) -> None:
    desk, refused = Desk(tmp_path), 0
    p = np.array([f"p{i}" for i in range(22)])
    groups = {"train_groups": p[:12], "val_groups": p[12:16], "test_groups": p[16:]}
    rows = [[*row, f"p{i // 2}"] for i, row in enumerate(desk.rows())]
    good = {
        "npz": lambda: desk.npz(classes=np.array(["a", "b"]), **groups),
        "csv": lambda: desk.table(rows, "image,label,group"),
    }[kind]()
    path = Path(good.partition(":")[2])
    content = path.read_bytes()
    for seed in range(TIMES):
        name = f"{kind}:{path.with_stem(f'damaged{seed}')}"
        Path(name.partition(":")[2]).write_bytes(damaged(content, np.random.default_rng(seed)))
        for look in (check_dataset, describe_dataset):
            try:
                found = look(name, 28)
            except DataError as error:
                found = [str(error)]
            if isinstance(found, list) and found:
                refused += 1
                assert "\n" not in found[0]
        if kind == "npz":
            try:
                load_dataset(name, 28, progress=False)
            except DataError:
                refused += 1
    assert refused > TIMES


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tiff", ".gif", ".bmp", ".webp", ".16.png"])
def test_a_damaged_image_is_refused_or_read(suffix: str, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 65536, (40, 40, 3), np.uint16)
    buffer = io.BytesIO()
    path = tmp_path / f"image{suffix}"
    if suffix == ".16.png":
        buffer.write(cv2.imencode(".png", pixels)[1].tobytes())
    else:
        Image.fromarray((pixels >> 8).astype(np.uint8)).save(
            buffer, Image.registered_extensions()[suffix]
        )
    refused = 0
    for seed in range(TIMES):
        content = damaged(buffer.getvalue(), np.random.default_rng(seed))
        path.write_bytes(content)
        assert "\n" not in glance(path)
        try:
            assert decode_image(content, 28).pixels.shape[:2] == (28, 28)
        except (OSError, ValueError):  # what `lib.data.decoded` lists as unreadable
            refused += 1
    assert refused > TIMES / 4
