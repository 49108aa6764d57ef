"""The lit disc of a fundus photograph: where it is, the square around it, what of it is seen."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]  # [H, W, C], C 1 or 3
Disc = tuple[float, float, float]  # centre x, centre y, radius, in pixels
Points = npt.NDArray[np.float64]  # [P, 2], x and y

SEARCHED = 384  # longer side, in pixels, at which the disc is looked for
DARK = 10  # grey level up to which an image counts as black
LIT = 0.15  # share of the image's bright level above which a pixel is no background
BRIGHTER = (LIT, 0.3, 0.45)  # tried in turn: enhancing a photograph also enhances its background
TRIES = 400  # circles tried
EDGE = 300  # points of the edge looked at, at most
ON_CIRCLE = 0.006  # distance from the circle, in longer sides, of a point that lies on it
SEEN = 0.12  # share of a circle that must be seen as an edge
FILLED = 0.7  # share of the circle's part of the image that must be lit
OUTSIDE = 0.1  # share of the lit area that may lie outside
RADII = (0.25, 1.0)  # of a plausible disc, in longer sides


def find_disc(image: Image) -> Disc | None:
    """The circle around the lit disc of a photograph uint8 [H, W, C], or None without an edge.

    The outline of the largest lit area is taken, without what lies on the frame, and a circle is
    fitted by RANSAC (Fischler & Bolles 1981), so that straight cuts above and below, the notch of
    some cameras and badly lit parts of the rim do not move it. None means that no circular edge
    is in sight: the photograph is already cropped to the inside of the disc, or enhanced on grey.
    The circle may reach beyond the frame. The same image always gives the same circle.
    Raises ValueError for an image that is black, and for anything but such an array.
    """
    import cv2

    check_image(image)
    height, width = image.shape[:2]
    scale = min(1.0, SEARCHED / max(height, width))
    small = image
    if scale < 1:
        sides = (max(1, round(width * scale)), max(1, round(height * scale)))
        small = cv2.resize(image, sides, interpolation=cv2.INTER_AREA)
        small = small.reshape(sides[1], sides[0], -1)
    for share in BRIGHTER:
        area = _largest_area(lit_pixels(small, share))
        circle = _fit_circle(_edge(area), max(small.shape))
        if circle is not None and _explains(circle, area):
            x, y, r = circle
            return (x + 0.5) / scale - 0.5, (y + 0.5) / scale - 0.5, r / scale
    return None


def crop_disc(image: Image, disc: Disc | None) -> Image:
    """The square around the disc, [S, S, C], S its diameter; black where the frame ends before.

    Without a disc the middle square, as large as the shorter side.
    """
    height, width = image.shape[:2]
    if disc is None:
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        return image[top : top + side, left : left + side]
    x, y, r = disc
    side = max(1, round(2 * r))
    top, left = round(y - r + 0.5), round(x - r + 0.5)
    square = np.zeros((side, side, image.shape[2]), np.uint8)
    inside = image[max(top, 0) : max(top + side, 0), max(left, 0) : max(left + side, 0)]
    row, column = max(-top, 0), max(-left, 0)
    square[row : row + inside.shape[0], column : column + inside.shape[1]] = inside
    return square


def visible_part(square: Image, kept: float) -> npt.NDArray[np.bool_]:
    """Where a square cropped to a disc shows retina: bool [S, S].

    A circle of `kept` of the radius, from the first to the last lit row and column: what the
    camera cut off above and below is left out, while dark parts of the retina stay in.
    """
    side = len(square)
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    circle = np.asarray(x**2 + y**2 <= (kept * side / 2) ** 2)
    lit = lit_pixels(square) & circle
    shown = circle.copy()
    rim = max(1, side // 100)  # a cut is no sharper than the photograph
    for axis in (0, 1):
        reach = circle.sum(axis=1 - axis)
        lines = np.flatnonzero((lit.sum(axis=1 - axis) > reach / 4) & (reach > 0))
        possible = np.flatnonzero(reach)
        if not len(lines):
            continue
        low = lines[0] + rim if lines[0] > possible[0] + rim else 0
        high = lines[-1] - rim if lines[-1] < possible[-1] - rim else side
        keep = (np.arange(side) >= low) & (np.arange(side) <= high)
        shown &= keep[:, None] if axis == 0 else keep[None]
    return shown


def lit_pixels(image: Image, share: float = LIT) -> npt.NDArray[np.bool_]:
    """Which pixels are brighter than `share` of the image's bright level (its 95th percentile).

    Raises ValueError for a black image.
    """
    import cv2

    # The brightest channel: the rim is lit in red alone, or in blue in an enhanced photograph.
    brightness = cv2.medianBlur(np.ascontiguousarray(image.max(axis=2)), 5)
    bright = float(np.quantile(brightness, 0.95))
    if bright <= DARK:
        raise ValueError("no fundus to be seen: the image is black")
    return np.asarray(brightness > max(share * bright, DARK))


def check_image(image: npt.NDArray[Any]) -> None:
    """ValueError unless an image is uint8 [H, W, 1 or 3]."""
    if image.ndim != 3 or image.shape[2] not in (1, 3) or image.dtype != np.uint8:
        found = f"{image.dtype} {[*image.shape]}"
        raise ValueError(f"fundus photograph: expected uint8 [H, W, 1 or 3]; found {found}")


def _largest_area(lit: npt.NDArray[np.bool_]) -> Image:
    """The largest connected lit area as zeros and ones [H, W], its holes filled.

    Opening it first takes away thin strokes: text, and what ties the disc to it.
    """
    import cv2

    opened = cv2.morphologyEx(lit.astype(np.uint8), cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    count, labels, facts, _ = cv2.connectedComponentsWithStats(opened)
    if count < 2:
        return np.asarray(opened)
    largest = 1 + int(facts[1:, cv2.CC_STAT_AREA].argmax())
    area = (labels == largest).astype(np.uint8)
    outlines, _ = cv2.findContours(area, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(area, outlines, -1, 1, cv2.FILLED))


def _edge(area: Image) -> Points:
    """Points of the area's outline that do not lie on the image's frame."""
    import cv2

    outlines, _ = cv2.findContours(area, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not outlines:
        return np.zeros((0, 2))
    points = max(outlines, key=len)[:, 0].astype(np.float64)
    height, width = area.shape
    x, y = points.T
    return np.asarray(points[(x > 2) & (y > 2) & (x < width - 3) & (y < height - 3)])


def _fit_circle(edge: Points, longer: int) -> Disc | None:
    """The circle with the most edge points on it, fitted to these by least squares."""
    if len(edge) < 10:
        return None
    edge = edge[:: len(edge) // EDGE + 1]
    rng = np.random.default_rng(0)
    triples = edge[rng.integers(len(edge), size=(TRIES, 3))]
    a, b, c = triples.transpose(1, 0, 2)
    # The centre is as far from a as from b and from c: two linear equations.
    u, v = b - a, c - a
    area = 2 * (u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0])
    proper = np.abs(area) > longer
    u, v, a, area = u[proper], v[proper], a[proper], area[proper]
    uu, vv = (u**2).sum(axis=1), (v**2).sum(axis=1)
    x = (v[:, 1] * uu - u[:, 1] * vv) / area
    y = (u[:, 0] * vv - v[:, 0] * uu) / area
    r = np.hypot(x, y)
    plausible = (r > RADII[0] * longer) & (r < RADII[1] * longer)
    if not plausible.any():
        return None
    circles = np.stack([x + a[:, 0], y + a[:, 1], r], axis=1)[plausible]
    distance = _distance(edge, circles)
    best = circles[(distance < ON_CIRCLE * longer).sum(axis=1).argmax()]
    for _ in range(3):
        on = edge[_distance(edge, best[None])[0] < ON_CIRCLE * longer]
        if len(on) < 10:
            return None
        best = _least_squares(on)
    on = edge[_distance(edge, best[None])[0] < ON_CIRCLE * longer]
    angle = np.arctan2(on[:, 1] - best[1], on[:, 0] - best[0])
    seen = len(np.unique(np.floor(angle / (2 * np.pi) * 72))) / 72  # in steps of five degrees
    return (float(best[0]), float(best[1]), float(best[2])) if seen >= SEEN else None


def _distance(points: Points, circles: Points) -> Points:
    """How far each point lies from each circle (x, y, r): [circles, points]."""
    dx = points[None, :, 0] - circles[:, :1]
    dy = points[None, :, 1] - circles[:, 1:2]
    return np.asarray(np.abs(np.sqrt(dx * dx + dy * dy) - circles[:, 2:]))


def _least_squares(points: Points) -> Points:
    """The circle x, y, r by Kåsa's fit: `x² + y²` as a linear function of x, y and 1."""
    design = np.column_stack([points, np.ones(len(points))])
    p, *_ = np.linalg.lstsq(design, (points**2).sum(axis=1), rcond=None)
    x, y = p[0] / 2, p[1] / 2
    return np.asarray([x, y, np.sqrt(p[2] + x**2 + y**2)])


def _explains(circle: Disc, area: Image) -> bool:
    """Whether the lit area is what the circle holds of the image, and little else."""
    height, width = area.shape
    y, x = np.mgrid[:height, :width]
    inside = (x - circle[0]) ** 2 + (y - circle[1]) ** 2 <= circle[2] ** 2
    lit = area == 1
    held = (lit & inside).sum()
    # Bands that the camera left black above and below count as no part of the image.
    rows, columns = np.flatnonzero(lit.any(axis=1)), np.flatnonzero(lit.any(axis=0))
    part = inside[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].sum()
    return bool(held >= FILLED * part and lit.sum() - held <= OUTSIDE * lit.sum())
