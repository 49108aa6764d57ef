"""Exported encoders compute what the encoder computes, or do not appear."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

import lib.export.files
from lib.export.__main__ import main
from lib.export.files import (
    BATCHES,
    check,
    metadata,
    reference,
    sample_images,
    write_onnx,
    write_torchscript,
)
from lib.export.portable import ExportError, PortableEncoder, Taken, take_encoder
from lib.models.encoder import build_encoder
from lib.models.weights import load_encoder
from tests.export.conftest import RUN, SIDE


@pytest.fixture(scope="module")
def taken(run_folder: Path) -> Taken:
    return take_encoder(RUN[:20], run_folder.parents[2])


def test_the_portable_encoder_is_the_same_function(taken: Taken) -> None:
    images = torch.from_numpy(sample_images(5, 3, SIDE))
    portable = PortableEncoder(taken.encoder)
    with torch.inference_mode():
        torch.testing.assert_close(portable(images), taken.encoder(images), rtol=1e-4, atol=1e-5)
    kinds = {type(m) for m in portable.modules() if isinstance(m, torch.nn.Conv2d)}
    assert kinds == {torch.nn.Conv2d}
    assert type(taken.encoder.resnet.layer4[0].conv1) is not torch.nn.Conv2d  # left as it was


def test_onnx_takes_any_number_of_images_in_0_to_1(taken: Taken, tmp_path: Path) -> None:
    difference = write_onnx(taken, tmp_path / "e.onnx")
    assert difference.share < 1e-5 and difference.scale > 0.1
    session = onnxruntime.InferenceSession(str(tmp_path / "e.onnx"))
    assert session.get_inputs()[0].shape == ["batch", 3, SIDE, SIDE]
    for n in (1, 3, 33):  # 33 is none of those that were compared
        images = np.random.default_rng(n).random((n, 3, SIDE, SIDE), np.float32)
        [features] = session.run(None, {"images": images})
        np.testing.assert_allclose(features, reference(taken.encoder, images), atol=1e-4)
    assert session.get_modelmeta().custom_metadata_map == metadata(taken)
    assert [p.name for p in tmp_path.iterdir()] == ["e.onnx"]  # no external data beside it


def test_torchscript_of_a_grey_encoder(tmp_path: Path) -> None:
    encoder = build_encoder("resnet18", "imagenet", 1, seed=1).eval()
    write_torchscript(Taken(encoder, Path("e.ckpt"), "d1", {}, 12), tmp_path / "e.pt")
    about = {"about.txt": ""}
    loaded = torch.jit.load(str(tmp_path / "e.pt"), _extra_files=about)
    for n in (1, 21):
        images = torch.rand(n, 1, 12, 12)
        with torch.inference_mode():
            torch.testing.assert_close(loaded(images), encoder(images), rtol=1e-3, atol=1e-4)
    assert "made_from: d1" in str(about["about.txt"])


def test_what_differs_does_not_appear(
    taken: Taken, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Wrong(PortableEncoder):
        """Forgets the normalisation, which shows with every image."""

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return super().forward(images * self.std + self.mean)

    (tmp_path / "e.pt").write_text("the one before")
    monkeypatch.setattr(lib.export.files, "PortableEncoder", Wrong)
    with pytest.raises(ExportError, match=r"e\.pt: TorchScript: features differ .* nothing was w"):
        write_torchscript(taken, tmp_path / "e.pt")
    assert (tmp_path / "e.pt").read_text() == "the one before"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("n", BATCHES)
def test_a_difference_at_a_single_batch_size_is_seen(taken: Taken, n: int) -> None:
    def compute(images: np.ndarray) -> np.ndarray:
        return reference(taken.encoder, images) * (1.01 if len(images) == n else 1)

    with pytest.raises(ExportError, match="features differ"):
        check(taken, compute, "x", 1e-4)


def test_nan_and_other_shapes_are_no_small_difference(taken: Taken) -> None:
    with pytest.raises(ExportError, match="inf"):
        check(taken, lambda x: reference(taken.encoder, x) * np.float32(np.nan), "x", 1e-4)
    with pytest.raises(ExportError, match=r"1 images give features \(1, 511\)"):
        check(taken, lambda x: reference(taken.encoder, x)[:, 1:], "x", 1e-4)


def test_from_the_command_line(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = run_folder / "encoder.safetensors"
    assert main([str(file), "--torchscript", str(tmp_path / "e.pt"), "--size", "20"]) == 0
    assert "largest difference" in capsys.readouterr().out
    encoder, _ = load_encoder(file)
    images = torch.rand(2, 3, 20, 20)
    with torch.inference_mode():
        loaded = torch.jit.load(str(tmp_path / "e.pt"))
        torch.testing.assert_close(loaded(images), encoder(images), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nobody", "--card", "c.md"], "no encoder nobody"),
        (["imagenet", "--card", "c.md"], "names no file"),
        (["{run}", "--torchscript", "e.pt", "--tolerance", "0"], "allowed is a share of 0"),
        (["{run}", "--card", "c.md", "--study", "."], "has no summary.csv"),
    ],
)
def test_what_cannot_be_is_refused_with_one_line(
    arguments: list[str],
    message: str,
    run_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([a.format(run=run_folder) for a in arguments]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("lib.export: ") and message in line
    assert list(tmp_path.iterdir()) == []


def test_something_must_be_asked_for() -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["run"])
