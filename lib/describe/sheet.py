"""A contact sheet: a few images of each class, and pairs of near-duplicates side by side."""

from __future__ import annotations

import base64
import html
import io
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lib.describe.alike import Alike
from lib.describe.facts import UNLABELLED
from lib.describe.look import Look
from lib.files import replacing

EACH = 8  # images of a class
SIDE = 96  # pixels of an image on the sheet
GAP = 4
NAME_HEIGHT = 16  # pixels of a class's name above its row
CLASSES = 40  # rows at most
PAIRS = 12  # pairs shown
INK, PAPER = 40, 255

Image = npt.NDArray[np.uint8]


def choose_rows(look: Look, each: int = EACH, seed: int = 0) -> dict[str, list[int]]:
    """A few readable images of each class, at random and in file order: class → rows."""
    rng = np.random.default_rng(seed)
    members: dict[str, list[int]] = {name: [] for name in (*look.classes, UNLABELLED)}
    for row, picture in enumerate(look.pictures):
        if picture is not None:
            apart = look.labels is None or row in look.unlabelled
            names = (UNLABELLED,) if apart or look.labels is None else look.labels[row]
            for name in names:
                members[name].append(row)
    chosen = {}
    for name, rows in list(members.items())[:CLASSES]:
        picked = rng.permutation(len(rows))[:each]
        chosen[name] = sorted(rows[i] for i in picked)
    return {name: rows for name, rows in chosen.items() if rows}


def choose_pairs(look: Look, alike: Alike, n: int = PAIRS) -> list[tuple[int, int, float]]:
    """Pairs worth a look: copies first, each once, then those that cross splits, then the rest."""
    copies = [(rows[0], rows[1], 1.0) for rows in alike.copies]
    ranked = [*copies, *alike.pairs]

    def place(pair: tuple[int, int, float]) -> tuple[bool, bool]:
        a, b = pair[:2]
        known = look.labels is not None and look.unlabelled.isdisjoint((a, b))
        differ = known and look.labels is not None and look.labels[a] != look.labels[b]
        return not differ, look.splits[a] == look.splits[b]

    return sorted(ranked, key=place)[:n]


def draw_sheet(look: Look) -> Image:
    """The contact sheet as uint8 [H, W, 3]: a row of images for each class, its name above."""
    from PIL import Image as Pillow
    from PIL import ImageDraw

    rows = choose_rows(look)
    width = GAP + EACH * (SIDE + GAP)
    height = GAP + len(rows) * (NAME_HEIGHT + SIDE + GAP)
    sheet = Pillow.new("RGB", (width, height), (PAPER,) * 3)
    draw = ImageDraw.Draw(sheet)
    for i, (name, members) in enumerate(rows.items()):
        top = GAP + i * (NAME_HEIGHT + SIDE + GAP)
        draw.text((GAP, top), name[:90], fill=(INK,) * 3)
        for j, row in enumerate(members):
            tile = Pillow.fromarray(coloured(look.fetch(row, SIDE)))
            sheet.paste(tile, (GAP + j * (SIDE + GAP), top + NAME_HEIGHT))
    return np.asarray(sheet)


def coloured(image: Image) -> Image:
    """An image [H, W, 1 or 3] with three channels."""
    return np.ascontiguousarray(np.broadcast_to(image, (*image.shape[:2], 3)))


def write_sheet(look: Look, path: Path) -> None:
    """Write the contact sheet as a PNG, complete or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(png(draw_sheet(look)))


def png(image: Image) -> bytes:
    """An image uint8 [H, W, 1 or 3] as a PNG."""
    from PIL import Image as Pillow

    buffer = io.BytesIO()
    Pillow.fromarray(coloured(image)).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def embedded(image: Image, alt: str) -> str:
    """An `<img>` that holds its picture."""
    data = base64.b64encode(png(image)).decode("ascii")
    side = image.shape[0]
    return (
        f"<img alt='{html.escape(alt, quote=True)}' width='{side}' height='{side}' "
        f"src='data:image/png;base64,{data}'>"
    )
