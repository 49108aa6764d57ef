"""phantom: an embedded, synthetic data set in the manner of blood cells under a microscope.

The classes differ in the shape and texture of the cell (`phantom_shapes`). Stain, light, position,
rotation, scale, neighbouring red cells, focus and noise are drawn before the class is looked at.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lib.data.base import SPLITS, DataSet, Split
from lib.data.phantom_shapes import DRAWS, MOTTLES, SHAPES, TAU, Cell, Draw, Floats

VERSION = 1  # raise it when a change alters the images
CLASSES: tuple[str, ...] = tuple(name for name, _, _ in SHAPES)
WEIGHTS: tuple[float, ...] = tuple(share for _, share, _ in SHAPES)
MIN_SIZE, MAX_SIZE = 28, 224
NEIGHBOURS = 7
SOFTNESS = 0.35  # width of a blob's falloff over its radius: smaller gives thinner necks


class Scene:
    """Everything about N images that does not depend on the class; lengths in image widths."""

    def __init__(self, draw: Draw) -> None:
        def colour(low: tuple[float, float, float], high: tuple[float, float, float]) -> Floats:
            return np.asarray(low, np.float32) + draw.take(3) * np.subtract(
                high, low, dtype=np.float32
            )

        self.centre = draw.take(2, 0.36, 0.64)
        self.radius = draw.take(1, 0.28, 0.42)
        self.turn = draw.take(1, 0, TAU)
        self.mirror = np.where(draw.take(1) < 0.5, -1, 1).astype(np.float32)
        self.stretch = draw.take(1, 0.93, 1.07)
        # Light: colour of the empty slide, its slope across the image, the darker corners.
        self.slide = draw.take(1, 0.70, 1.0) * colour((0.90, 0.87, 0.89), (1.0, 1.0, 1.0))
        self.slope = draw.take(2, -0.25, 0.25)
        self.corners = draw.take(1, 0.0, 0.5)
        # Stain: optical density of red, green and blue for each part of the cell.
        self.nucleus = draw.take(1, 0.7, 1.8) * colour((0.55, 0.9, 0.25), (1.0, 1.2, 0.6))
        self.body = draw.take(1, 0.15, 0.5) * colour((0.25, 0.6, 0.1), (0.9, 1.0, 0.5))
        self.granules = draw.take(1, 0.8, 1.8) * colour((0.40, 0.8, 0.2), (1.1, 1.2, 0.7))
        self.red_cells = draw.take(1, 0.1, 0.5) * colour((0.05, 0.6, 0.4), (0.4, 1.0, 0.9))
        self.focus = draw.take(1, 0.004, 0.014)
        self.noise = draw.take(1, 0.004, 0.016)
        # Red cells lie around the cell: one in each sector, or none.
        sector = (np.arange(NEIGHBOURS, dtype=np.float32) + draw.take(NEIGHBOURS)) / NEIGHBOURS
        reach = draw.take(NEIGHBOURS, 0.50, 0.80)
        x = self.centre[:, :1] + reach * np.cos(TAU * sector)
        y = self.centre[:, 1:] + reach * np.sin(TAU * sector)
        size = draw.take(1, 0.14, 0.2) * (draw.take(NEIGHBOURS) < draw.take(1, 0.1, 0.9))
        self.neighbours = np.stack([x, y, size], axis=-1).astype(np.float32)

    def place(self, blobs: Floats) -> Floats:
        """Blobs of the cell's own frame, moved to where the cell lies in the image."""
        x, y = blobs[..., 0] * self.stretch, blobs[..., 1] * self.mirror / self.stretch
        cos, sin = np.cos(self.turn), np.sin(self.turn)
        moved = np.stack([cos * x - sin * y, sin * x + cos * y, blobs[..., 2]], axis=-1)
        moved *= self.radius[..., None]
        moved[..., :2] += self.centre[:, None, :]
        return moved.astype(np.float32)


def centres(n: int) -> Floats:
    """Centres of n pixels across the image's width, float32 [n] in 0..1."""
    return np.asarray((np.arange(n) + 0.5) / n, np.float32)


