"""A training step of the encoder on a CPU: ours against the same network with plain nn.Conv2d.

`python -m bench.small_maps`: both in turn in one process, medians and their ratio, for the stems
at 28 px in fp32 and bf16. What is measured: forward and backward of a batch of views.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import time
from pathlib import Path

import torch
from torch import nn

from lib.embed import forward
from lib.encoder import Encoder, build_encoder
from lib.small_maps import SmallMapConv2d


def plain(encoder: Encoder) -> Encoder:
    """The same encoder with torch's own convolutions throughout."""
    for module in encoder.modules():
        if type(module) is SmallMapConv2d:
            setattr(module, "__class__", nn.Conv2d)  # noqa: B010
    return encoder


def step(encoder: Encoder, x: torch.Tensor, precision: str) -> float:
    """Seconds of one forward and backward pass."""
    began = time.perf_counter()
    loss = forward(encoder, x, precision).float().square().mean()
    torch.autograd.backward(loss)
    return time.perf_counter() - began


def main() -> None:
    """Print a table of views per second and ratios, and write it as CSV."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=256, help="views in a batch")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("bench/out/small_maps.csv"))
    options = parser.parse_args()
    x = torch.rand(options.batch, 3, 28, 28)
    rows = [("stem", "precision", "ours views/s", "nn.Conv2d views/s", "ratio")]
    print(f"{torch.get_num_threads()} thread(s), batch {options.batch}, 28 px, ResNet-18")
    for stem in ("strided", "imagenet", "small"):
        for precision in ("bf16", "fp32"):
            ours = build_encoder("resnet18", stem, 3, seed=0)
            theirs = plain(build_encoder("resnet18", stem, 3, seed=0))
            pair = [e.to(memory_format=torch.channels_last) for e in (ours, theirs)]
            # One warm-up, then in turn, so that a change of the machine's speed meets both.
            times = [[step(e, x, precision) for e in pair] for _ in range(options.repeats + 1)][1:]
            a, b = (options.batch / statistics.median(t) for t in zip(*times, strict=True))
            rows.append((stem, precision, f"{a:.0f}", f"{b:.0f}", f"{a / b:.2f}"))
            print("  ".join(f"{cell:>10}" for cell in rows[-1]))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with options.out.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


if __name__ == "__main__":
    main()
