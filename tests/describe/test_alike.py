"""Copies and near-duplicates: found where they were put, and nowhere else."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from lib.data.phantom import draw_cells
from lib.describe.alike import ALIKE, descriptors, find_alike, near_pairs
from lib.describe.pictures import SMALL, Picture, picture_from_array


def cells(n: int, size: int = 64) -> np.ndarray:
    return draw_cells(np.arange(n) % 8, size, seed=5, stream=0)


def altered(image: np.ndarray, how: str) -> np.ndarray:
    """An image as it comes back from somewhere else."""
    if how == "jpeg":
        return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], 1)
    if how == "half":
        return cv2.resize(image, (32, 32), interpolation=cv2.INTER_AREA)
    if how == "darker":
        return (image * 0.7).astype(np.uint8)
    assert how == "cropped"
    return cv2.resize(image[1:-1, 1:-1], (64, 64), interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize("how", ["jpeg", "half", "darker", "cropped"])
def test_an_altered_copy_is_found_and_nothing_else(how: str) -> None:
    images = [*cells(120), altered(cells(120)[17], how)]
    found = find_alike([picture_from_array(image) for image in images])
    assert found.copies == ()
    assert found.near == ((17, 120),)
    assert found.pairs[0][:2] == (17, 120)


@pytest.mark.parametrize("n", [2, 5, 30])
def test_few_images_are_no_obstacle(n: int) -> None:
    images = [*cells(n), altered(cells(n)[0], "jpeg")]
    assert find_alike([picture_from_array(image) for image in images]).near == ((0, n),)


def test_identical_and_flat_images_are_not_called_near_duplicates() -> None:
    black = np.zeros((64, 64, 3), np.uint8)
    grey = np.full_like(black, 99)
    images = [*cells(20), cells(20)[3], black, black, grey]
    pictures: list[Picture | None] = [picture_from_array(image) for image in images]
    pictures[7] = None
    found = find_alike(pictures)
    assert found.copies == ((3, 20), (21, 22))
    assert found.near == ()


def test_pairs_are_those_of_every_comparison_also_by_the_index() -> None:
    rng = np.random.default_rng(0)
    small = rng.normal(128, 40, (400, SMALL, SMALL)).astype(np.float32)
    small[300:] = small[:100] + rng.normal(0, 10, (100, SMALL, SMALL))
    small[350:] = small[:50] + rng.normal(0, 10, (50, SMALL, SMALL))  # three of a kind
    x = descriptors(small)
    np.testing.assert_allclose(np.linalg.norm(x, axis=1), 1, rtol=1e-5)
    every = {(i, j) for i in range(400) for j in range(i + 1, 400) if float(x[i] @ x[j]) >= ALIKE}
    assert len(every) >= 100
    for exact_up_to in (400, 0):
        first, second, cosine = near_pairs(x, exact_up_to=exact_up_to)
        assert set(zip(first.tolist(), second.tolist(), strict=True)) == every
        np.testing.assert_allclose(cosine, (x[first] * x[second]).sum(axis=1), atol=1e-5)


def test_nothing_to_compare() -> None:
    assert find_alike([]) == find_alike([None]) == find_alike([picture_from_array(cells(1)[0])])
