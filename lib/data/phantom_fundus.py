"""phantom-fundus: an embedded, synthetic data set in the manner of photographs of the retina.

Grades differ in their lesions (`phantom_eye`). Camera, light, pigment, optic disc, vessels, focus
and noise are drawn before the grade is looked at; what belongs to the patient or to the camera
is the same in both eyes of a patient.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lib.data.base import SPLITS, DataSet, Split
from lib.data.phantom import centres, class_counts
from lib.data.phantom_eye import (
    Lesions,
    Points,
    Reals,
    Rng,
    Spots,
    Vessels,
    between,
    draw_lesions,
    grow_vessels,
)
from lib.data.phantom_shapes import TAU, Floats

VERSION = 1  # raise it when a change alters the images
# The International Clinical Diabetic Retinopathy scale.
CLASSES = ("0 none", "1 mild", "2 moderate", "3 severe", "4 proliferative")
WEIGHTS = (0.50, 0.14, 0.20, 0.09, 0.07)
MIN_SIZE, MAX_SIZE = 28, 224
CANVAS = 84  # pixels at which an image is drawn, at least
# Red, green and blue: shares that the macula and spilt blood swallow, and what fat looks like.
MACULA, SPILT, FAT = (0.6, 1.0, 0.8), (0.50, 0.85, 0.75), (1.0, 0.92, 0.55)
CLOUDS = 8  # of the pigment, along each side
SHIFT = 4  # binary digits after the point in cv2's coordinates
PATIENT, EYE, LESIONS, ORDER = range(4)  # streams of random numbers
UNLIKE = 0.4  # how much the two eyes of a patient differ, in grades


@dataclass(frozen=True)
class Scene:
    """Everything about one photograph that does not depend on the grade; lengths in image widths.

    frame: centre x, y and radius of the lit disc, and the half height that the camera keeps.
    disc, radius: of the optic disc; cup: the share of the radius that is paler. drusen: pale spots
    that belong to no grade. retina, rim, lamp: red, green, blue; blood: the share of each that a
    vein swallows. light: slope along x and along y, darkness of the edge, veil.
    """

    frame: Reals
    fovea: complex
    turn: float
    left: bool
    disc: complex
    radius: float
    cup: float
    vessels: list[Vessels]
    drusen: Spots
    retina: Reals
    rim: Reals
    blood: Reals
    lamp: Reals
    clouds: Reals
    macula: float
    light: Reals
    focus: float
    noise: float

    @classmethod
    def draw(cls, patient: Rng, eye: Rng, left: bool) -> Scene:
        """Draw a scene; `patient` gives the same numbers for both eyes."""
        retina = np.asarray([0.92, 0.55, 0.30]) - patient.random() * np.asarray([0.30, 0.25, 0.16])
        retina *= patient.uniform(0.9, 1.1, 3)
        rim = between(patient, [0.92, 0.72, 0.42], [1.0, 0.88, 0.62])
        blood = between(patient, [0.25, 0.50, 0.40], [0.45, 0.75, 0.65])
        lamp = patient.uniform(0.75, 1.15) * between(patient, [0.9, 0.85, 0.7], [1.05, 1.1, 1.4])
        calibre, cup, reach, seen, away, radius = between(
            patient, [0.85, 0.35, 0.43, 0.36, 0.24, 0.055], [1.25, 0.65, 0.49, 0.60, 0.29, 0.072]
        ).tolist()
        x, y, fovea_x, fovea_y, disc_y, turn = between(
            eye, [0.48, 0.48, -0.13, -0.05, -0.04, -0.15], [0.52, 0.52, 0.03, 0.05, 0.01, 0.15]
        ).tolist()
        macula, focus, noise = between(eye, [0.2, 0.002, 0.004], [0.55, 0.008, 0.016]).tolist()
        light = between(eye, [-0.8, -0.8, 0.0, 0.0], [0.8, 0.8, 0.6, 0.1])
        n = int(eye.integers(0, 6))
        drusen = eye.normal(0, 0.09, (n, 2)) @ np.asarray([1, 1j])
        disc = complex(away, disc_y)
        return cls(
            frame=np.asarray([x, y, reach, seen]),
            fovea=complex(x - fovea_x if left else x + fovea_x, y + fovea_y),
            turn=turn,
            left=left,
            disc=disc,
            radius=radius,
            cup=cup,
            vessels=grow_vessels(eye, disc, calibre),
            drusen=Spots.around(drusen, eye.uniform(0.004, 0.010, n), np.full(n, 0.5)),
            retina=retina,
            rim=rim,
            blood=blood,
            lamp=lamp,
            clouds=eye.normal(0, 0.09, (CLOUDS, CLOUDS)),
            macula=macula,
            light=light,
            focus=focus,
            noise=noise,
        )

    def place(self, points: Points) -> Points:
        """Points of the eye's own frame, moved to where they lie in the image."""
        mirrored = -np.conj(points) if self.left else points
        return np.asarray(np.exp(1j * self.turn) * mirrored + self.fovea)


