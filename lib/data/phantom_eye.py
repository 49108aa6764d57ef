"""What the phantom-fundus draws: the vessels of one synthetic eye, and the lesions of a grade.

Points are complex numbers x + iy in image widths, in the frame of a right eye: the fovea is at 0,
x grows towards the nose, where the optic disc is, and y grows downwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lib.data.phantom_shapes import TAU

Points = npt.NDArray[np.complex128]
Reals = npt.NDArray[np.float64]
Rng = np.random.Generator
Table = tuple[tuple[int, int], ...]

# How many of each lesion an eye of grade 0 to 4 has, from and to: neighbouring grades overlap.
MICROANEURYSMS = ((0, 0), (2, 10), (5, 16), (8, 24), (8, 24))
HAEMORRHAGES = ((0, 0), (0, 0), (0, 9), (8, 26), (6, 26))
EXUDATES = ((0, 0), (0, 0), (0, 14), (2, 20), (2, 20))
BEADED_VEINS = ((0, 0), (0, 0), (0, 0), (0, 2), (0, 2))
TUFTS = ((0, 0), (0, 0), (0, 0), (0, 0), (1, 3))  # of new vessels on and around the disc
POOLS = ((0, 0), (0, 0), (0, 0), (0, 0), (0, 1))  # of blood before the retina
STROKES, BEND = 14, 9  # lines of a tuft, points of each

# Points of a centre line, children of a parent, length in image widths: of arcades' branches and
# of their twigs.
LEVELS = ((10, 5, (0.10, 0.26)), (7, 2, (0.05, 0.13)))
TRUNK = 16  # points of an arcade's centre line
TAPER = {n: np.linspace(1, 0.38, n) for n in (TRUNK, 10, 7)}
WAY = np.linspace(0, TAU, 12, endpoint=False)  # around a spot
HALF = np.linspace(0, TAU / 2, 16)


def between(rng: Rng, low: Sequence[float], high: Sequence[float]) -> Reals:
    """A number between each of `low` and `high`, float64 [K]."""
    start = np.asarray(low)
    return np.asarray(start + (np.asarray(high) - start) * rng.random(len(low)))


@dataclass(frozen=True)
class Vessels:
    """V vessels: centre lines [V, P], their direction and half width there, which are veins [V]."""

    line: Points
    heading: Reals
    half: Reals
    vein: npt.NDArray[np.bool_]

    def outlines(self) -> Points:
        """A closed outline for each vessel, [V, 2P]."""
        across = 1j * self.half * np.exp(1j * self.heading)
        return np.concatenate([self.line + across, (self.line - across)[:, ::-1]], axis=1)


def grow_vessels(rng: Rng, disc: complex, calibre: float) -> list[Vessels]:
    """Four arcades from the disc, an artery and a vein each; their branches; the branches' twigs.

    The arcades on the temple's side run around the fovea, the others away from it.
    """
    below = np.tile([-1.0, -1.0, 1.0, 1.0], 2)
    vein = np.tile([False, True], 4)
    temporal = np.arange(8) < 4
    start = disc + rng.uniform(-0.012, 0.012, 8) + 1j * rng.uniform(-0.012, 0.012, 8)
    rise = np.where(temporal, rng.uniform(0.85, 1.35, 8), rng.uniform(1.9, 2.75, 8))
    bend = np.where(temporal, rise + rng.uniform(0.0, 0.45, 8), rng.uniform(-0.3, 0.5, 8))
    length = np.where(temporal, rng.uniform(0.6, 0.78, 8), rng.uniform(0.3, 0.45, 8))
    line, heading = _wind(rng, start, TAU / 2 - below * rise, below * bend, length, TRUNK)
    half = calibre * np.where(vein, 0.0070, 0.0052)[:, None] * TAPER[TRUNK]
    levels = [Vessels(line, heading, half, vein)]
    for points, children, (short, long) in LEVELS:
        parent = levels[-1]
        count, n = parent.line.shape[0] * children, parent.line.shape[1]
        own = np.arange(count) // children
        share = (np.arange(count) % children + rng.random(count)) / children
        at = (1 + share * (n - 2)).astype(np.int64)  # its point of the parent's line
        turn = np.where((np.arange(count) + rng.integers(2)) % 2, 1.0, -1.0)
        rise = parent.heading[own, at] + turn * rng.uniform(0.35, 0.85, count)
        bend = -turn * rng.uniform(0.2, 1.1, count)  # back to where the parent goes
        length = rng.uniform(short, long, count)
        line, heading = _wind(rng, parent.line[own, at], rise, bend, length, points)
        half = 0.65 * parent.half[own, at, None] * TAPER[points]
        levels.append(Vessels(line, heading, half, parent.vein[own]))
    return levels


def _wind(
    rng: Rng, start: Points, heading: Reals, bend: Reals, length: Reals, n: int
) -> tuple[Points, Reals]:
    """Winding lines of n points, [V, n], and their direction there."""
    t = np.arange(n) / (n - 1)
    depth, waves, phase = rng.random((3, len(start), 1))
    winding = (0.03 + 0.19 * depth) * np.sin(TAU * ((1 + 1.5 * waves) * t + phase))
    angle = heading[:, None] + bend[:, None] * t + winding
    steps = (length / (n - 1))[:, None] * np.exp(1j * angle)
    steps[:, 0] = start
    return np.cumsum(steps, axis=1), angle


@dataclass(frozen=True)
class Spots:
    """K filled shapes: outlines [K, P], and how dense each is, from 0 to 1, [K]."""

    outline: Points
    strength: Reals

    @classmethod
    def around(
        cls,
        at: Points,
        radius: Reals,
        strength: Reals,
        ratio: Reals | float = 1.0,
        angle: Reals | float = 0.0,
        uneven: float = 0.15,
    ) -> Spots:
        """Ellipses around points [K], longer by `ratio` along `angle`, with an uneven edge."""
        along, across = radius * ratio, radius / ratio
        # The radius serves as the phase: no two edges are alike.
        edge = 1 + uneven * np.sin(3 * WAY + 997 * radius[:, None])
        shape = edge * (along[:, None] * np.cos(WAY) + 1j * across[:, None] * np.sin(WAY))
        turn = np.exp(1j * np.broadcast_to(angle, len(at)))[:, None]
        return cls(at[:, None] + turn * shape, strength)

    def first(self, n: int) -> Spots:
        """The first n of them."""
        return Spots(self.outline[:n], self.strength[:n])


@dataclass(frozen=True)
class Lesions:
    """The lesions of one eye: spots of blood and of fat, and fine new vessels as lines [T, P]."""

    blood: list[Spots]
    fat: Spots
    tufts: Points


def draw_lesions(rng: Rng, grade: int, disc: complex, radius: float, veins: Points) -> Lesions:
    """The lesions of an eye of this grade.

    All that any grade may have is drawn first, and the grade then says how much of it is shown: a
    higher grade mostly adds to the lesions of a lower one. disc, radius: of the optic disc; veins:
    the centre lines of the arcades' veins [V, P].
    """

    def shown(table: Table, u: float) -> int:
        low, high = table[grade]
        return low + int(u * (high - low + 1))

    chance = rng.random(6).tolist()
    n = MICROANEURYSMS[-1][1]
    at = _scatter(rng, n, 0.34, disc, radius)
    dots = Spots.around(at, rng.uniform(0.007, 0.012, n), rng.uniform(0.6, 1, n))
    n = HAEMORRHAGES[-1][1]
    at = _scatter(rng, n, 0.42, disc, radius)
    size, dense = 0.010 + 0.018 * rng.random(n) ** 2, rng.uniform(0.5, 1, n)
    flame = np.where(rng.random(n) < 0.35, 1.65, 1.1)  # some follow the nerve fibres
    blots = Spots.around(at, size, dense, flame, np.angle(at - disc) + rng.normal(0, 0.3, n))
    n = EXUDATES[-1][1]
    heaps = rng.uniform(0.05, 0.2, 3) * np.exp(1j * rng.uniform(0, TAU, 3))
    at = heaps[rng.integers(3, size=n)] + rng.normal(0, 0.03, (n, 2)) @ np.asarray([1, 1j])
    fat = Spots.around(at, rng.uniform(0.005, 0.012, n), rng.uniform(0.6, 1, n))
    at = np.roll(veins, int(rng.integers(len(veins))), axis=0)[: BEADED_VEINS[-1][1], 2:12:2]
    n = at.size
    beads = Spots.around(at.ravel(), rng.uniform(0.010, 0.014, n), rng.uniform(0.6, 1, n))
    n = TUFTS[-1][1]
    way = rng.uniform(0, TAU, n)
    root = disc + radius * rng.uniform(0.8, 1.6, n) * np.exp(1j * way)
    course = way[:, None, None] + rng.normal(0, 1.0, (n, STROKES, 1))
    course = course + np.cumsum(rng.normal(0, 0.8, (n, STROKES, BEND)), axis=2)
    tufts = root[:, None, None] + np.cumsum(0.013 * np.exp(1j * course), axis=2)
    wide, deep, x, y = between(rng, [0.06, 0.06, -0.15, 0.1], [0.12, 0.12, 0.15, 0.2])
    sunk = wide * np.cos(HALF) + 1j * deep * np.sin(HALF)  # flat above: blood sinks
    pool = Spots((sunk + x + 1j * y * (-1) ** int(rng.integers(2)))[None], np.ones(1))
    return Lesions(
        blood=[
            dots.first(shown(MICROANEURYSMS, chance[0])),
            blots.first(shown(HAEMORRHAGES, chance[1])),
            beads.first(shown(BEADED_VEINS, chance[3]) * at.shape[1]),
            pool.first(shown(POOLS, chance[5])),
        ],
        fat=fat.first(shown(EXUDATES, chance[2])),
        tufts=tufts[: shown(TUFTS, chance[4])].reshape(-1, BEND),
    )


def _scatter(rng: Rng, n: int, reach: float, disc: complex, radius: float) -> Points:
    """n points around the fovea, one in each quadrant by turns, none of them on the disc."""
    way = TAU / 4 * (np.arange(n) + rng.integers(4) + rng.random(n))
    away = reach * np.sqrt(rng.uniform(0.02, 1, n)) * np.exp(1j * way) - disc
    return np.asarray(disc + away * np.maximum(1, 1.35 * radius / np.abs(away)))