def _field(blobs: Floats, grid: Floats, softness: float) -> Floats:
    """Sum over blobs of exp((1 - r²/R²) / 2c²), [N, S, S]; it is 1 on the edge of a lone blob.

    A Gaussian is a product of one in x and one in y, so the sum is one matrix product an image.
    """
    x, y, radius = (blobs[..., i, None] for i in range(3))
    sigma = np.maximum(softness * radius, 1e-6)
    along_x = np.exp(-0.5 * ((grid - x) / sigma) ** 2)
    along_y = np.exp(-0.5 * ((grid - y) / sigma) ** 2) * (radius > 0)
    total = along_y.transpose(0, 2, 1) @ along_x
    return np.asarray(total * np.float32(np.exp(0.5 / softness**2)))


def cover(blobs: Floats, grid: Floats, softness: float = SOFTNESS) -> Floats:
    """How much of each sample the blobs cover, [N, S, S] in 0..1, with edges one sample wide."""
    present = blobs[..., 2] > 0
    if not present.any():
        return np.zeros((len(blobs), len(grid), len(grid)), np.float32)
    radius = blobs[..., 2].sum(1) / np.maximum(present.sum(1), 1)
    distance = np.log(_field(blobs, grid, softness) + 1e-30)
    distance *= (softness**2 * radius * len(grid))[:, None, None]  # in samples, exact on the edge
    distance += np.where(radius > 0, 0.5, 0).astype(np.float32)[:, None, None]
    return np.asarray(np.clip(distance, 0, 1))


def _optics(focus: Floats, grid: Floats, size: int) -> Floats:
    """Focus blur and the pixels' own area as one matrix [N, size, S]; its rows sum to 1."""
    sigma = np.sqrt(focus**2 + (0.3 / size) ** 2)[..., None]
    rows = np.exp(-0.5 * ((centres(size)[:, None] - grid) / sigma) ** 2)
    return np.asarray(rows / rows.sum(-1, keepdims=True))


def _render(scene: Scene, cell: Cell, size: int) -> Floats:
    """Images without noise, float32 [N, size, size, 3]."""
    samples = size * (2 if size < 112 else 1)  # small pixels are large against a granule
    grid = centres(samples)
    body, nucleus = (cover(scene.place(b), grid) for b in (cell.body, cell.nucleus))
    granules = cover(scene.place(cell.granules), grid, 0.5) * body
    vacuoles = cover(scene.place(cell.vacuoles), grid)
    red = cover(scene.neighbours, grid) * (1 - body)
    pallor = scene.neighbours * np.asarray([1, 1, 0.5], np.float32)
    red *= 1 - 0.7 * np.minimum(_field(pallor, grid, 1.0) / np.float32(np.exp(0.5)), 1)
    spots, half = scene.place(cell.mottle), MOTTLES // 2
    pattern = _field(spots[:, :half], grid, 1.0) - _field(spots[:, half:], grid, 1.0)
    nucleus *= 1 + cell.clumping[..., None] * np.clip(pattern, -1.2, 1.2)
    nucleus *= 1 - 0.6 * vacuoles
    body *= 1 + cell.grain[..., None] * np.clip(pattern, -1.2, 1.2)
    body *= (1 - 0.9 * vacuoles) * (1 - 0.5 * np.minimum(nucleus, 1))
    x, y = grid - 0.5, (grid - 0.5)[:, None]
    light = 1 + scene.slope[:, :1, None] * x + scene.slope[:, 1:, None] * y
    light -= scene.corners[..., None] * (x**2 + y**2)
    optics = _optics(scene.focus, grid, size)
    image = np.empty((len(body), size, size, 3), np.float32)
    for c in range(3):  # Beer-Lambert: densities add, light is multiplied
        density = body * scene.body[:, c, None, None]
        density += nucleus * scene.nucleus[:, c, None, None]
        density += granules * scene.granules[:, c, None, None]
        density += red * scene.red_cells[:, c, None, None]
        colour = light * np.exp(-density) * scene.slide[:, c, None, None]
        image[..., c] = optics @ colour @ optics.transpose(0, 2, 1)
    return image


