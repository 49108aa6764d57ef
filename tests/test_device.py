"""What a run computes on, and in which number format where nothing was timed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from lib import device
from lib.checks import ParameterError
from lib.device import check_devices, choose_device, choose_precision
from lib.models.small_maps import has_amx


def test_choose_device(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_device({"device": "cpu"}) == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device({"device": "auto"}) == "cpu"
    with pytest.raises(ParameterError, match="no CUDA device"):
        choose_device({"device": "cuda:1"})
    for wrong in ("gpu", "", "cpu:x"):
        with pytest.raises(ParameterError, match="expected auto, cpu or cuda:N"):
            choose_device({"device": wrong})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device({"device": "auto"}) == "cuda"
    assert choose_device({"device": "cuda:1"}) == "cuda:1"


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"devices": 3}, "devices: 3 asked for, but this machine has 2 CPU core"),
        ({"device": "cuda", "devices": 5}, "devices: 5 asked for, but this machine has 4 CUDA"),
        ({"device": "cuda:1", "devices": 2}, "devices: 2 asked for, but device names one"),
        ({"devices": 2, "num_nodes": 2, "batch_size": 3}, r"batch_size: 3 image\(s\) cannot be"),
    ],
)
def test_devices_that_cannot_be_had(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], line: str
) -> None:
    monkeypatch.setattr(device, "usable_cores", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    params = {"device": "cpu", "devices": 1, "num_nodes": 1, "batch_size": 4}
    check_devices(params)
    check_devices({**params, "devices": 2, "num_nodes": 2})
    check_devices({**params, "devices": 4, "device": "cuda"})
    with pytest.raises(ParameterError, match=line):
        check_devices({**params, **given})


@pytest.fixture(autouse=True)
def forget_the_cpu() -> Iterator[None]:
    """Leave nothing behind of a CPU that is not this machine's."""
    yield
    has_amx.cache_clear()


def test_choose_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    assert choose_precision("cuda") == "fp32"
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    assert choose_precision("cuda:0") == "bf16"
    flags = {"flags: fma avx512 amx_bf16 amx_tile": "bf16", "flags: avx2": "fp32"}
    flags |= {"flags: avx512f avx512_bf16": "bf16", "flags: avx512f": "fp32"}
    for text, expected in flags.items():
        monkeypatch.setattr(Path, "read_text", lambda *_a, t=text, **_k: t)
        has_amx.cache_clear()
        assert choose_precision("cpu") == expected

    def unreadable(*_: object, **__: object) -> str:
        raise FileNotFoundError("/proc/cpuinfo")

    monkeypatch.setattr(Path, "read_text", unreadable)
    has_amx.cache_clear()
    assert choose_precision("cpu") == "fp32"
