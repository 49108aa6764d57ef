"""Drawn fundus photographs, and folders of them in the layout of Kaggle's competition."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np

SHADES = (170, 80, 50)


def photograph(
    height: int = 300,
    width: int = 400,
    disc: tuple[float, float, float] = (200, 150, 130),
    *,
    shades: tuple[int, ...] = SHADES,
    seed: int = 0,
) -> np.ndarray:
    """A lit disc with vessels and an optic disc on black, with the camera's noise."""
    x, y, r = disc
    rng = np.random.default_rng(seed)
    image = np.zeros((height, width, len(shades)), np.float32)
    rows, columns = np.mgrid[:height, :width]
    inside = (columns - x) ** 2 + (rows - y) ** 2 <= r**2
    image[inside] = shades
    tissue = np.ascontiguousarray(image)
    for _ in range(8):
        points = rng.normal((x, y), r / 2, (4, 2)).astype(np.int32)
        cv2.polylines(tissue, [points], False, tuple(s * 0.6 for s in shades), max(1, int(r / 60)))
    cv2.circle(tissue, (int(x - r / 2), int(y)), int(r / 8), (240.0,) * len(shades), -1)
    image[inside] = tissue[inside]
    image += rng.normal(0, 2, image.shape)
    return image.clip(0, 255).astype(np.uint8)


def write_photographs(folder: Path, n: int = 20) -> str:
    """A folder in the competition's layout; the last photograph is black."""
    folder.mkdir()
    for i in range(n):
        image = photograph(150, 200, (100 + i, 75, 60 + i), seed=i)
        image = np.zeros_like(image) if i == n - 1 else image
        cv2.imwrite(str(folder / f"{i // 2}_{'left' if i % 2 else 'right'}.jpeg"), image[..., ::-1])
    rows = [[f"{i // 2}_{'left' if i % 2 else 'right'}", str(i % 5)] for i in range(n)]
    with (folder / "trainLabels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["image", "level"], *rows])
    return f"csv:{folder / 'trainLabels.csv'}"