def draw_cells(
    labels: npt.NDArray[np.int64], size: int, seed: int, stream: int = 0, chunk: int = 64
) -> npt.NDArray[np.uint8]:
    """Draw one synthetic cell per label, uint8 [N, size, size, 3] (RGB).

    Image i depends on (seed, stream, i, labels[i]) alone, not on `chunk`; at another size it is
    the same scene, photographed with other pixels and other sensor noise. Measured on
    one busy core: about 1,000 images/s at 28 pixels, 200 at 64, 33 at 224.
    Raises ValueError for a size outside 28 to 224 or a label that is no class.
    """
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise ValueError(f"phantom: size {size} is outside {MIN_SIZE} to {MAX_SIZE} pixels")
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(CLASSES):
        raise ValueError(f"phantom: labels must lie in 0 to {len(CLASSES) - 1}")
    images = np.empty((len(labels), size, size, 3), np.uint8)
    order = np.argsort(labels, kind="stable")  # one class at a time: its cells have equal shapes
    for k, (_, _, shape) in enumerate(SHAPES):
        members = order[labels[order] == k]
        for start in range(0, len(members), chunk):
            rows = members[start : start + chunk]
            rngs = [_generator(seed, stream, int(i)) for i in rows]
            draw = Draw(np.stack([rng.random(DRAWS, np.float32) for rng in rngs]))
            scene = Scene(draw)
            image = _render(scene, shape(draw), size)
            for j, rng in enumerate(rngs):
                noise = rng.standard_normal((size, size, 3), np.float32)
                image[j] += scene.noise[j] * noise
            images[rows] = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    return images


def _generator(seed: int, stream: int, index: int) -> np.random.Generator:
    """The random numbers of one image."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(stream, index)))


def class_counts(n: int, weights: Sequence[float] = WEIGHTS) -> npt.NDArray[np.int64]:
    """How many of n images each class gets, int64 [K]: largest remainder, at least one of each.

    Raises ValueError when n is smaller than the number of classes.
    """
    if n < len(weights):
        raise ValueError(f"phantom: a split of {n} images cannot hold {len(weights)} classes")
    exact = n * np.asarray(weights) / sum(weights)
    counts = np.floor(exact).astype(np.int64)
    largest = np.argsort(counts - exact, kind="stable")[: n - int(counts.sum())]
    counts[largest] += 1
    for k in np.flatnonzero(counts == 0):
        counts[counts.argmax()] -= 1
        counts[k] = 1
    return counts


def fingerprint(size: int, counts: tuple[int, int, int], seed: int) -> str:
    """What `load_phantom` puts into `DataSet.fingerprint`, without drawing anything."""
    made_from = f"phantom {VERSION} size {size} counts {tuple(counts)} seed {seed}"
    return hashlib.sha256(made_from.encode()).hexdigest()


def load_phantom(
    size: int = 28, counts: tuple[int, int, int] = (2000, 400, 800), seed: int = 0
) -> DataSet:
    """The phantom data set: `counts` images for train, val and test, shuffled.

    Class shares are those of `WEIGHTS` in every split, exact up to rounding. Each split has its
    own stream of random numbers, so resizing one leaves the images of the others as they are.
    Raises ValueError for a size outside 28 to 224 or a split with fewer images than classes.
    """
    splits = {}
    for stream, (name, n) in enumerate(zip(SPLITS, counts, strict=True)):
        labels = np.repeat(np.arange(len(CLASSES), dtype=np.int64), class_counts(n))
        # The key is one longer than an image's, so this stream is never one of theirs.
        order = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(stream, 0, 0)))
        labels = order.permutation(labels)
        images = draw_cells(labels, size, seed, stream)
        ids = np.asarray([f"phantom-{name}-{i:05d}" for i in range(n)])
        splits[name] = Split(images, labels, ids)
    return DataSet(
        name="phantom",
        title="phantom (synthetic)",
        task="multi-class",
        classes=CLASSES,
        size=size,
        channels=3,
        splits=splits,
        fingerprint=fingerprint(size, counts, seed),
        synthetic=True,
        source=f"drawn by lib/data/phantom.py, version {VERSION}, seed {seed}",
        licence="MIT, like the code that draws it",
        notes=(
            "Synthetic: every image is drawn by a program and none shows a real cell; "
            "results on it say nothing about medical performance.",
        ),
    )
