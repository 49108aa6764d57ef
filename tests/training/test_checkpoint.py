"""Checkpoints: complete or absent, and a damaged one is not gone on from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from lib.training import checkpoint
from lib.training.checkpoint import CompleteCheckpointIO, seconds_between, usable


def test_a_checkpoint_comes_back(tmp_path: Path) -> None:
    path, store = tmp_path / "checkpoints" / "last.ckpt", CompleteCheckpointIO()
    assert usable(path) is None
    content = {"state": torch.arange(3), "epoch": 4}
    store.save_checkpoint(content, path)
    assert usable(path) == str(path)
    found = store.load_checkpoint(path, weights_only=True)
    assert found["epoch"] == 4
    assert found["state"].tolist() == [0, 1, 2]
    assert [p.name for p in path.parent.iterdir()] == ["last.ckpt"]


def test_a_save_that_is_broken_off_leaves_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, store = tmp_path / "last.ckpt", CompleteCheckpointIO()
    store.save_checkpoint({"epoch": 1}, path)

    def half(content: Any, file: Path) -> None:
        Path(file).write_bytes(b"PK half a checkpoint")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.torch, "save", half)
    with pytest.raises(OSError, match="No space left"):
        store.save_checkpoint({"epoch": 2}, path)
    assert store.load_checkpoint(path, weights_only=True) == {"epoch": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]


def test_a_damaged_checkpoint_is_not_gone_on_from(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    CompleteCheckpointIO().save_checkpoint({"w": torch.zeros(5000)}, path)
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", whole[:-30]):
        path.write_bytes(damaged)
        assert usable(path) is None
    path.write_bytes(whole)
    assert usable(path) is not None


def test_how_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CONTRASTIVE_CHECKPOINT_SECONDS", raising=False)
    assert seconds_between() == 30.0
    monkeypatch.setenv("CONTRASTIVE_CHECKPOINT_SECONDS", "0.5")
    assert seconds_between() == 0.5
