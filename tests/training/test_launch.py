"""Several processes for one training: what they are given, what they leave, how they end."""

from __future__ import annotations

import csv
import io
import os
import pickle
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

# Only what every process of a test needs: each imports this module.
from lib.checks import ParameterError
from lib.training.launch import JOB, Pickler, launch, meeting_place

if TYPE_CHECKING:
    from lib.training.pretrain import Work

TINY = {
    "dataset": "phantom", "device": "cpu", "precision": "fp32", "cap_per_class": 5, "epochs": 2,
    "batch_size": 13, "knn_every": 1, "pictures": False, "augment": "microscopy",
}  # fmt: skip


def handed_over(value: Any, folder: Path) -> Any:
    file = io.BytesIO()
    Pickler(file, folder).dump(value)
    return pickle.loads(file.getvalue()), len(file.getvalue())


def test_large_arrays_are_mapped_and_not_copied(tmp_path: Path) -> None:
    array = np.arange(30 * 28 * 28 * 3).astype(np.uint8).reshape(30, 28, 28, 3)
    again, size = handed_over({"images": array, "y": np.arange(30)}, tmp_path)
    assert isinstance(again["images"], np.memmap)
    assert size < 2000
    assert not again["images"].flags.writeable
    np.testing.assert_array_equal(again["images"], array)
    np.testing.assert_array_equal(again["y"], np.arange(30))
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("rows", [slice(None), slice(3, 38), slice(0, 40, 2)])
def test_what_is_mapped_stays_where_it_is(tmp_path: Path, rows: slice) -> None:
    path = tmp_path / "images.npy"
    array = np.random.default_rng(0).integers(0, 255, (40, 60, 60, 3), np.uint8)
    np.save(path, array)
    mapped = np.load(path, mmap_mode="r")[rows]
    again, size = handed_over(mapped, tmp_path)
    np.testing.assert_array_equal(again, array[rows])
    assert size < 1000
    # Rows with gaps between them are no map of a file.
    assert len(list(tmp_path.iterdir())) == (1 if rows.step is None else 2)
    from lib.data.pool import pool_images

    pooled, size = handed_over(pool_images([mapped, mapped]), tmp_path)
    assert size < 2000
    np.testing.assert_array_equal(pooled[:], np.concatenate([array[rows]] * 2))


def fail_second(folder: Path) -> None:
    if os.environ["LOCAL_RANK"] == "1":
        raise ValueError("no such luck")
    (folder / "waiting").touch()
    time.sleep(600)


def test_a_process_that_fails_ends_the_others_and_says_why(tmp_path: Path) -> None:
    from lib.training.ranks import Crew

    began = time.monotonic()
    with pytest.raises(
        RuntimeError, match=r"rank-1 failed: ValueError: no such luck \(see .*rank-1"
    ):
        launch(partial(fail_second, tmp_path), Crew(2), tmp_path)
    assert time.monotonic() - began < 500
    assert not list(tmp_path.glob("ranks-*"))
    assert "Traceback" in (tmp_path / "rank-1.log").read_text()


def test_machines_must_know_where_to_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    from lib.training.ranks import Crew

    for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK"):
        monkeypatch.delenv(name, raising=False)
    here = meeting_place(Crew(2))
    assert (here["MASTER_ADDR"], here["NODE_RANK"]) == ("127.0.0.1", "0")
    monkeypatch.setenv("NODE_RANK", "1")
    with pytest.raises(ParameterError, match="num_nodes: 2 needs MASTER_ADDR, MASTER_PORT in the"):
        meeting_place(Crew(1, 2))
    monkeypatch.setenv("MASTER_ADDR", "first")
    monkeypatch.setenv("MASTER_PORT", "1234")
    place = meeting_place(Crew(4, 2))
    assert place == {"MASTER_ADDR": "first", "MASTER_PORT": "1234", "NODE_RANK": "1"}
    monkeypatch.setenv("LOCAL_RANK", "2")
    assert (Crew(4, 2).rank, Crew(4, 2).size, Crew(4, 2).device("cuda")) == (6, 8, "cuda:2")
    assert (Crew().rank, Crew().device("cuda"), Crew(2).device("cpu")) == (0, "cuda", "cpu")


def with_checkpoints(work: Work) -> dict[str, Any]:
    """`train_here`, with a checkpoint after each epoch, which is two stretches of batches."""
    import lib.training.steps
    import lib.training.trainer
    from lib.training.pretrain import train_here

    lib.training.steps.STRETCH = 2
    lib.training.trainer.CHECKPOINT_SECONDS = 0.0
    return train_here(work)


def test_a_pretraining_by_two_processes_leaves_the_files_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lib.models.weights import load_encoder
    from tests.executed import execute_here

    monkeypatch.setattr("lib.training.steps.STRETCH", 2)
    monkeypatch.setattr("lib.training.trainer.CHECKPOINT_SECONDS", 0.0)
    history = {}
    for devices in (1, 2):
        if devices == 2:
            monkeypatch.setattr("lib.training.pretrain.train_here", with_checkpoints)
        out = tmp_path / str(devices)
        metrics = execute_here("01_pretrain", out, tmp_path, devices=devices, **TINY)
        history[devices] = list(csv.DictReader((out / "history.csv").open()))
        assert [row["epoch"] for row in history[devices]] == ["1", "2"]
        assert load_encoder(out)[0].feature_dim == 512
        assert (out / "checkpoints" / "last.ckpt").exists()
        assert not list((out / "checkpoints").glob("ranks-*"))
        assert (out / "progress").read_text() == "epoch 2/2\n"
        assert len(list((out / "logs" / "tensorboard").glob("events*"))) == 1
        assert metrics["run"].startswith("pretrain-phantom")
    for one, two in zip(history[1], history[2], strict=True):
        assert float(two["loss"]) == pytest.approx(float(one["loss"]), rel=1e-2)
        assert float(two["lr"]) == float(one["lr"])
    # Before the first step both know the same; later rounding grows with every step.
    first = [float(history[n][0]["loss"]) for n in (1, 2)]
    assert first[0] == pytest.approx(first[1], rel=1e-3)
    assert JOB not in {path.name for path in tmp_path.rglob("*")}
