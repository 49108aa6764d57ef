"""Fundus photographs: crop to the disc, subtract the local average, normalise.

A fundus camera sees the retina through the pupil: a bright disc on black, often cut off above and
below, with text in a corner. Cameras differ in frame, lamp and colour far more than eyes differ in
disease, and these steps take that away, after Graham (2015, "Kaggle Diabetic Retinopathy Detection
competition report", the winner's preprocessing).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lib.data.decode import resample
from lib.data.disc import Image, check_image, crop_disc, find_disc, visible_part

FUNDUS_VERSION = 1  # raise it when a change alters the images: caches are rebuilt
GAIN = 4.0  # Graham's: how much the difference from the local average is amplified
BLUR = 1 / 30  # Graham's: width σ of the local average, in radii
KEPT = 0.9  # Graham's: share of the radius that is shown; the rim is blurred and lit askew
GREY = 128  # what lies outside, and the mean inside
SPREAD = 32.0  # standard deviation after normalising, in grey levels
MAX_GAIN = 3.0  # of normalising: a blurred photograph is not blown up to noise


def preprocess_fundus(image: Image, size: int) -> tuple[Image, bool]:
    """A photograph uint8 [H, W, C] to [size, size, C], and whether a disc was found in it.

    Resizing comes before the local average, which at full resolution would take seconds; σ is
    relative to the disc, so the result is much the same. Without a disc, the middle square is
    used to its corners. Raises ValueError for an image that is black.
    """
    disc = find_disc(image)
    square = resample(crop_disc(image, disc)[None], size)[0]
    visible = visible_part(square, KEPT) if disc else None
    return normalise(subtract_local_average(square, visible), visible), disc is not None


def steps(image: Image, size: int) -> dict[str, Image]:
    """What each step makes of a photograph, by the step's name and in order, for a figure.

    The first is the photograph itself with the circle that was found; the last is what
    `preprocess_fundus` returns.
    """
    import cv2

    disc = find_disc(image)
    drawn = np.array(np.broadcast_to(image, (*image.shape[:2], 3)))
    if disc is not None:
        centre, r = (round(disc[0]), round(disc[1])), round(disc[2])
        cv2.circle(drawn, centre, r, (0, 255, 255), max(1, r // 50))
    cropped = crop_disc(image, disc)
    square = resample(cropped[None], size)[0]
    visible = visible_part(square, KEPT) if disc else None
    flat = subtract_local_average(square, visible)
    return {
        "photograph, disc found" if disc else "photograph, no disc edge": drawn,
        "cropped to the disc": cropped,
        f"resized to {size} px": square,
        "local average subtracted": flat,
        "normalised": normalise(flat, visible),
    }


def sample_photograph() -> Image:
    """A photograph of a healthy left eye, uint8 [1411, 1411, 3], which scikit-image ships.

    Häggström 2014, WikiJournal of Medicine 1(2), CC0.
    """
    from skimage import data

    return np.asarray(data.retina(), np.uint8)


def subtract_local_average(square: Image, visible: npt.NDArray[np.bool_] | None = None) -> Image:
    """Graham's step on a square [S, S, C]: `4 · (I − average) + 128`, clipped to uint8.

    The average is a Gaussian of σ = r / 30, where r = S / 2. With `visible`, bool [S, S], it is
    taken over the visible pixels alone, `blur(I·v) / blur(v)`, and the others become grey: with
    black in the average, the edges would come out bright. Without it, the formula is Graham's.
    """
    import cv2

    check_image(square)
    sigma = BLUR * len(square) / 2

    def blur(pixels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return np.asarray(cv2.GaussianBlur(pixels, (0, 0), sigma)).reshape(pixels.shape)

    pixels = square.astype(np.float32)
    if visible is None:
        return _to_uint8(GAIN * (pixels - blur(pixels)) + GREY)
    weight = visible.astype(np.float32)[..., None]
    average = blur(pixels * weight) / np.maximum(blur(weight), 1e-6)
    flat = GAIN * (pixels - average) + GREY
    flat[~visible] = GREY
    return _to_uint8(flat)


def normalise(square: Image, visible: npt.NDArray[np.bool_] | None = None) -> Image:
    """Mean 128 in each channel, and a standard deviation of 32 over all channels together.

    32 lets four standard deviations of either sign be seen. One gain for all channels keeps the
    hue of a lesion; it is at most 3, so that a blurred photograph stays smooth. Measured over the
    visible pixels, bool [S, S]; the others become grey. A blank image becomes grey.
    """
    check_image(square)
    pixels = square.astype(np.float32)
    seen = pixels.reshape(-1, pixels.shape[2]) if visible is None else pixels[visible]
    if len(seen) == 0:
        return np.full_like(square, GREY)
    mean = seen.mean(axis=0)
    spread = float(np.sqrt(((seen - mean) ** 2).mean()))
    gain = min(SPREAD / spread, MAX_GAIN) if spread > 0 else 1.0
    result = gain * (pixels - mean) + GREY
    if visible is not None:
        result[~visible] = GREY
    return _to_uint8(result)


def _to_uint8(pixels: npt.NDArray[np.floating]) -> Image:
    return np.asarray(np.rint(pixels).clip(0, 255), np.uint8)
