"""One case of bad input, and a desk to write it on."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

HEAD = "study: mine\nexperiments:\n"
PRETRAIN = f"{HEAD}  pretrain: {{notebook: 01_pretrain}}\n"


@dataclass(frozen=True)
class Case:
    """make: writes the input on a desk and gives the command line. says: what the line holds."""

    name: str
    make: Callable[[Desk], list[str]]
    says: Sequence[str]


class Desk:
    """A folder to write bad input in. trap: a file that hostile input would create if it ran."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.trap = folder, folder / "trap"

    def write(self, name: str, content: str | bytes) -> Path:
        """A file of this content; folders are made as needed."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def study(self, content: str | bytes, *arguments: str) -> list[str]:
        """The command line for a params file of this content."""
        return [str(self.write("study.yaml", content)), *arguments]

    def experiment(self, notebook: str = "01_pretrain", **values: Any) -> list[str]:
        """The command line for a study of one experiment with these parameters."""
        settings = "".join(f"      {key}: {value}\n" for key, value in values.items())
        return self.study(f"{HEAD}  one:\n    notebook: {notebook}\n    set:\n{settings}")

    def npz(self, name: str = "cells.npz", **changes: Any) -> str:
        """`npz:PATH` of 12 + 4 + 6 grey images of two classes; None takes an array away."""
        content: dict[str, Any] = {}
        for split, n in (("train", 12), ("val", 4), ("test", 6)):
            content[f"{split}_images"] = np.arange(n * 784, dtype=np.uint8).reshape(n, 28, 28)
            content[f"{split}_labels"] = (np.arange(n) % 2).astype(np.uint8)[:, None]
        content = {k: v for k, v in {**content, **changes}.items() if v is not None}
        buffer = io.BytesIO()
        np.savez(buffer, **content)
        return f"npz:{self.write(name, buffer.getvalue())}"

    def zipped(self, members: Mapping[str, bytes], name: str = "cells.npz") -> str:
        """`npz:PATH` of an archive with these members, byte for byte."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for member, content in members.items():
                archive.writestr(member, content)
        return f"npz:{self.write(name, buffer.getvalue())}"

    def image(self, name: str, seed: int = 0, size: int = 28) -> Path:
        """A grey PNG."""
        from PIL import Image

        pixels = np.random.default_rng(seed).integers(0, 256, (size, size), np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        return self.write(name, buffer.getvalue())

    def table(self, rows: Sequence[Sequence[str]], header: str = "image,label") -> str:
        """`csv:PATH` of these rows; images are drawn for the names ending in .png."""
        for i, row in enumerate(rows):
            if row and row[0].endswith(".png") and not (self.folder / "own" / row[0]).exists():
                self.image(f"own/{row[0]}", i)
        text = io.StringIO()
        csv.writer(text).writerows([header.split(","), *rows])
        return f"csv:{self.write('own/labels.csv', text.getvalue())}"

    def rows(self, n: int = 20) -> list[list[str]]:
        """Rows of a good table: names and two classes by turns."""
        return [[f"im{i}.png", "ab"[i % 2]] for i in range(n)]

    def folders(self, **images: int) -> Path:
        """A folder with so many images in each sub-folder."""
        for label, n in images.items():
            for i in range(n):
                self.image(f"own/{label}/{i}.png", i)
        return self.folder / "own"
