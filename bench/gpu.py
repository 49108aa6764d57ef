"""What a GPU makes of pretraining: targets, share of peak, and the time of each operation.

`python -m bench.gpu --rates bench/out/gpu_pretraining.json` (`bench/gpu.sh` calls it). From the
views per second that `bench.pretraining` measured there:

- the targets of one H100, and the time for 48 million views (2000 epochs of BloodMNIST), which is
  extrapolated from the measured steady state, not run;
- the share of peak: floating-point operations of encoder and projection head, forward and backward,
  counted by `torch.utils.flop_counter` on the same network with plain convolutions, times views per
  second, over the matrix product's speed measured here in bf16 and over the data sheet's.

Then `lib.training.pretrain.pretrain` runs a few epochs, of which a late one is profiled with
`torch.profiler`: time by operation, and how many launches a step takes. `--device cpu` tries the
whole of it without a GPU; goals are then not judged.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

import lib.training.pretrain
from bench.augment import smooth_images
from bench.measuring import OUT, Goal, say_goals, take_turns, write_rows
from bench.pretraining import WIDTH, Cell, bench_data, bench_recipe
from bench.small_maps import plain
from lib.device import choose_precision
from lib.models.encoder import ProjectionHead, build_encoder
from lib.training.contrastive import ContrastiveModule

# Views per second on one H100 at 28 px, by stem; seconds for VIEWS; times lightly.
TARGETS, VIEWS, VIEWS_SECONDS, LIGHTLY = {"imagenet": 3e5, "small": 6e4}, 48e6, 300.0, 20.0
# Dense bf16 of NVIDIA's data sheets, TFLOP/s; the first name found in the device's counts.
DATA_SHEET = {"H100 PCIe": 756.0, "H100": 989.0, "H200": 989.0, "A100": 312.0}
PROFILED_EPOCH, TOP = 3, 25


def flops_per_view(stem: str, size: int) -> float:
    """Operations of a view's forward and backward pass, a multiplication and an addition as two."""
    encoder = plain(build_encoder("resnet18", stem, 3, seed=0)).to("meta").train()
    head = ProjectionHead(encoder.feature_dim, encoder.feature_dim, WIDTH).to("meta").train()
    views = 4
    counter = FlopCounterMode(display=False)
    with counter:
        x = torch.zeros(views, 3, size, size, device="meta")
        torch.autograd.backward(head(encoder(x)).square().mean())
    return counter.get_total_flops() / views


def matrix_speed(device: str, n: int) -> float:
    """TFLOP/s of a product of two bf16 [n, n], the best of some turns."""
    a, b = (torch.randn(n, n, device=device, dtype=torch.bfloat16) for _ in range(2))

    def multiply() -> None:
        a @ b
        if device != "cpu":
            torch.cuda.synchronize()

    seconds = min(take_turns({"product": multiply}, 5, turn=0.1)["product"])
    return 2 * n**3 / seconds / 1e12


def data_sheet() -> float | None:
    """Peak of this GPU in bf16 by its data sheet, TFLOP/s; None where it is not listed."""
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    return next((peak for known, peak in DATA_SHEET.items() if known in name), None)


class Profiled(ContrastiveModule):
    """Has one epoch profiled, from its beginning to that of the next."""

    profiler: profile | None = None
    steps = 0

    def on_train_epoch_start(self) -> None:
        """Start or stop the profiler."""
        if Profiled.profiler is not None:
            if self.device.type == "cuda":
                torch.cuda.synchronize()
            if self.current_epoch == PROFILED_EPOCH:
                Profiled.profiler.start()
            if self.current_epoch == PROFILED_EPOCH + 1:
                Profiled.profiler.stop()
                Profiled.steps = len(self.batches(0))
        super().on_train_epoch_start()


def profile_epoch(cell: Cell) -> tuple[profile, int]:
    """A profiled epoch of pretraining as the notebooks run it, and its steps."""
    x = smooth_images(cell.images, cell.size)
    images = np.ascontiguousarray((x * 255).round().byte().permute(0, 2, 3, 1).numpy())
    activities = [ProfilerActivity.CPU]
    if cell.device != "cpu":
        activities.append(ProfilerActivity.CUDA)
    Profiled.profiler = profile(activities=activities)
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(lib.training.pretrain, "ContrastiveModule", Profiled),
    ):
        lib.training.pretrain.pretrain(
            bench_data(images, cell.size), bench_recipe(cell, PROFILED_EPOCH + 2), Path(folder),
            device=cell.device, precision=cell.precision,
        )  # fmt: skip
    return Profiled.profiler, Profiled.steps


def operations(events: Any, on_gpu: bool) -> list[dict[str, Any]]:
    """Operations by their own time, the longest first: of kernels on a GPU, else of the CPU's."""
    rows = []
    for event in events:
        if on_gpu != (event.device_type.name == "CUDA"):
            continue
        own = event.self_device_time_total if on_gpu else event.self_cpu_time_total
        rows.append({"operation": event.key[:100], "calls": event.count, "ms": own / 1000})
    total = sum(row["ms"] for row in rows) or 1.0
    for row in rows:
        row["share"] = round(row["ms"] / total, 4)
        row["ms"] = round(row["ms"], 3)
    return sorted(rows, key=lambda row: -row["ms"])


def launches(events: Any, steps: int) -> dict[str, float]:
    """Launches of kernels and graphs by the host, and waits for the device, for each step."""
    counts = {"kernel launches": 0, "graph launches": 0, "synchronisations": 0}
    for event in events:
        for word, name in (
            ("LaunchKernel", "kernel launches"),
            ("GraphLaunch", "graph launches"),
            ("Synchronize", "synchronisations"),
        ):
            if word in event.key:
                counts[name] += event.count
    return {name: round(count / max(steps, 1), 2) for name, count in counts.items()}


