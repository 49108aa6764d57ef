"""A map of features whose images show when a point is pointed at; it needs no script."""

from __future__ import annotations

import base64
import html
import io
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lib.figures.features import Key
from lib.preview import Images

if TYPE_CHECKING:
    from IPython.display import HTML

WIDTH, HEIGHT = 760, 560  # units of the drawing, which scales to the page
EDGE, REACH, DOT = 14, 9.0, 4.2
THUMB = 84  # side of a picture as shown; small images keep their pixels
LARGEST = 64  # pixels a side that a picture keeps
MOST = 400  # points drawn: each carries its picture
STYLE = (
    ".map .seen{visibility:hidden;pointer-events:none}"
    ".map .point:hover .seen{visibility:visible}"
    ".map .seen rect{fill:#fff;stroke:#1c2530}"
    ".map .seen text{font:12px sans-serif;fill:#1c2530}"
    ".map .hit{fill:transparent}"
    ".map .key{font:12px sans-serif;fill:#1c2530}"
)


def hover_map(
    coordinates: npt.NDArray[np.float64], key: Key, images: Images, name: str, seed: int = 0
) -> HTML:
    """Points as drawn by `key`, each with its image in view while the pointer is on it.

    coordinates: [N, 2]; images: uint8 [N, H, W, C]; at most MOST points, drawn at random. The
    pictures are inside, so the map opens anywhere, and a report with it passes them on.
    """
    from IPython.display import HTML

    kept = np.sort(np.random.default_rng(seed).permutation(len(coordinates))[:MOST])
    places = fit(coordinates)[kept]
    # The key's names are escaped for matplotlib, which does not draw this.
    key = replace(key, names=tuple(str(name).replace(r"\$", "$") for name in key.names))
    groups = key.group[kept]
    dots = "".join(
        mark(x, y, key.colours[g], key.marks[g]) for (x, y), g in zip(places, groups, strict=True)
    )
    # Over all dots, so that no later dot covers a picture.
    points = "".join(
        point(x, y, key.names[g], np.asarray(images[i]))
        for (x, y), g, i in zip(places, groups, kept, strict=True)
    )
    of = f" of {len(coordinates):,}" if len(kept) < len(coordinates) else ""
    counts = ", ".join(f"{int((groups == g).sum())} {n}" for g, n in enumerate(key.names))
    said = f"{name}: {len(kept):,}{of} images as points, by class: {counts}."
    legend, tall = legend_of(key)
    return HTML(  # type: ignore[no-untyped-call]
        f'<figure><svg class="map" viewBox="0 0 {WIDTH} {HEIGHT + tall}" width="{WIDTH}" '
        f'role="img" aria-label="{html.escape(said, quote=True)}"><style>{STYLE}</style>'
        f"{legend}{dots}{points}</svg>"
        f"<figcaption>{html.escape(name)}, {len(kept):,}{of} images: point at one to see it."
        "</figcaption></figure>"
    )


def fit(coordinates: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Coordinates in the drawing's units, one scale for both directions, y upwards: [N, 2]."""
    low, high = coordinates.min(axis=0), coordinates.max(axis=0)
    room = np.array([WIDTH - 2 * EDGE, HEIGHT - 2 * EDGE])
    scale = float(np.min(room / np.maximum(high - low, 1e-9)))
    centred = (coordinates - (low + high) / 2) * scale * np.array([1, -1])
    return np.asarray(centred + np.array([WIDTH, HEIGHT]) / 2)


def mark(x: float, y: float, colour: str, shape: str) -> str:
    """A dot, or another shape of its size."""
    d = DOT
    if shape == "^":
        return f'<path d="M{x:.1f} {y - d:.1f}l{d:.1f} {2 * d:.1f}h{-2 * d:.1f}z" fill="{colour}"/>'
    if shape == "s":
        return (
            f'<rect x="{x - d:.1f}" y="{y - d:.1f}" width="{2 * d:.1f}" height="{2 * d:.1f}" '
            f'fill="{colour}"/>'
        )
    if shape == "x":
        return (
            f'<path d="M{x - d:.1f} {y - d:.1f}l{2 * d:.1f} {2 * d:.1f}m0 {-2 * d:.1f}'
            f'l{-2 * d:.1f} {2 * d:.1f}" stroke="{colour}" stroke-width="1.5"/>'
        )
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{d}" fill="{colour}" fill-opacity=".85"/>'


def point(x: float, y: float, name: str, image: npt.NDArray[np.uint8]) -> str:
    """What shows at a point: a frame with the image and the name of its class."""
    # Towards the middle of the drawing, so that nothing is cut off.
    left = x + 12 if x < WIDTH / 2 else x - 12 - THUMB
    top = min(max(2.0, y - THUMB / 2), HEIGHT - THUMB - 22)
    return (
        f'<g class="point"><circle class="hit" cx="{x:.1f}" cy="{y:.1f}" r="{REACH}"/>'
        f'<g class="seen"><rect x="{left - 3:.1f}" y="{top - 3:.1f}" width="{THUMB + 6}" '
        f'height="{THUMB + 22}"/><image x="{left:.1f}" y="{top:.1f}" width="{THUMB}" '
        f'height="{THUMB}" href="data:image/jpeg;base64,{thumbnail(image)}"/>'
        f'<text x="{left:.1f}" y="{top + THUMB + 13:.1f}">{html.escape(short(name))}</text>'
        "</g></g>"
    )


def short(name: str, most: int = 13) -> str:
    """A name cut to the width of a picture."""
    return name if len(name) <= most else name[: most - 1] + "…"


def thumbnail(image: npt.NDArray[np.uint8]) -> str:
    """An image uint8 [H, W, C] as the base64 text of a JPEG of at most LARGEST pixels a side."""
    from PIL import Image

    picture: Any = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    picture.thumbnail((LARGEST, LARGEST))
    buffer = io.BytesIO()
    # Colours at full resolution: in images of 28 pixels they are half of what there is to see.
    picture.save(buffer, format="JPEG", quality=90, subsampling=0)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def legend_of(key: Key) -> tuple[str, int]:
    """The classes below the map, in columns, and how much room they take."""
    columns, row = 3, 18
    parts = []
    for i, (name, colour, shape) in enumerate(zip(key.names, key.colours, key.marks, strict=True)):
        x, y = EDGE + i % columns * (WIDTH / columns), HEIGHT + 12 + i // columns * row
        parts.append(mark(x, y, colour, shape))
        text = html.escape(short(name, 36))
        parts.append(f'<text class="key" x="{x + 10:.1f}" y="{y + 4:.1f}">{text}</text>')
    return "".join(parts), 12 + row * -(-len(key.names) // columns)
