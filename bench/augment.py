"""Views per second: this project's augmentation beside kornia's and Pillow's, in one run.

`python -m bench.augment [--size 28] [--out FILE]`. Each contender makes one view of every image
of the same batch, over and over for a turn of a quarter second; the contenders take turns, so
that a slow spell of the machine hits all of them, and the medians of their turns are compared.
kornia runs its own ops of the same names and settings with parameters of its own for each sample;
Pillow runs the recipe of simclr-medical-imaging, image after image, on one core, as one of its
loader's workers did. With `--device cuda` ours and kornia work there, and Pillow where it can; ours
is then a recorded graph, as in a training step, and *launched* the same, its kernels one by one.
A library that is not installed is left out and said so.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.measuring import OUT, Goal, installed, say_goals, take_turns, write_rows
from lib.augment import Pipeline, make_augment
from lib.augment.ops import (
    ColourJitter,
    EqualizeLuma,
    Flip,
    GaussianBlur,
    Greyscale,
    Op,
    RandomResizedCrop,
    Rotate,
    Sharpness,
)
from lib.augment.pipeline import pack, unpack
from lib.models.graphs import RecordedStep
from lib.moving import send

TURN = 0.25  # seconds of work a turn, so that a rate is that of steady work
GOALS = {"natural": 2.0, "novel": 4.0}  # times kornia, at 28 px, 2 threads


def kornia_op(op: Op) -> Any:
    """kornia's counterpart of one of our ops, with the same settings."""
    import kornia.augmentation as K

    found: Any
    match op:
        case Flip(p, vertical):
            found = K.RandomVerticalFlip(p=p) if vertical else K.RandomHorizontalFlip(p=p)
        case Rotate(degrees):
            found = K.RandomRotation(degrees, p=1.0, align_corners=False)
        case RandomResizedCrop(size, scale, ratio):
            found = K.RandomResizedCrop((size, size), scale, ratio)
        case ColourJitter(b, c, s, h, p):
            found = K.ColorJitter(b, c, s, h, p=p)
        case Greyscale(p):
            found = K.RandomGrayscale(p=p)
        case GaussianBlur(kernel, sigma, p):
            found = K.RandomGaussianBlur((kernel, kernel), sigma, p=p)
        case EqualizeLuma(p):
            found = K.RandomEqualize(p=p)
        case Sharpness(factor):
            found = K.RandomSharpness(factor, p=1.0)
        case _:
            raise TypeError(f"kornia: no counterpart written for {op}")
    return found


def _equalize_luma(image: Any) -> Any:
    """Equalise the Y of a Pillow image."""
    from PIL import Image, ImageOps

    y, cb, cr = image.convert("YCbCr").split()
    return Image.merge("YCbCr", (ImageOps.equalize(y), cb, cr)).convert("RGB")


def pillow_op(op: Op) -> Any:
    """torchvision's counterpart of one of our ops, for Pillow images."""
    from torchvision import transforms as T
    from torchvision.transforms import functional as TF

    found: Any
    match op:
        case Flip(p, vertical):
            found = T.RandomVerticalFlip(p) if vertical else T.RandomHorizontalFlip(p)
        case Rotate(degrees):
            found = T.RandomRotation(degrees, T.InterpolationMode.BILINEAR)
        case RandomResizedCrop(size, scale, ratio):
            found = T.RandomResizedCrop(size, scale, ratio)
        case ColourJitter(b, c, s, h, p):
            found = T.RandomApply([T.ColorJitter(b, c, s, h)], p)
        case Greyscale(p):
            found = T.RandomGrayscale(p)
        case GaussianBlur(kernel, sigma, p):
            found = T.RandomApply([T.GaussianBlur(kernel, sigma)], p)
        case EqualizeLuma(p):
            found = T.RandomApply([T.Lambda(_equalize_luma)], p)
        case Sharpness((low, high)):
            found = T.Lambda(
                lambda x: TF.adjust_sharpness(x, low + (high - low) * torch.rand(()).item())
            )
        case _:
            raise TypeError(f"Pillow: no counterpart written for {op}")
    return found


def contenders(name: str, x: Tensor, images: list[Any]) -> dict[str, Callable[[], object]]:
    """Three ways to make one view of every image, by name of the library."""
    from torchvision import transforms as T

    view = make_augment(name, x.shape[-1], x.shape[1])
    generator = torch.Generator().manual_seed(0)
    pillow = T.Compose([*map(pillow_op, view), T.ToTensor()])
    found: dict[str, Callable[[], object]] = {
        "ours": waited_for(lambda: view(x, generator), x),
        "pillow": lambda: torch.stack([pillow(image) for image in images]),
    }
    if x.device.type == "cuda":
        found["launched"] = found["ours"]
        found["ours"] = waited_for(recorded(view, x, generator), x)
    if installed("kornia"):
        kornia = torch.nn.Sequential(*map(kornia_op, view)).to(x.device)
        found["kornia"] = waited_for(lambda: kornia(x), x)
    return found


