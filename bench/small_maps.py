"""A training step of the encoder on a CPU: ours against the same network with plain nn.Conv2d.

`python -m bench.small_maps`: both in turn in one process, medians and their ratio, for the stems
at 28 px in fp32 and bf16. What is measured: forward and backward of a batch of views.
"""

from __future__ import annotations

import argparse
import statistics
from functools import partial
from itertools import product
from pathlib import Path

import torch
from torch import nn

from bench.measuring import OUT, take_turns, write_rows
from lib.models.embed import forward
from lib.models.encoder import Encoder, build_encoder
from lib.models.small_maps import SmallMapConv2d


def plain(encoder: Encoder) -> Encoder:
    """The same encoder with torch's own convolutions throughout."""
    for module in encoder.modules():
        if type(module) is SmallMapConv2d:
            setattr(module, "__class__", nn.Conv2d)  # noqa: B010
    return encoder


def step(encoder: Encoder, x: torch.Tensor, precision: str) -> None:
    """One forward and backward pass."""
    loss = forward(encoder, x, precision).float().square().mean()
    torch.autograd.backward(loss)


def main() -> None:
    """Print a table of views per second and ratios, and write it as CSV and JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.small_maps", description=__doc__)
    parser.add_argument("--batch", type=int, default=256, help="views in a batch")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=OUT / "small_maps.csv")
    options = parser.parse_args()
    x = torch.rand(options.batch, 3, 28, 28)
    rows = []
    print(f"{torch.get_num_threads()} thread(s), batch {options.batch}, 28 px, ResNet-18, views/s")
    print("".join(f"{head:>10}" for head in ("stem", "precision", "ours", "nn.Conv2d", "ratio")))
    for stem, precision in product(("strided", "imagenet", "small"), ("bf16", "fp32")):
        ours = build_encoder("resnet18", stem, 3, seed=0)
        theirs = plain(build_encoder("resnet18", stem, 3, seed=0))
        pair = {
            name: encoder.to(memory_format=torch.channels_last)
            for name, encoder in (("ours", ours), ("nn.Conv2d", theirs))
        }
        times = take_turns(
            {name: partial(step, encoder, x, precision) for name, encoder in pair.items()},
            options.repeats,
        )
        a, b = (options.batch / statistics.median(times[name]) for name in pair)
        row = {"stem": stem, "precision": precision, "ours": round(a), "nn.Conv2d": round(b)}
        rows.append({**row, "ratio": round(a / b, 2)})
        print("".join(f"{cell:>10}" for cell in rows[-1].values()))
    write_rows(options.out, rows, settings=vars(options))


if __name__ == "__main__":
    main()