class Sheet:
    """A mask that shapes are drawn on, twice as fine as the canvas."""

    def __init__(self, scene: Scene, canvas: int) -> None:
        self.scene, self.canvas, self.side = scene, canvas, 2 * canvas
        self.pixels = np.zeros((self.side, self.side), np.uint8)

    def points(self, lines: Points) -> npt.NDArray[np.int32]:
        """Points [K, P] of the eye as cv2 takes them: [K, P, 2], 0 is the first pixel's centre."""
        placed = np.ascontiguousarray(self.scene.place(lines)).view(np.float64)
        scaled = np.rint((placed * self.side - 0.5) * (1 << SHIFT)).astype(np.int32)
        return np.asarray(scaled.reshape(*lines.shape, 2))

    def fill(self, spots: Spots) -> None:
        """Fill shapes, later ones over earlier ones."""
        import cv2

        values = np.rint(255 * spots.strength).tolist()
        for outline, value in zip(self.points(spots.outline), values, strict=True):
            cv2.fillPoly(self.pixels, [outline], value, cv2.LINE_8, SHIFT)

    def trace(self, lines: Points, width: float, strength: float) -> None:
        """Draw lines [K, P] of one width."""
        import cv2

        value, thick = round(255 * strength), max(1, round(width * self.side))
        cv2.polylines(self.pixels, [*self.points(lines)], False, value, thick, cv2.LINE_8, SHIFT)

    def cover(self) -> Floats:
        """How much of each pixel of the canvas is covered, float32 [S, S] in 0..1."""
        import cv2

        small = cv2.resize(self.pixels, (self.canvas, self.canvas), interpolation=cv2.INTER_AREA)
        return np.asarray(small / np.float32(255), np.float32)


def _photograph(scene: Scene, lesions: Lesions, canvas: int) -> Floats:
    """The image without noise, float32 [canvas, canvas, 3]."""
    import cv2

    vessels, disc, red, pale = (Sheet(scene, canvas) for _ in range(4))
    trunks, branches, twigs = scene.vessels
    vessels.trace(twigs.line, 0.004, 0.6)
    for level in (branches, trunks):
        vessels.fill(Spots(level.outlines(), np.where(level.vein, 1.0, 0.7)))
    rings = scene.radius * np.asarray([1.0, scene.cup])
    strength = np.asarray([0.8, 1.0])
    disc.fill(Spots.around(np.full(2, scene.disc), rings, strength, 1.06, TAU / 4, uneven=0.03))
    for sheet, spots in ((pale, [scene.drusen, lesions.fat]), (red, lesions.blood)):
        for kind in spots:
            sheet.fill(kind)
    red.trace(lesions.tufts, 0.005, 0.9)

    middle_x, middle_y, reach, seen = scene.frame.tolist()
    slope_x, slope_y, dark_rim, veil = scene.light.tolist()
    grid = centres(canvas)
    across, down = grid - middle_x, (grid - middle_y)[:, None]
    radius = np.sqrt(across**2 + down**2) / reach
    light = np.maximum(1 + slope_x * across + slope_y * down - dark_rim * radius**2, 0.1)
    light *= np.clip((1 - radius) * (reach * canvas), 0, 1)
    light *= np.clip((seen - np.abs(down)) * canvas, 0, 1)
    from_fovea = (grid - scene.fovea.real) ** 2 + (grid - scene.fovea.imag)[:, None] ** 2
    macula = scene.macula * np.exp(from_fovea / -(2 * 0.06**2))
    bumps = np.exp(-0.5 * ((grid[:, None] - centres(CLOUDS)) * CLOUDS) ** 2)
    texture = 1 + bumps @ scene.clouds.astype(np.float32) @ bumps.T
    head, blood, fat = disc.cover(), red.cover(), pale.cover()
    tree = vessels.cover() * (1 - np.exp(from_fovea / -(0.05**2))) * (1 - 0.4 * head)
    image = np.empty((canvas, canvas, 3), np.float32)
    for c in range(3):
        colour = texture * (1 - MACULA[c] * macula) * float(scene.retina[c])
        colour += head * (float(scene.rim[c]) - colour)
        colour *= 1 - float(scene.blood[c]) * tree
        colour += fat * (FAT[c] - colour)
        colour *= 1 - SPILT[c] * blood
        image[..., c] = (colour * (1 - veil) + 0.6 * veil) * light * float(scene.lamp[c])
    return np.asarray(cv2.GaussianBlur(image, (0, 0), scene.focus * canvas))