def recorded(view: Pipeline, x: Tensor, generator: torch.Generator) -> Callable[[], object]:
    """Drawing, packing, sending, and a graph that makes the views: what a training step does."""
    n, _, height, width = x.shape
    like = view.draw(n, height, width, generator)
    step = RecordedStep(
        lambda x, drawn: view.apply_unread(x, unpack(drawn, like)), torch.nn.Identity()
    )

    def make() -> Tensor:
        drawn = view.draw(n, height, width, generator)
        return step(x, send(pack([drawn]), x.device))

    return make


def waited_for(function: Callable[[], object], x: Tensor) -> Callable[[], object]:
    """The function, and on a GPU the end of what it has launched."""
    if x.device.type == "cpu":
        return function

    def complete() -> None:
        function()
        torch.cuda.synchronize(x.device)

    return complete


def smooth_images(n: int, size: int, seed: int = 0) -> Tensor:
    """Colour blobs [n, 3, size, size] in [0, 1]: neither flat nor noise, so no op has it easy."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, 3, 7, 7, generator=generator)
    return torch.nn.functional.interpolate(coarse, size=size, mode="bicubic").clamp_(0.0, 1.0)


def run(
    size: int, batch: int, repeats: int, names: list[str], device: str = "cpu"
) -> list[dict[str, object]]:
    """Measure every sequence; one row per sequence and library."""
    from PIL import Image

    x = smooth_images(batch, size)
    arrays = (x * 255).round().byte().permute(0, 2, 3, 1).numpy()
    images = [Image.fromarray(np.ascontiguousarray(array)) for array in arrays]
    rows: list[dict[str, object]] = []
    x = x.to(device)
    for name in names:
        seconds = take_turns(contenders(name, x, images), repeats, turn=TURN)
        ours = statistics.median(seconds["ours"])
        for library, times in seconds.items():
            median = statistics.median(times)
            rows.append(
                {
                    "sequence": name,
                    "size": size,
                    "batch": batch,
                    "threads": torch.get_num_threads(),
                    "device": device,
                    "library": library,
                    "repeats": repeats,
                    "views_per_s": round(batch / median),
                    "slowest": round(batch / max(times)),
                    "fastest": round(batch / min(times)),
                    "ours_is_faster_by": round(median / ours, 2),
                }
            )
    return rows


def table(rows: list[dict[str, object]]) -> str:
    """The rows as text, one line per sequence."""
    lines = [
        f"{'sequence':<12}{'px':>4}{'ours':>9}{'kornia':>9}{'pillow':>9}"
        f"{'/kornia':>9}{'/pillow':>9}   (views/s, medians; one Pillow process)"
    ]
    cells = {(row["sequence"], row["library"]): row for row in rows}
    for name in dict.fromkeys(str(row["sequence"]) for row in rows):
        found = [cells.get((name, lib)) for lib in ("ours", "kornia", "pillow")]
        line = f"{name:<12}{rows[0]['size']:>4}"
        line += "".join(f"{row['views_per_s'] if row else '–':>9}" for row in found)
        line += "".join(f"{row['ours_is_faster_by'] if row else '–':>8}×" for row in found[1:])
        lines.append(line if found[1] else f"{line}   kornia is not installed")
    uneven = [
        f"{row['library']} {row['sequence']}"
        for row in rows
        if int(str(row["fastest"])) > 1.5 * int(str(row["views_per_s"]))
    ]
    if uneven:
        lines.append(
            "NOT TO BE TRUSTED: the machine was busy with something else, fastest and median "
            f"call differ by more than half for {', '.join(uneven)}; run again when it is idle"
        )
    return "\n".join(lines)


def goals_of(rows: list[dict[str, object]]) -> list[Goal]:
    """What the rows at 28 px say to GOALS, which are for CPUs."""
    cells = {(row["sequence"], row["library"]): row for row in rows if row["size"] == 28}
    goals = []
    for name, target in GOALS.items():
        if (name, "ours") in cells and cells[name, "ours"]["device"] == "cpu":
            kornia = cells.get((name, "kornia"))
            value = float(str(kornia["ours_is_faster_by"])) if kornia else None
            note = "" if kornia else "kornia is not installed"
            goals.append(
                Goal(f"augmentation, ours/kornia: {name}, 28 px", value, target, note=note)
            )
    return goals


def main(arguments: list[str] | None = None) -> int:
    """Measure, print the table, write CSV and JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.augment", description=__doc__)
    parser.add_argument("--size", type=int, nargs="+", default=[28], help="image sides, pixels")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=min(2, torch.get_num_threads()))
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--sequence", nargs="+", default=["natural", "simple", "novel", "microscopy"]
    )
    parser.add_argument("--out", type=Path, default=OUT / "augment.csv")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    # Freeing a large block once keeps the C library from handing every batch's memory back to
    # the system, as a training process would have done by its first step; all three profit.
    torch.empty(30 << 20, dtype=torch.uint8)
    torch.manual_seed(0)  # kornia's and torchvision's draws
    rows: list[dict[str, object]] = []
    for size in options.size:
        part = run(size, options.batch, options.repeats, options.sequence, options.device)
        print(table(part), flush=True)
        rows += part
    goals = goals_of(rows)
    print(say_goals(goals))
    write_rows(options.out, rows, goals, vars(options))
    return 0


if __name__ == "__main__":
    sys.exit(main())
