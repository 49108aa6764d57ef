"""What tells the classes of the phantom apart: the outlines and texture of one synthetic cell.

Every outline is a set of round blobs, float32 [N, K, 3] of (x, y, radius) in units of the cell's
radius around its centre; radius 0 means "no blob here". Nothing in this module knows a colour.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Range = tuple[float, float]

TAU = 2 * np.pi
DRAWS = 360  # uniform numbers one cell may use; `Draw.take` raises when a shape asks for more
MOTTLES = 48  # blobs of the cloudy pattern of chromatin and cytoplasm


class Draw:
    """Hands out columns of a matrix of uniform numbers [N, P], one row a cell.

    Row i feeds cell i only, so a cell does not depend on its neighbours in the batch.
    """

    def __init__(self, uniform: Floats) -> None:
        self.uniform = uniform
        self.used = 0

    def take(self, k: int, low: float = 0.0, high: float = 1.0) -> Floats:
        """The next k numbers of each cell, float32 [N, k] in [low, high)."""
        columns = self.uniform[:, self.used : self.used + k]
        if columns.shape[1] < k:
            raise IndexError(f"a cell asked for more than {self.uniform.shape[1]} random numbers")
        self.used += k
        return (low + (high - low) * columns).astype(np.float32)


@dataclass(frozen=True)
class Cell:
    """Blobs of N cells of one class, and their texture.

    body: cytoplasm; nucleus; granules: dark grains; vacuoles: clear bubbles; mottle: blobs of
    a cloudy pattern, half dark and half light; clumping, grain: how strong that pattern is
    in the nucleus and in the cytoplasm, float32 [N, 1].
    """

    body: Floats
    nucleus: Floats
    granules: Floats
    vacuoles: Floats
    mottle: Floats
    clumping: Floats
    grain: Floats


def blobs(x: Floats, y: Floats, radius: Floats | float) -> Floats:
    """Blob set [N, K, 3] from coordinates and radii that broadcast to [N, K]."""
    return np.stack(np.broadcast_arrays(x, y, radius), axis=-1).astype(np.float32)


def scatter(draw: Draw, k: int, inner: float, outer: float, radius: Range) -> Floats:
    """k blobs spread evenly over a ring between two radii.

    Angles and distances follow the golden-angle spiral with jitter: independent positions would
    pile up and leave holes that look like another shape.
    """
    golden = (np.arange(k) * 2.399963).astype(np.float32)
    angle = golden + draw.take(1, 0, TAU) + draw.take(k, -0.35, 0.35)
    area = np.arange(k, dtype=np.float32) / k + draw.take(k, 0, 1 / k)
    distance = np.sqrt(inner**2 + area * (outer**2 - inner**2))
    return blobs(distance * np.cos(angle), distance * np.sin(angle), draw.take(k, *radius))


def keep(set_: Floats, count: Floats) -> Floats:
    """The first `count` [N, 1] blobs of each set; the others get radius 0."""
    kept = set_.copy()
    kept[..., 2] *= np.arange(set_.shape[1]) < count
    return kept


def arc(draw: Draw, k: int, span: Floats, circle: Floats, radius: Floats) -> Floats:
    """k blobs evenly along an arc of `span` radians of a circle, centred on angle 0."""
    angle = span * (np.arange(k, dtype=np.float32) / (k - 1) - 0.5)
    radii = radius * draw.take(k, 0.93, 1.07)
    return blobs(circle * np.cos(angle), circle * np.sin(angle), radii)


def round_body(draw: Draw, radius: float = 1.0) -> Floats:
    """A disc with five bulges: no cell is a perfect circle."""
    angle = np.arange(5, dtype=np.float32) * (TAU / 5) + draw.take(5, -0.5, 0.5)
    reach = draw.take(5, 0.25, 0.5) * radius
    bulges = blobs(reach * np.cos(angle), reach * np.sin(angle), 0.6 * radius)
    disc = blobs(draw.take(1, -0.03, 0.03), draw.take(1, -0.03, 0.03), 0.93 * radius)
    return np.concatenate([disc, bulges], axis=1)


def none(draw: Draw) -> Floats:
    """No blobs."""
    return np.zeros((len(draw.uniform), 1, 3), np.float32)


def mottle(draw: Draw, radius: float) -> Floats:
    """Blobs of the cloudy pattern: the first half dark, the second light."""
    radii = (radius * 0.8, radius * 1.2)
    halves = [scatter(draw, MOTTLES // 2, 0.0, 1.05, radii) for _ in range(2)]
    return np.concatenate(halves, axis=1)


def cell(
    draw: Draw,
    nucleus: Floats,
    granules: Floats | None = None,
    vacuoles: Floats | None = None,
    body: Floats | float = 1.0,
    clumping: Range = (0.1, 0.3),
    grain: Range = (0.0, 0.08),
    coarseness: float = 0.12,
) -> Cell:
    """Put a cell together; `body` is an outline or the radius of a round one."""
    strength = draw.take(1, *clumping), draw.take(1, *grain)
    return Cell(
        body=round_body(draw, body) if isinstance(body, float) else body,
        nucleus=nucleus,
        granules=none(draw) if granules is None else granules,
        vacuoles=none(draw) if vacuoles is None else vacuoles,
        mottle=mottle(draw, coarseness),
        clumping=strength[0],
        grain=strength[1],
    )


def segmented(draw: Draw) -> Cell:
    """Three to five lobes in a chain with thin necks between them."""
    lobes = 3 + np.floor(draw.take(1, 0, 3))
    radius = np.asarray(0.40 - 0.035 * lobes, np.float32)
    circle = draw.take(1, 0.46, 0.54)
    step = 2 * np.arcsin(np.minimum(draw.take(1, 1.02, 1.1) * radius / circle, 0.99))
    angle = step * (np.arange(5, dtype=np.float32) - (lobes - 1) / 2)
    reach = circle * draw.take(5, 0.92, 1.08)
    chain = blobs(reach * np.cos(angle), reach * np.sin(angle), radius * draw.take(5, 0.9, 1.1))
    return cell(draw, keep(chain, lobes))


def bilobed(draw: Draw) -> Cell:
    """Two large lobes, coarse granules all over the cytoplasm."""
    radius = draw.take(1, 0.33, 0.39)
    half = radius * draw.take(1, 0.98, 1.06)
    x = np.concatenate([-half, half], axis=1)
    nucleus = blobs(x, draw.take(1, -0.25, 0.25), radius * draw.take(2, 0.92, 1.08))
    granules = keep(scatter(draw, 40, 0.2, 0.92, (0.07, 0.10)), draw.take(1, 28, 41))
    return cell(draw, nucleus, granules, clumping=(0.0, 0.2))


def large_round(draw: Draw) -> Cell:
    """One round nucleus with coarse chromatin that leaves a thin rim of cytoplasm."""
    return cell(draw, round_body(draw, 0.76), clumping=(0.45, 0.75), coarseness=0.15)


def horseshoe(draw: Draw) -> Cell:
    """A thick bent nucleus in a larger cell with large vacuoles."""
    span, circle = draw.take(1, 2.9, 3.9), draw.take(1, 0.46, 0.54)
    nucleus = arc(draw, 7, span, circle, draw.take(1, 0.27, 0.32))
    nucleus[..., 0] -= 0.12
    vacuoles = keep(scatter(draw, 10, 0.3, 0.95, (0.13, 0.2)), draw.take(1, 7, 11))
    return cell(draw, nucleus, vacuoles=vacuoles, body=1.12)


def granular(draw: Draw) -> Cell:
    """Large dark granules over the whole cell that hide a faint nucleus."""
    nucleus = round_body(draw, 0.45)
    granules = keep(scatter(draw, 30, 0.0, 0.92, (0.13, 0.18)), draw.take(1, 22, 31))
    return cell(draw, nucleus, granules, clumping=(0.0, 0.2))


def eccentric(draw: Draw) -> Cell:
    """A small smooth round nucleus at the edge of a wide cloudy cytoplasm."""
    radius = draw.take(1, 0.40, 0.48)
    nucleus = blobs(draw.take(1, 0.40, 0.52), np.zeros_like(radius), radius)
    return cell(draw, nucleus, clumping=(0.0, 0.08), grain=(0.45, 0.7))


def clump(draw: Draw) -> Cell:
    """A heap of small platelets with dark centres, no nucleus."""
    body = keep(scatter(draw, 12, 0.0, 0.95, (0.22, 0.32)), draw.take(1, 8, 13))
    granules = body * np.asarray([1, 1, 0.55], np.float32)
    return cell(draw, none(draw), granules, body=body, clumping=(0.0, 0.2))


def ring(draw: Draw) -> Cell:
    """A closed ring-shaped nucleus with coarse chromatin."""
    whole = np.full((len(draw.uniform), 1), TAU * 23 / 24, np.float32)
    nucleus = arc(draw, 24, whole, draw.take(1, 0.52, 0.6), draw.take(1, 0.18, 0.22))
    return cell(draw, nucleus, clumping=(0.5, 0.8))


# Name, share of the data set, how to draw it. The shares are as uneven as blood is.
SHAPES: tuple[tuple[str, float, Callable[[Draw], Cell]], ...] = (
    ("segmented", 0.25, segmented),
    ("bilobed", 0.17, bilobed),
    ("large round", 0.14, large_round),
    ("horseshoe", 0.13, horseshoe),
    ("granular", 0.06, granular),
    ("eccentric", 0.11, eccentric),
    ("clump", 0.10, clump),
    ("ring", 0.04, ring),
)
