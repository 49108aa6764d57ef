"""Images as a page shows them: small PNGs in rows, inside one piece of HTML."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
# JupyterLab's own colours where it has them: readable in its light and its dark theme.
TEXT = "color:var(--jp-ui-font-color1,#222);font-size:12px;line-height:1.35"
FRAMES = {
    True: "outline:2px solid #0072B2",
    False: "outline:2px dashed #D55E00",
    None: "outline:1px solid rgba(127,127,127,.4)",
}


@dataclass(frozen=True)
class Thumbnail:
    """An image uint8 [H, W, C] and the lines under it. right: a hit, a miss, or neither (None)."""

    image: Image
    lines: tuple[str, ...] = ()
    right: bool | None = None


def data_address(image: Image) -> str:
    """An image uint8 [H, W, 1 or 3] as the address of a PNG that needs no file."""
    from PIL import Image as Pillow

    buffer = io.BytesIO()
    pixels = image[..., 0] if image.shape[-1] == 1 else image
    Pillow.fromarray(np.ascontiguousarray(pixels)).save(buffer, format="png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def picture(image: Image, side: int, alt: str, right: bool | None = None) -> str:
    """One image, `side` pixels wide on the page, its own pixels visible where it is smaller."""
    kept = "image-rendering:pixelated;" if image.shape[0] < side else ""
    style = f"width:{side}px;height:{side}px;margin:0;{kept}{FRAMES[right]}"
    return f'<img src="{data_address(image)}" alt="{html.escape(alt)}" style="{style}">'


def strip(thumbnails: Sequence[Thumbnail], side: int = 84) -> str:
    """Images side by side, as many in a line as fit, each with its lines of text under it."""
    cells = []
    for thumbnail in thumbnails:
        lines = "".join(f"<div>{html.escape(line)}</div>" for line in thumbnail.lines)
        alt = ", ".join(thumbnail.lines) or "image"
        cells.append(
            f'<div style="width:{side}px;overflow-wrap:anywhere">'
            f"{picture(thumbnail.image, side, alt, thumbnail.right)}{lines}</div>"
        )
    style = f"display:flex;flex-wrap:wrap;gap:8px;padding:3px;{TEXT}"
    return f'<div style="{style}">{"".join(cells)}</div>'


def rows(images: Mapping[str, Image], side: int = 62) -> str:
    """Rows of images, each with its name at the left: name → uint8 [N, H, W, C]."""
    lines = []
    for name, row in images.items():
        shown = "".join(picture(image, side, f"{name}, {i}") for i, image in enumerate(row))
        lines.append(
            f'<div style="display:flex;gap:4px;align-items:center;padding:2px">'
            f'<div style="flex:0 0 44px">{html.escape(name)}</div>{shown}</div>'
        )
    return f'<div style="overflow-x:auto;{TEXT}">{"".join(lines)}</div>'


def note(text: str) -> str:
    """A line of text in the page's own colour."""
    return f'<div style="{TEXT}">{html.escape(text)}</div>'
