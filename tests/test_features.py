"""python -m lib.features: the encoder's own features, beside what is known of each image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from lib.data import load_dataset
from lib.features import main
from lib.models.embed import embed_images
from lib.models.encoder import build_encoder
from lib.models.weights import load_encoder, save_encoder
from tests.tiny import write_npz

SIDE = 12


@pytest.fixture(autouse=True)
def private_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDMNIST_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("CONTRASTIVE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def encoder_file(tmp_path: Path) -> Path:
    header = {"size": SIDE, "dataset": "phantom", "parameters": {"run": "r1"}, "commit": "abc"}
    encoder = build_encoder("resnet18", "strided", 3, seed=0)
    save_encoder(tmp_path / "encoder.safetensors", encoder, header)
    return tmp_path / "encoder.safetensors"


def test_a_folder_to_parquet(
    encoder_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    folder, images = tmp_path / "mine", {}
    for i in range(7):
        images[f"{'ab'[i % 2]}/{i}.png"] = rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    for name, pixels in images.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / name)
    (folder / "b" / "broken.png").write_text("no image")
    out = tmp_path / "f.parquet"
    assert main([str(encoder_file), str(folder), "--out", str(out), "--batch-size", "3"]) == 0
    said = capsys.readouterr().out
    assert "7 images, 512 features" in said
    assert "left out: 1\n  b/broken.png: not an image" in said
    table = pq.read_table(out)
    names = sorted(images)
    assert table.column_names == ["image", "label", "split", *(f"f{d}" for d in range(512))]
    assert table["image"].to_pylist() == names
    assert table["label"].to_pylist() == [name[0] for name in names]
    assert set(table["split"].to_pylist()) == {""}
    encoder, _ = load_encoder(encoder_file)
    expected = embed_images(encoder, np.stack([images[name] for name in names]), "cpu")
    found = np.stack([table[f"f{d}"].to_numpy() for d in range(512)], axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert table.schema.metadata[b"encoder"] == b"r1"


def test_arrays_keep_their_splits(encoder_file: Path, tmp_path: Path) -> None:
    path, out = write_npz(tmp_path / "tiny.npz", "multi-label"), tmp_path / "f.npz"
    assert main([str(encoder_file), str(path), "--out", str(out)]) == 0
    data = load_dataset(f"npz:{path}", SIDE)
    with np.load(out, allow_pickle=False) as saved:
        assert saved["split"].tolist() == ["train"] * 48 + ["val"] * 24 + ["test"] * 32
        test = data.splits["test"]
        assert test.y is not None
        words = ["|".join(c for c, k in zip(data.classes, y, strict=True) if k) for y in test.y]
        assert saved["label"][-32:].tolist() == words
        encoder, _ = load_encoder(encoder_file)
        expected = embed_images(encoder, test.images, "cpu")
        np.testing.assert_allclose(saved["features"][-32:], expected, rtol=1e-4, atol=1e-5)
        assert str(saved["about_encoder"]) == "r1"


def test_images_without_a_label_are_embedded_too(encoder_file: Path, tmp_path: Path) -> None:
    path, out = write_npz(tmp_path / "tiny.npz", "binary", unlabelled=5), tmp_path / "f.npz"
    assert main([str(encoder_file), str(path), "--out", str(out)]) == 0
    data = load_dataset(f"npz:{path}", SIDE)
    with np.load(out, allow_pickle=False) as saved:
        assert saved["split"].tolist()[-6:] == ["test", *["unlabelled"] * 5]
        assert saved["label"].tolist()[-6:] == ["1", *[""] * 5]
        assert saved["image"].tolist()[-1] == "unlabelled-4"
        encoder, _ = load_encoder(encoder_file)
        assert data.unlabelled is not None
        expected = embed_images(encoder, data.unlabelled.images, "cpu")
        np.testing.assert_allclose(saved["features"][-5:], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("split", [False, True])
def test_unlabelled_files_have_a_blank_label(
    encoder_file: Path, tmp_path: Path, split: bool
) -> None:
    lines = ["image,label,split" if split else "image,label"]
    for i in range(6):
        Image.new("L", (16, 16), 40 * i).save(tmp_path / f"{i}.png")
        cells = [f"{i}.png", "ab"[i % 2] if i < 4 else ""]
        lines.append(",".join(cells + ([("train", "train", "test", "test", "", "")[i]] * split)))
    (tmp_path / "list.csv").write_text("\n".join(lines))
    out = tmp_path / "f.npz"
    assert main([str(encoder_file), str(tmp_path / "list.csv"), "--out", str(out)]) == 0
    with np.load(out) as saved:
        assert saved["label"].tolist() == ["a", "b", "a", "b", "", ""]
        expected = ["train", "train", "test", "test", "unlabelled", "unlabelled"]
        assert saved["split"].tolist() == (expected if split else [""] * 6)
        assert saved["features"].shape == (6, 512)


def test_a_single_class_and_a_csv_of_names_are_enough(encoder_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "one"
    (folder / "a").mkdir(parents=True)
    Image.new("L", (30, 20), 80).save(folder / "a" / "x.png")
    out = tmp_path / "f.npz"
    assert main([str(encoder_file), str(folder), "--out", str(out)]) == 0
    with np.load(out) as saved:
        assert saved["features"].shape == (1, 512) and saved["label"].tolist() == ["a"]
    (folder / "list.csv").write_text("image,group\na/x.png,p7\n")
    assert main([str(encoder_file), str(folder / "list.csv"), "--out", str(out)]) == 0
    with np.load(out) as saved:
        assert saved["group"].tolist() == ["p7"] and "label" not in saved


@pytest.mark.parametrize(
    ("encoder", "dataset", "message"),
    [
        ("nobody", "phantom", "no encoder nobody"),
        ("{file}", "bloodmnst", "did you mean bloodmnist"),
        ("{file}", "folder:nowhere", "no such folder"),
        ("{file}", "broken", "no image can be read"),
    ],
)
def test_what_cannot_be_is_refused_with_one_line(
    encoder: str,
    dataset: str,
    message: str,
    encoder_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "1.png").write_text("no image")
    assert main([encoder.format(file=encoder_file), dataset, "--out", "f.npz"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("lib.features: ") and message in line
    assert not (tmp_path / "f.npz").exists()


def test_the_name_says_the_format() -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["run", "phantom", "--out", "features.csv"])