def best_rates(rows: Sequence[Mapping[str, Any]], who: str) -> dict[tuple[str, int], float]:
    """Views per second by stem and size: the best of what was measured."""
    rates: dict[tuple[str, int], float] = {}
    for row in rows:
        if row["contender"] == who and row["views_per_s"] is not None:
            key = row["stem"], row["size"]
            rates[key] = max(rates.get(key, 0.0), row["views_per_s"])
    return rates


def goals_of(rows: Sequence[Mapping[str, Any]], device: str) -> list[Goal]:
    """Targets for one H100, judged on a GPU only."""
    mine = best_rates(rows, "ours")
    on_gpu = device != "cpu"
    note = "" if on_gpu else "measured on a CPU: these are targets of one H100"
    goals = []
    for stem, target in TARGETS.items():
        rate = mine.get((stem, 28)) if on_gpu else None
        goals.append(Goal(f"one GPU, {stem} stem, 28 px", rate, target, "views/s", note=note))
    rate = mine.get(("imagenet", 28)) if on_gpu else None
    seconds = None if rate is None else VIEWS / rate
    what = f"one GPU, {VIEWS / 1e6:.0f} million views, 7×7 stem, 28 px, extrapolated"
    goals.append(Goal(what, seconds, VIEWS_SECONDS, "s", False, note))
    ratios = [
        (row["ours_is_faster_by"], row)
        for row in rows
        if row["contender"] == "lightly" and row["size"] == 28 and row["stem"] == "imagenet"
    ]
    known = [ratio for ratio, _ in ratios if ratio is not None]
    worst = min(known, default=None) if on_gpu else None
    missing = next((row["note"] for ratio, row in ratios if ratio is None), note)
    what = "one GPU, ours/lightly, 7×7 stem, 28 px, the worst measured"
    goals.append(Goal(what, worst, LIGHTLY, note="" if worst is not None else missing or note))
    return goals


def main(arguments: list[str] | None = None) -> int:
    """Compute, profile, print, write CSV and JSON and the profiles as text."""
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=__doc__)
    parser.add_argument("--rates", type=Path, default=OUT / "gpu_pretraining.json")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--steps", type=int, default=16, help="steps of the profiled epoch")
    parser.add_argument("--stems", nargs="*", default=["imagenet", "small"], help="to profile")
    parser.add_argument("--quick", action="store_true", help="a small profile of one stem")
    parser.add_argument("--out", type=Path, default=OUT / "gpu.csv")
    options = parser.parse_args(arguments)
    warnings.filterwarnings("ignore", category=FutureWarning)
    if options.quick:
        options.batch, options.steps, options.stems = 16, 1, options.stems[:1]
    device, on_gpu = options.device, options.device != "cpu"
    rates: list[dict[str, Any]] = []
    if options.rates.exists():
        rates = json.loads(options.rates.read_text(encoding="utf-8"))["rows"]
    else:
        print(f"{options.rates}: not there; no rates, so no shares of peak")
    measured_peak = matrix_speed(device, 8192 if on_gpu else 512)
    peak = data_sheet() if on_gpu else None
    print(f"matrix product in bf16: {measured_peak:,.1f} TFLOP/s; data sheet: {peak or 'unknown'}")
    rows: list[dict[str, Any]] = []
    for (stem, size), rate in best_rates(rates, "ours").items():
        flops = flops_per_view(stem, size)
        speed = flops * rate / 1e12
        rows.append(
            {
                "stem": stem,
                "size": size,
                "views_per_s": rate,
                "gflop_per_view": round(flops / 1e9, 4),
                "tflop_per_s": round(speed, 3),
                "share_of_product": round(speed / measured_peak, 4),
                "share_of_data_sheet": None if peak is None else round(speed / peak, 4),
            }
        )
        print(
            f"{stem:<9}{size:>4} px{rate:>11,.0f} views/s  {flops / 1e9:.3f} GFLOP a view, "
            f"{speed:.2f} TFLOP/s, {speed / measured_peak:.1%} of the product's speed"
        )
    profiles: dict[str, Any] = {}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    for stem in options.stems:
        cell = Cell(
            "natural", 28, stem, options.batch, options.steps, 1, device,
            choose_precision(device), 1,
        )  # fmt: skip
        profiler, steps = profile_epoch(cell)
        events = profiler.key_averages()
        ops = operations(events, on_gpu)
        # The device's time says little where the host cannot keep it busy.
        host = operations(events, False)
        profiles[stem] = {"steps": steps, **launches(events, steps), "operations": ops[:TOP]}
        profiles[stem]["host"] = host[:TOP]
        orders = ["self_cuda_time_total", "self_cpu_time_total"][0 if on_gpu else 1 :]
        text = "\n".join(
            events.table(sort_by=key, row_limit=60, max_name_column_width=80) for key in orders
        )
        file = options.out.with_name(f"{options.out.stem}_profile_{stem}.txt")
        file.write_text(text, encoding="utf-8")
        print(f"profile of {steps} steps, {stem} stem (all of it in {file}):")
        for op in ops[:8]:
            print(f"  {op['share']:>6.1%}{op['ms']:>10.2f} ms{op['calls']:>7}×  {op['operation']}")
    goals = goals_of(rates, device)
    print(say_goals(goals))
    table = rows or [{"stem": None, "size": None, "views_per_s": None}]
    write_rows(
        options.out, table, goals, vars(options), profiles=profiles,
        product_tflop_per_s=round(measured_peak, 2), data_sheet_tflop_per_s=peak,
    )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
