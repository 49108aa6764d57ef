"""Contrastive losses in blocks of rows beside the whole matrix: time and memory against the batch.

`python -m bench.losses [--images N …]`. Forward and backward of projections float32 [N, 128] of two
views, each batch size in a process of its own, so that its peak memory is its own. What counts:
memory of the one over the other, what the second computation of the similarities costs, and that
the gradients are the same. The whole matrix is left out where it does not fit this machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.measuring import OUT, Goal, peak_memory, say_goals, take_turns, write_rows
from lib.data.store import free_memory
from lib.losses import nt_xent, sup_con

WIDTH, CLASSES, TEMPERATURE = 128, 10, 0.1
FORMS = ("whole", "blocks")
LIMIT_MIB, LARGEST, TOLERANCE = 8192, 16_384, 1e-5
# Similarities, their exponentials and gradients: so many matrices float32 [2N, 2N] are held at
# once by the whole form, NT-Xent's and SupCon's.
MATRICES = 4


def gradients(loss: str, form: str, z1: Tensor, z2: Tensor, y: Tensor) -> tuple[Tensor, ...]:
    """Gradients of a loss by both views. form: `blocks` as the library chooses them, or `whole`."""
    block = 2 * len(z1) if form == "whole" else None
    if loss == "nt_xent":
        value = nt_xent(z1, z2, TEMPERATURE, block=block)
    else:
        value = sup_con(z1, z2, y, TEMPERATURE, block=block)
    return torch.autograd.grad(value, (z1, z2))


def draw(images: int) -> tuple[Tensor, Tensor, Tensor]:
    """Two views' projections and labels."""
    generator = torch.Generator().manual_seed(0)
    z1, z2 = (torch.randn(images, WIDTH, generator=generator).requires_grad_() for _ in range(2))
    return z1, z2, torch.randint(CLASSES, (images,), generator=generator)


def measure(loss: str, form: str, images: int, repeats: int) -> dict[str, Any]:
    """Median seconds of a forward and backward pass, and peak memory above what was there before.

    total_mib: with Python, torch and the projections.
    """
    tensors = draw(images)
    with peak_memory() as peak:
        times = take_turns({"step": lambda: gradients(loss, form, *tensors)}, repeats)
    return {
        "loss": loss,
        "form": form,
        "images": images,
        "repeats": repeats,
        "seconds": round(statistics.median(times["step"]), 4),
        "peak_mib": round(peak.above, 1),
        "total_mib": round(peak.total, 1),
    }


def compare(loss: str, images: int) -> dict[str, Any]:
    """Largest difference between the two forms' gradients, over the largest gradient."""
    tensors = draw(images)
    whole, blocks = (torch.cat(gradients(loss, form, *tensors)) for form in FORMS)
    return {"difference": float((whole - blocks).abs().max() / whole.abs().max())}


def fits(images: int) -> bool:
    """Whether this machine has the memory for whole matrices, the half of its free memory kept."""
    return MATRICES * 4 * (2 * images) ** 2 <= 2 * free_memory(torch.device("cpu"))


def apart(task: list[Any], threads: int) -> dict[str, Any]:
    """A measurement in a process of its own; task: the arguments of `measure` or `compare`."""
    command = [sys.executable, "-m", "bench.losses", "--threads", str(threads)]
    command += ["--one", json.dumps(task)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def goals_of(rows: Sequence[Mapping[str, Any]]) -> list[Goal]:
    """Memory of the largest batch, and the same gradients wherever both forms were measured."""
    goals = []
    for loss in ("nt_xent", "sup_con"):
        blocks = {r["images"]: r for r in rows if r["loss"] == loss and r["form"] == "blocks"}
        peak = blocks[LARGEST]["total_mib"] if LARGEST in blocks else None
        what = f"{loss}: memory of a batch of {LARGEST:,} images, forward and backward"
        goals.append(Goal(what, peak, LIMIT_MIB, "MiB", False))
        known = {n: r["gradient_difference"] for n, r in blocks.items()}
        differences = {n: d for n, d in known.items() if d is not None}
        worst = max(differences.values(), default=None)
        largest = max(differences, default=0)
        what = f"{loss}: gradients in blocks against the whole, up to {largest:,} images"
        goals.append(Goal(what, worst, TOLERANCE, "relative", False))
    return goals


def main(arguments: list[str] | None = None) -> int:
    """Measure, print the table, write CSV and JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.losses", description=__doc__)
    parser.add_argument("--images", type=int, nargs="+", default=[1024, 2048, 4096, 8192, LARGEST])
    parser.add_argument("--largest-whole", type=int, default=8192, help="images; 13 GB of memory")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=min(2, torch.get_num_threads()))
    parser.add_argument("--out", type=Path, default=OUT / "losses.csv")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    if options.one:
        task = json.loads(options.one)
        print(json.dumps(measure(*task) if len(task) == 4 else compare(*task)))
        return 0
    print(f"{'loss':<9}{'images':>7}{'whole':>20}{'blocks':>20}{'memory':>9}{'time':>7}  gradients")
    rows = []
    for loss, images in product(("nt_xent", "sup_con"), options.images):
        whole = images <= options.largest_whole and fits(images)
        forms = FORMS if whole else ("blocks",)
        pair = {
            form: apart([loss, form, images, options.repeats], options.threads) for form in forms
        }
        difference = apart([loss, images], options.threads)["difference"] if whole else None
        pair["blocks"]["gradient_difference"] = difference
        rows += list(pair.values())
        cells = [
            f"{pair[f]['seconds']:.2f} s {pair[f]['peak_mib']:,.0f} MiB" if f in pair else "–"
            for f in FORMS
        ]
        ratios = ["", "", ""]
        if whole:
            ratios = [
                f"{pair['blocks'][key] / max(pair['whole'][key], 1e-9):.2f}×"
                for key in ("peak_mib", "seconds")
            ] + [f"{difference:.0e}"]
        print(
            f"{loss:<9}{images:>7}{cells[0]:>20}{cells[1]:>20}{ratios[0]:>9}{ratios[1]:>7}"
            f"{ratios[2]:>11}",
            flush=True,
        )
    goals = goals_of(rows)
    print(say_goals(goals))
    write_rows(options.out, rows, goals, vars(options))
    return 0


if __name__ == "__main__":
    sys.exit(main())