def draw_eyes(
    grades: npt.NDArray[np.int64], size: int, seed: int, stream: int = 0
) -> npt.NDArray[np.uint8]:
    """Draw one synthetic eye per grade, uint8 [N, size, size, 3] (RGB).

    Images 2p and 2p + 1 are the left and the right eye of patient p. Image i depends on (seed,
    stream, i, grades[i]) alone; at another size it is the same scene, photographed with other
    pixels and other sensor noise, and at another grade it is the same scene with other lesions.
    Measured on one busy core: about 400 images/s at 28 pixels, 350 at 64, 140 at 224.
    Raises ValueError for a size outside 28 to 224 or a grade that is none.
    """
    import cv2

    if not MIN_SIZE <= size <= MAX_SIZE:
        raise ValueError(f"phantom-fundus: size {size} is outside {MIN_SIZE} to {MAX_SIZE} pixels")
    if len(grades) and not 0 <= int(grades.min()) <= int(grades.max()) < len(CLASSES):
        raise ValueError(f"phantom-fundus: grades must lie in 0 to {len(CLASSES) - 1}")
    images = np.empty((len(grades), size, size, 3), np.uint8)
    for i, grade in enumerate(grades.tolist()):
        patient, eye, lesion = (
            _generator(seed, stream, use, index)
            for use, index in ((PATIENT, i // 2), (EYE, i), (LESIONS, i))
        )
        scene = Scene.draw(patient, eye, left=i % 2 == 0)
        trunks = scene.vessels[0]
        veins = trunks.line[trunks.vein]
        lesions = draw_lesions(lesion, grade, scene.disc, scene.radius, veins)
        image = _photograph(scene, lesions, max(CANVAS, size))
        image = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
        image += np.float32(scene.noise) * eye.standard_normal(image.shape, np.float32)
        images[i] = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    return images


def _generator(seed: int, stream: int, use: int, index: int) -> Rng:
    """The random numbers of one patient, one eye, one eye's lesions or one split."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(stream, use, index)))


def choose_grades(n: int, rng: Rng) -> npt.NDArray[np.int64]:
    """Grades of n eyes, two of a patient in a row; shares are those of `WEIGHTS`.

    Eyes are ranked by grade and chance, and neighbours in rank are one patient's: most patients
    have two eyes of one grade, and the grades of the others rarely differ by more than one.
    Raises ValueError when n is smaller than the number of grades.
    """
    grades = np.repeat(np.arange(len(CLASSES), dtype=np.int64), class_counts(n, WEIGHTS))
    ranked = grades[np.argsort(grades + rng.normal(0, UNLIKE, n))]
    alone = rng.integers(n, size=n % 2)  # the last patient of an odd number has one eye
    patients = rng.permutation(np.delete(ranked, alone).reshape(-1, 2))
    return np.concatenate([rng.permuted(patients, axis=1).ravel(), ranked[alone]])


def fingerprint(size: int, counts: tuple[int, int, int], seed: int) -> str:
    """What `load_phantom_fundus` puts into `DataSet.fingerprint`, without drawing anything."""
    made_from = f"phantom-fundus {VERSION} size {size} counts {tuple(counts)} seed {seed}"
    return hashlib.sha256(made_from.encode()).hexdigest()


def load_phantom_fundus(
    size: int = 28, counts: tuple[int, int, int] = (1000, 200, 400), seed: int = 0
) -> DataSet:
    """The phantom-fundus data set: `counts` images for train, val and test; groups are patients.

    Shares of the grades are those of `WEIGHTS` in every split, exact up to rounding, and no
    patient is in two splits. Each split has its own random numbers.
    Raises ValueError for a size outside 28 to 224 or a split with fewer images than grades.
    """
    splits = {}
    for stream, (name, n) in enumerate(zip(SPLITS, counts, strict=True)):
        grades = choose_grades(n, _generator(seed, stream, ORDER, 0))
        patients = np.asarray([f"phantom-fundus-{name}-{i // 2:05d}" for i in range(n)])
        sides = np.asarray(["_left", "_right"])[np.arange(n) % 2]
        ids = np.strings.add(patients, sides)
        splits[name] = Split(draw_eyes(grades, size, seed, stream), grades, ids, patients)
    return DataSet(
        name="phantom-fundus",
        title="phantom-fundus (synthetic)",
        task="ordinal",
        classes=CLASSES,
        size=size,
        channels=3,
        splits=splits,
        fingerprint=fingerprint(size, counts, seed),
        synthetic=True,
        source=f"drawn by lib/data/phantom_fundus.py, version {VERSION}, seed {seed}",
        licence="MIT, like the code that draws it",
        notes=(
            "Synthetic: every image is drawn by a program and none shows a real eye; "
            "results on it say nothing about medical performance.",
            "Groups are patients, with two eyes each.",
        ),
    )
