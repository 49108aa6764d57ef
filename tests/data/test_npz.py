"""npz: files, in memory and streamed, good and malformed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from lib.data import DataError, check_dataset, describe_dataset, load_dataset
from lib.data.decode import resample


def arrays(size: int = 28, channels: int | None = None, n: int = 30) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    shape = (size, size) if channels is None else (size, size, channels)
    content: dict[str, Any] = {}
    for split, count in (("train", n), ("val", 6), ("test", 9)):
        content[f"{split}_images"] = rng.integers(0, 256, (count, *shape), np.uint8)
        content[f"{split}_labels"] = (np.arange(count) % 3).astype(np.uint8)[:, None]
    return content


def save(path: Path, content: dict[str, Any], compressed: bool = True) -> str:
    (np.savez_compressed if compressed else np.savez)(path, **content)
    return f"npz:{path}"


def test_grey_images_get_a_channel_and_labels_one_axis(tmp_path: Path) -> None:
    content = arrays()
    data = load_dataset(save(tmp_path / "a.npz", content))
    assert (data.task, data.classes, data.channels) == ("multi-class", ("0", "1", "2"), 1)
    for split, part in data.splits.items():
        assert np.array_equal(part.images[..., 0], content[f"{split}_images"])
        assert part.y is not None
        assert part.y.dtype == np.int64
        assert np.array_equal(part.y, content[f"{split}_labels"][:, 0])
        assert part.groups is None
        assert len(part.ids) == len(part)


@pytest.mark.parametrize("compressed", [True, False])
def test_large_members_are_streamed_and_mapped(
    tmp_path: Path, compressed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = arrays(channels=3)
    name = save(tmp_path / "a.npz", content, compressed)
    read: list[str] = []
    from lib.data import archive

    original = archive.read_array
    monkeypatch.setattr(archive, "read_array", lambda p, k: read.append(k) or original(p, k))
    data = load_dataset(name, in_memory_limit=20_000)
    for split, part in data.splits.items():
        mapped = content[f"{split}_images"].nbytes > 20_000
        assert isinstance(part.images, np.memmap) == mapped
        assert (f"{split}_images" in read) != mapped  # what is mapped was never read whole
        assert np.array_equal(part.images, content[f"{split}_images"])
    monkeypatch.setattr(archive, "_stream", lambda *_: pytest.fail("streamed again"))
    again = load_dataset(name, in_memory_limit=20_000)
    assert np.array_equal(again.splits["train"].images, content["train_images"])


def test_streaming_holds_no_more_than_a_block(tmp_path: Path) -> None:
    import subprocess
    import sys

    path = tmp_path / "big.npz"
    images = np.zeros((4000, 224, 224), np.uint8)  # 200 MB
    labels = np.arange(4000) % 2
    content = {f"{s}_labels": labels[:k] for s, k in (("train", 4000), ("test", 2))}
    save(path, {"train_images": images, "test_images": images[:2], "val_images": images[:2],
                "val_labels": labels[:2], **content})  # fmt: skip
    del images
    code = (
        "import resource, sys; from lib.data import load_dataset\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "import numpy, cv2, filelock, zipfile; before = peak()\n"
        f"data = load_dataset('npz:{path}', 224, in_memory_limit=2**20)\n"
        "assert len(data.splits['train']) == 4000\n"
        "print(peak() - before)"
    )
    root = Path(__file__).parents[2]
    out = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=root
    )
    assert int(out.stdout) < 100_000  # kB; the array is 200,000


def test_another_size_is_resampled(tmp_path: Path) -> None:
    content = arrays(64, 3)
    name = save(tmp_path / "a.npz", content)
    small = load_dataset(name, 32)
    means = content["train_images"].reshape(30, 32, 2, 32, 2, 3).mean((2, 4))
    assert np.abs(small.splits["train"].images - means).max() <= 0.51
    assert any("resampled from 64" in note for note in small.notes)
    mapped = load_dataset(name, 32, in_memory_limit=20_000)
    assert isinstance(mapped.splits["train"].images, np.memmap)
    assert np.array_equal(mapped.splits["train"].images, small.splits["train"].images)
    assert mapped.fingerprint == small.fingerprint != load_dataset(name, 64).fingerprint


def test_resampling_is_opencvs() -> None:
    image = np.random.default_rng(1).integers(0, 256, (1, 50, 50, 1), np.uint8)
    expected = cv2.resize(image[0, ..., 0], (28, 28), interpolation=cv2.INTER_AREA)
    assert np.array_equal(resample(image, 28)[0, ..., 0], expected)
    assert resample(image, 50) is image
    flat = np.full((2, 20, 20, 3), 77, np.uint8)
    assert (resample(flat, 33) == 77).all()


def test_a_missing_val_is_carved_and_said(tmp_path: Path) -> None:
    content = arrays(n=96)
    del content["val_images"], content["val_labels"]
    content["train_groups"] = np.arange(96) // 2
    content["test_groups"] = np.arange(100, 109)
    content["train_labels"] = np.arange(96) // 2 % 3
    name = save(tmp_path / "a.npz", content)
    for limit in (2**30, 1000):
        data = load_dataset(name, split_seed=1, in_memory_limit=limit)
        train, val = data.splits["train"], data.splits["val"]
        assert (len(train), len(val), len(data.splits["test"])) == (84, 12, 9)
        assert train.groups is not None and val.groups is not None
        assert not set(train.groups) & set(val.groups)
        rows = np.array([int(i.removeprefix("train-")) for i in val.ids])
        assert np.array_equal(val.images[..., 0], content["train_images"][rows])
    assert any("eighth of train" in note for note in data.notes)
    other = load_dataset(name, split_seed=2)
    assert other.fingerprint != data.fingerprint
    assert set(other.splits["val"].ids) != set(val.ids)
    assert dict(describe_dataset(name, split_seed=1).counts) == {"train": 84, "val": 12, "test": 9}


def test_tasks_are_inferred_or_given(tmp_path: Path) -> None:
    content = arrays()
    for split, n in (("train", 30), ("val", 6), ("test", 9)):
        content[f"{split}_labels"] = np.arange(n) % 2
    assert load_dataset(save(tmp_path / "b.npz", content)).task == "binary"
    graded = arrays() | {"task": np.array("ordinal"), "classes": np.array(["no", "some", "much"])}
    data = load_dataset(save(tmp_path / "o.npz", graded))
    assert (data.task, data.classes) == ("ordinal", ("no", "some", "much"))
    for split, n in (("train", 30), ("val", 6), ("test", 9)):
        content[f"{split}_labels"] = np.eye(4)[np.arange(n) % 4]
    data = load_dataset(save(tmp_path / "m.npz", content))
    assert (data.task, len(data.classes)) == ("multi-label", 4)
    y = data.splits["test"].y
    assert y is not None
    assert (y.dtype, y.shape) == (np.uint8, (9, 4))


def test_without_labels_it_is_for_pretraining(tmp_path: Path) -> None:
    content = {k: v for k, v in arrays().items() if "images" in k}
    data = load_dataset(save(tmp_path / "a.npz", content))
    assert data.splits["train"].y is None
    assert data.classes == ()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"train_images": None}, ["has no train_images"]),
        ({"test_images": None}, ["has no test_images"]),
        ({"val_labels": None}, ["no val_labels"]),
        ({"train_images": np.zeros((30, 28, 28))}, ["train_images", "float64", "uint8"]),
        ({"train_images": np.zeros((30, 28, 28, 2), np.uint8)}, ["train_images", "28 × 28 × 2"]),
        ({"test_images": np.zeros((9, 32, 32), np.uint8)}, ["differ"]),
        ({"test_images": np.zeros((0, 28, 28), np.uint8)}, ["test_images", "empty"]),
        ({"train_labels": np.zeros(29, int)}, ["train_labels", "30 images"]),
        ({"train_labels": np.full(30, 0.5)}, ["train_labels", "whole numbers"]),
        ({"train_labels": np.full(30, -1)}, ["train_labels", "-1"]),
        ({"train_labels": np.array(["a"] * 30)}, ["train_labels", "whole numbers"]),
        ({"train_labels": np.full((30, 2), 3)}, ["train_labels", "2 columns"]),
        ({"train_labels": np.full(30, 7)}, ["class 3 never occurs"]),
        ({"classes": np.array(["a", "b"])}, ["classes", "2 names"]),
        ({"task": np.array("regression")}, ["task", "regression"]),
        ({"task": np.array("multi-label")}, ["task", "multi-label"]),
        ({"train_ids": np.arange(3)}, ["train_ids", "30 images"]),
        ({"train_groups": np.arange(30), "test_groups": np.arange(50, 59)}, ["but no val_groups"]),
        ({"val_groups": np.arange(6), "test_groups": np.arange(50, 59)}, ["but no train_groups"]),
        ({"test_labels": np.array([None] * 9)}, ["test_labels"]),
    ],
)  # fmt: skip
def test_malformed_files_are_named_with_their_key(
    tmp_path: Path, change: dict[str, Any], words: list[str]
) -> None:
    content = {k: v for k, v in (arrays() | change).items() if v is not None}
    name = save(tmp_path / "bad.npz", content)
    with pytest.raises(DataError) as error:
        load_dataset(name)
    for word in ["bad.npz", *words]:
        assert word in str(error.value)
    assert "\n" not in str(error.value)
    assert check_dataset(name, 28) == [str(error.value)]


@pytest.mark.parametrize("how", ["cut", "flipped", "text", "empty"])
def test_damaged_archives_are_refused(tmp_path: Path, how: str) -> None:
    path = tmp_path / "bad.npz"
    name = save(path, arrays(), compressed=False)
    whole = bytearray(path.read_bytes())
    if how == "flipped":
        whole[5000] ^= 255
    path.write_bytes({"cut": whole[:9000], "flipped": whole, "text": b"hello", "empty": b""}[how])
    for limit in (2**30, 1000):
        with pytest.raises(DataError, match=r"bad\.npz"):
            load_dataset(name, in_memory_limit=limit)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    [mistake] = check_dataset(f"npz:{tmp_path}/none.npz", 28)
    assert "no such file" in mistake
