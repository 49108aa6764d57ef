"""Time and memory: what a known allocation and known epochs come to."""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import pytest
import torch

from lib.training.cost import Cost, PeakMemory, resident_bytes

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
HISTORY = [{"seconds": 9.0}, {"seconds": 2.0}, {"seconds": 4.0}]


def test_cost_takes_the_median_epoch() -> None:
    cost = Cost.of(HISTORY, 500, None)
    assert cost.seconds == 15
    assert cost.epoch_seconds == 4
    assert cost.images_per_second == 125
    assert cost.seconds_per_thousand == 8
    assert Cost(**json.loads(json.dumps(cost.as_dict()))) == cost


@linux
def test_peak_memory_is_that_of_what_is_held_at_one_time() -> None:
    with PeakMemory("cpu") as one:
        for _ in range(4):
            block = np.ones(64 * 2**20, np.uint8)
            time.sleep(0.05)
            del block
            time.sleep(0.05)
    assert one.peak_mb is not None
    # Some kernels count a block for a moment after it was given back; all four would be 256.
    assert 60 < one.peak_mb < 160
    with PeakMemory("cpu") as other:
        time.sleep(0.02)
    assert other.peak_mb is not None
    assert 0 <= other.peak_mb < 20
    assert other.thread is not None
    assert not other.thread.is_alive()


@linux
def test_what_is_held_before_does_not_count() -> None:
    held = np.ones(64 * 2**20, np.uint8)
    with PeakMemory("cpu") as memory:
        time.sleep(0.02)
    assert memory.peak_mb is not None
    assert memory.peak_mb < 20
    assert (resident_bytes() or 0) > held.nbytes


@linux
def test_an_error_ends_the_thread() -> None:
    memory = PeakMemory("cpu")
    with pytest.raises(RuntimeError, match="stop"), memory:
        raise RuntimeError("stop")
    assert memory.thread is not None
    assert not memory.thread.is_alive()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_peak_memory_on_a_gpu() -> None:
    with PeakMemory("cuda") as memory:
        x = torch.ones(2**24, device="cuda")
        del x
    assert memory.peak_mb == 64
