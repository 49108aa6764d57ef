"""The official sets: against the medmnist package, and a file of our own behind a local server."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import io
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lib.data import DataError, check_dataset, describe_dataset, load_dataset, medmnist
from lib.data.embedded import EMBEDDED


def make_npz(size: int) -> bytes:
    rng = np.random.default_rng(size)
    content = {}
    for split, n in (("train", 12), ("val", 4), ("test", 6)):
        content[f"{split}_images"] = rng.integers(0, 256, (n, size, size), np.uint8)
        content[f"{split}_labels"] = (np.arange(n) % 2).astype(np.uint8)[:, None]
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **content)
    return buffer.getvalue()


@pytest.fixture
def small_set(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """BreastMNIST as described by INFO, but with small files of ours; returns the files."""
    files = {"breastmnist.npz": make_npz(28), "breastmnist_64.npz": make_npz(64)}
    facts = dict(medmnist.info()["breastmnist"])
    facts["n_samples"] = {"train": 12, "val": 4, "test": 6}
    facts["MD5"] = hashlib.md5(files["breastmnist.npz"]).hexdigest()
    facts["MD5_64"] = hashlib.md5(files["breastmnist_64.npz"]).hexdigest()
    known = {**medmnist.info(), "breastmnist": facts}
    monkeypatch.setattr(medmnist, "info", lambda: known)
    return files


def package_info() -> Any:
    """INFO as the package has it, from that file alone: the package would import torch and more."""
    spec = importlib.util.find_spec("medmnist")
    assert spec is not None and spec.origin is not None
    return runpy.run_path(str(Path(spec.origin).with_name("info.py")))["INFO"]


def test_naming_the_sets_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    medmnist.info.cache_clear()
    assert "breastmnist" in medmnist.names()
    assert not list(tmp_path.iterdir())


def test_the_twelve_sets_are_those_of_the_package() -> None:
    info_of = package_info()
    two_dimensional = [name for name in info_of if not name.endswith("3d")]
    assert list(medmnist.names()) == two_dimensional
    assert len(two_dimensional) == 12
    for name in two_dimensional:
        info = describe_dataset(name, 64)
        assert list(info.classes) == [
            info_of[name]["label"][str(k)] for k in range(len(info.classes))
        ]
        assert info.channels == info_of[name]["n_channels"]
        assert dict(info.counts) == info_of[name]["n_samples"]
        assert info.licence == info_of[name]["license"]
        for size, suffix in ((28, ""), (64, "_64"), (128, "_128"), (224, "_224")):
            path, md5, native = medmnist.native_file(name, size, Path("/nowhere"))
            assert (path.name, native) == (f"{name}{suffix}.npz", size)
            assert md5 == info_of[name][f"MD5{suffix}"]


def test_tasks_have_our_names() -> None:
    expected = {"chestmnist": "multi-label", "retinamnist": "ordinal", "breastmnist": "binary"}
    assert {n: medmnist.task(n) for n in expected} == expected
    assert medmnist.task("bloodmnist") == "multi-class"


def test_a_missing_file_is_downloaded_from_the_mirror(
    server: Any, small_set: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server.files |= small_set
    monkeypatch.setenv("MEDMNIST_URL", server.url + "/")
    assert check_dataset("breastmnist", 28) == []
    before = describe_dataset("breastmnist")
    data = load_dataset("breastmnist", progress=False)
    assert data.fingerprint == before.fingerprint == describe_dataset("breastmnist").fingerprint
    assert (tmp_path / "root" / "breastmnist.npz").read_bytes() == small_set["breastmnist.npz"]
    with np.load(io.BytesIO(small_set["breastmnist.npz"])) as official:
        for split, part in data.splits.items():
            assert np.array_equal(part.images[..., 0], official[f"{split}_images"])
            assert np.array_equal(part.y, official[f"{split}_labels"][:, 0])
    load_dataset("breastmnist", progress=False)
    assert len(server.log) == 1


def test_offline_is_one_clear_line(
    small_set: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MEDMNIST_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("lib.data.download.time.sleep", lambda _: None)
    with pytest.raises(DataError, match="dataset: phantom") as error:
        load_dataset("breastmnist", 64, progress=False)
    assert str(tmp_path / "root" / "breastmnist_64.npz") in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_with_another_md5_is_refused(small_set: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "root" / "breastmnist.npz"
    path.parent.mkdir()
    path.write_bytes(make_npz(64))
    with pytest.raises(DataError, match="its MD5 is"):
        load_dataset("breastmnist")
    assert path.read_bytes() == make_npz(64)


def test_other_sizes_come_from_the_nearest_larger_file(
    small_set: dict[str, bytes], tmp_path: Path
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    for name, body in small_set.items():
        (root / name).write_bytes(body)
    assert medmnist.native_file("breastmnist", 20, root)[2] == 28
    assert medmnist.native_file("breastmnist", 32, root)[2] == 64
    assert medmnist.native_file("breastmnist", 96, root)[2] == 128
    assert medmnist.native_file("breastmnist", 300, root)[2] == 224
    data = load_dataset("breastmnist", 32)
    with np.load(io.BytesIO(small_set["breastmnist_64.npz"])) as official:
        means = official["test_images"].reshape(6, 32, 2, 32, 2).mean((2, 4))
    assert np.abs(data.splits["test"].images[..., 0] - means).max() <= 0.51
    assert any("64 px file" in note for note in data.notes)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("bloodmist", "did you mean bloodmnist"),
        ("BloodMNIST", "did you mean bloodmnist"),
        ("bloodmnist_64", "size: 64"),
        ("organmnist3d", "3D"),
        ("zzz", "known are"),
        ("cvs:labels.csv", "csv:PATH"),
    ],
)
def test_unknown_names_get_a_suggestion(name: str, words: str) -> None:
    [mistake] = check_dataset(name, 28)
    assert words in mistake
    with pytest.raises(DataError):
        load_dataset(name)


@pytest.mark.parametrize("size", [0, -28, 28.0, "28", True, 4096])
def test_impossible_sizes_are_refused(size: Any) -> None:
    assert any("size" in m for m in check_dataset("breastmnist", size))
    assert any("size" in m for m in check_dataset("phantom", size))


def test_the_phantom_is_described_as_it_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    few = dataclasses.replace(EMBEDDED["phantom"], counts=(20, 10, 10))
    monkeypatch.setitem(EMBEDDED, "phantom", few)
    data, info = load_dataset("phantom"), describe_dataset("phantom")
    assert (data.task, data.classes, data.channels) == (info.task, info.classes, info.channels)
    assert {s: len(p) for s, p in data.splits.items()} == dict(info.counts)
    assert data.fingerprint == info.fingerprint != describe_dataset("phantom", 32).fingerprint
    assert data.synthetic and info.synthetic


def test_the_real_files_load(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = shared_data / "medmnist"
    for name in ("breastmnist", "retinamnist", "pneumoniamnist"):
        data, info = load_dataset(name, data_root=root), describe_dataset(name, data_root=root)
        assert {s: len(p) for s, p in data.splits.items()} == dict(info.counts)
        assert data.fingerprint == info.fingerprint
        assert data.licence == "CC BY 4.0"
        with np.load(root / f"{name}.npz") as official:
            images = data.splits["train"].images
            assert np.array_equal(images.reshape(official["train_images"].shape),
                                  official["train_images"])  # fmt: skip
