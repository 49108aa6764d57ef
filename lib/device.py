"""What a run computes on, and in which number format."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.checks import ParameterError
from lib.params import as_list

if TYPE_CHECKING:
    from lib.models.trial import NumberFormat


def choose_device(params: Mapping[str, Any]) -> str:
    """The device to run on: `auto` takes the first CUDA device when there is one."""
    import torch

    asked = str(params.get("device", "cpu"))
    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if asked.startswith("cuda") and not torch.cuda.is_available():
        raise ParameterError(f"device: {asked} asked for, but this machine has no CUDA device")
    try:
        return str(torch.device(asked))
    except RuntimeError:
        raise ParameterError(f"device: expected auto, cpu or cuda:N, found {asked!r}") from None


def check_devices(params: Mapping[str, Any]) -> None:
    """ParameterError where `devices` cannot be had here, or a batch cannot be shared by them."""
    import torch

    devices, nodes = int(params.get("devices", 1)), int(params.get("num_nodes", 1))
    if devices * nodes == 1:
        return
    device = choose_device(params)
    if ":" in device:
        raise ParameterError(f"devices: {devices} asked for, but device names one; set it to cuda")
    if device == "cuda":
        there, what = torch.cuda.device_count(), "CUDA device(s)"
    else:
        there, what = usable_cores(), "CPU core(s)"
    if devices > there:
        raise ParameterError(f"devices: {devices} asked for, but this machine has {there} {what}")
    if params["batch_size"] < devices * nodes:
        raise ParameterError(
            f"batch_size: {params['batch_size']} image(s) cannot be shared by {devices * nodes} "
            "devices; it counts the images of all of them"
        )


def usable_cores() -> int:
    """CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def choose_numbers(params: Mapping[str, Any], device: str, folder: Path) -> NumberFormat:
    """The number format asked for, or for `auto` what a trial of the run's encoder found faster.

    folder: the run's; the choice is kept beside its checkpoint. Timed is the largest image size;
    another layout than channels_last is for notebooks that pretrain, the only ones that take it.
    """
    from lib.models.trial import NumberFormat, Workload, choose_format

    if params.get("precision", "fp32") != "auto":
        return NumberFormat(str(params.get("precision", "fp32")))
    import torch

    encoder, stem = str(params["encoder"]), str(params["stem"])
    if Path(params.get("init", "")).suffix == ".safetensors":
        from lib.models.weights import read_header

        header = read_header(params["init"])
        encoder, stem = header["architecture"], header["stem"]
    size = max(map(int, as_list(str(params.get("sizes") or params.get("size", 28)))))
    batch = max(1, int(params.get("batch_size", 256)) // int(params.get("devices", 1)))
    work = Workload(device, encoder, stem, size, batch, torch.get_num_threads())
    kept = folder / "checkpoints" / "format.json" if "epochs" in params else None
    chosen = choose_format(work, kept)
    return chosen if "method" in params else replace(chosen, layout="channels_last")


def choose_precision(device: str) -> str:
    """The number format that is likely to be faster, for plans; a run times it.

    See `lib.models.trial` for that. bf16 on GPUs and CPUs that multiply in it.
    """
    import torch

    if device.startswith("cuda"):
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    from lib.models.small_maps import cpu_flags

    return "bf16" if cpu_flags() & {"amx_bf16", "avx512_bf16", "bf16"} else "fp32"


def describe_device(device: str) -> str:
    """The device in words, for the record of a run."""
    import torch

    if device.startswith("cuda"):
        return str(torch.cuda.get_device_name(device))
    return f"CPU, {torch.get_num_threads()} thread(s)"
