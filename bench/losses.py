"""Contrastive losses in blocks of rows beside the whole matrix: time and memory against the batch.

`python -m bench.losses [--images N …]`. Forward and backward of projections float32 [N, 128] of two
views, each batch size in a process of its own, so that its peak memory is its own. What counts:
memory of the one over the other, and what the second computation of the similarities costs.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import torch

from bench.measuring import take_turns, write_rows
from lib.losses import nt_xent, sup_con

WIDTH, CLASSES, TEMPERATURE = 128, 10, 0.1
FORMS = ("whole", "blocks")


def measure(loss: str, form: str, images: int, repeats: int) -> dict[str, Any]:
    """Median seconds of a forward and backward pass, and peak memory above what was there before.

    form: `blocks` as the library chooses them, `whole` with all similarities at once.
    """
    generator = torch.Generator().manual_seed(0)
    z1, z2 = (torch.randn(images, WIDTH, generator=generator).requires_grad_() for _ in range(2))
    y = torch.randint(CLASSES, (images,), generator=generator)
    block = 2 * images if form == "whole" else None

    def step() -> None:
        if loss == "nt_xent":
            value = nt_xent(z1, z2, TEMPERATURE, block=block)
        else:
            value = sup_con(z1, z2, y, TEMPERATURE, block=block)
        torch.autograd.grad(value, (z1, z2))

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = take_turns({"step": step}, repeats)["step"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {
        "loss": loss,
        "form": form,
        "images": images,
        "repeats": repeats,
        "seconds": round(statistics.median(seconds), 4),
        "peak_mib": round(peak / 1024, 1),
    }


def measure_apart(loss: str, form: str, images: int, repeats: int, threads: int) -> dict[str, Any]:
    """`measure` in a process of its own."""
    task = json.dumps([loss, form, images, repeats])
    command = [sys.executable, "-m", "bench.losses", "--threads", str(threads), "--one", task]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main(arguments: list[str] | None = None) -> int:
    """Measure, print the table, write CSV and JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.losses", description=__doc__)
    parser.add_argument("--images", type=int, nargs="+", default=[1024, 4096, 8192, 16384])
    parser.add_argument("--largest-whole", type=int, default=8192, help="images; 13 GB of memory")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("bench/out/losses.csv"))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    if options.one:
        print(json.dumps(measure(*json.loads(options.one))))
        return 0
    print(f"{'loss':<9}{'images':>7}{'whole':>20}{'blocks':>20}{'memory':>9}{'time':>7}")
    rows = []
    for loss, images in product(("nt_xent", "sup_con"), options.images):
        pair: dict[str, dict[str, Any]] = {}
        for form in FORMS:
            if form == "blocks" or images <= options.largest_whole:
                pair[form] = measure_apart(loss, form, images, options.repeats, options.threads)
        rows += list(pair.values())
        cells = [
            f"{pair[f]['seconds']:.2f} s {pair[f]['peak_mib']:,.0f} MiB" if f in pair else "–"
            for f in FORMS
        ]
        ratios = ["", ""]
        if "whole" in pair:
            whole, blocks = pair["whole"], pair["blocks"]
            ratios = [f"{blocks[key] / whole[key]:.2f}×" for key in ("peak_mib", "seconds")]
        print(f"{loss:<9}{images:>7}{cells[0]:>20}{cells[1]:>20}{ratios[0]:>9}{ratios[1]:>7}")
    write_rows(options.out, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
