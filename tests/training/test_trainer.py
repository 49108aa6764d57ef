"""What the Trainer does to the process around it."""

from __future__ import annotations

import pytest
import torch

from lib.training.trainer import one_thread


@pytest.mark.parametrize("alone", [True, False])
def test_beside_a_gpu_the_host_works_with_one_thread(alone: bool) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with one_thread(alone):
            assert torch.get_num_threads() == (1 if alone else 2)
        assert torch.get_num_threads() == 2
        with pytest.raises(RuntimeError, match="broken"), one_thread(alone):
            raise RuntimeError("broken")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
