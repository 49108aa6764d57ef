"""Numbers on their way to a GPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from lib.moving import send, sent_once


def test_on_the_cpu_nothing_is_copied() -> None:
    value = torch.arange(3)
    assert send(value, torch.device("cpu")) is value


def test_a_gpu_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes there is pinned first: from ordinary memory `non_blocking` would still wait."""
    pinned, sent = torch.arange(3), []

    def to(self: Tensor, device: torch.device, **options: Any) -> Tensor:
        sent.append((self, device, options))
        return self

    monkeypatch.setattr(Tensor, "pin_memory", lambda value: pinned)
    monkeypatch.setattr(Tensor, "to", to)
    send(torch.arange(3), torch.device("cuda"))
    [(value, device, options)] = sent
    assert value is pinned
    assert device == torch.device("cuda")
    assert options == {"non_blocking": True}


def test_sent_once_is_moved_once_for_a_device_and_a_type() -> None:
    like = sent_once(torch.tensor([1.0, 2.0]))
    wide = torch.zeros(3, dtype=torch.float64)
    assert like(wide) is like(torch.ones(1, dtype=torch.float64))
    assert like(wide).dtype == torch.float64
    assert like(torch.zeros(1)).dtype == torch.float32
    assert like(wide).tolist() == [1.0, 2.0]
