"""ONNX and TorchScript files of an encoder, each compared with it before it appears."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from lib.export.portable import ExportError, PortableEncoder, Taken
from lib.files import replacing
from lib.models.encoder import Encoder

BATCHES = (1, 2, 7, 16)  # images in a batch, each compared
TOLERANCE = 1e-4  # largest difference, as a share of the largest feature: rounding is below 1e-6
OPSET = 18  # what torch's exporter writes by itself, and onnxruntime has read since 1.14
INPUT, OUTPUT = "images", "features"

Array = npt.NDArray[np.float32]
Compute = Callable[[Array], Array]  # images [B, C, S, S] → features [B, D]


@dataclass(frozen=True)
class Difference:
    """How far a file's features are from the encoder's. largest: over all compared batches;
    scale: the largest feature; batches: the numbers of images in them.
    """

    largest: float
    scale: float
    batches: tuple[int, ...] = BATCHES

    @property
    def share(self) -> float:
        """The largest difference as a share of the largest feature."""
        return self.largest / self.scale if self.scale > 0 else self.largest

    def __str__(self) -> str:
        batches = ", ".join(map(str, self.batches))
        return (
            f"largest difference {self.largest:.1e}, largest feature {self.scale:.3g} "
            f"(batches of {batches} images)"
        )


def write_onnx(taken: Taken, path: Path, tolerance: float = TOLERANCE) -> Difference:
    """Write an ONNX file, checked through onnxruntime; the number of images is free.

    Input `images` float32 [batch, C, S, S] in [0, 1], output `features` [batch, D]. Its metadata
    say size, channels, data set, method and commit. Raises ExportError where the features differ
    by more than `tolerance` (then no file is left) or where it cannot be written.
    """
    encoder = PortableEncoder(taken.encoder)
    example = torch.zeros(2, taken.encoder.channels, taken.size, taken.size)
    batch = torch.export.Dim("batch")
    with replacing(path) as temporary:
        with _quiet():
            torch.onnx.export(
                encoder,
                (example,),
                temporary,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes={INPUT: {0: batch}},
                opset_version=OPSET,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
        _write_metadata(taken, temporary)
        return check(taken, onnx_features(temporary), f"{path}: ONNX", tolerance)


def onnx_features(path: Path) -> Compute:
    """What an ONNX file computes, on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def compute(images: Array) -> Array:
        [features] = session.run([OUTPUT], {INPUT: images})
        return np.asarray(features, np.float32)

    return compute


def _write_metadata(taken: Taken, path: Path) -> None:
    import onnx

    model = onnx.load(str(path))
    onnx.helper.set_model_props(model, metadata(taken))
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def metadata(taken: Taken) -> dict[str, str]:
    """What a file should say of itself, as text."""
    header = taken.header
    known = {
        "name": taken.name,
        "input": f"float32 [batch, {taken.encoder.channels}, {taken.size}, {taken.size}] in [0, 1]",
        "size": taken.size,
        "channels": taken.encoder.channels,
        "architecture": taken.encoder.architecture,
        "stem": taken.encoder.stem,
        "dataset": header.get("dataset", "unknown"),
        "preprocess": header.get("parameters", {}).get("preprocess", "none"),
        "method": header.get("method", "unknown"),
        "commit": header.get("commit", "unknown"),
        "made_from": taken.digest,
        "note": "research code, not a medical device",
    }
    return {key: str(value) for key, value in known.items()}


def write_torchscript(taken: Taken, path: Path, tolerance: float = TOLERANCE) -> Difference:
    """Write a TorchScript file that `torch.jit.load` reads without this project, checked likewise.

    Its metadata are in the extra file `about.txt`, a line `key: value` each.
    """
    encoder = PortableEncoder(taken.encoder)
    example = torch.zeros(2, taken.encoder.channels, taken.size, taken.size)
    about = "\n".join(f"{key}: {value}" for key, value in metadata(taken).items())
    with replacing(path) as temporary:
        with _quiet(), torch.inference_mode():
            jit: Any = torch.jit
            traced = jit.freeze(jit.trace(encoder, example, check_trace=False))
            jit.save(traced, str(temporary), _extra_files={"about.txt": about})
            loaded = jit.load(str(temporary), map_location="cpu")

        def compute(images: Array) -> Array:
            with torch.inference_mode():
                return np.asarray(loaded(torch.from_numpy(images)).numpy(), np.float32)

        return check(taken, compute, f"{path}: TorchScript", tolerance)


def check(taken: Taken, compute: Compute, what: str, tolerance: float) -> Difference:
    """Compare features at every batch size; ExportError where they differ, or in shape.

    Half of the images are noise in [0, 1], the rest smooth; one is black and one white.
    """
    largest = scale = 0.0
    for n in BATCHES:
        images = sample_images(n, taken.encoder.channels, taken.size)
        expected, found = reference(taken.encoder, images), compute(images)
        if found.shape != expected.shape:
            raise ExportError(
                f"{what}: {n} images give features {found.shape}, the encoder's are "
                f"{expected.shape}; nothing was written"
            )
        gap = np.abs(found - expected).max()
        # NaN must not pass for small.
        largest = max(largest, float("inf") if np.isnan(gap) else float(gap))
        scale = max(scale, float(np.abs(expected).max()))
    difference = Difference(largest, scale)
    if not difference.share <= tolerance:
        raise ExportError(
            f"{what}: features differ from the encoder's: {difference}; allowed is a share of "
            f"{tolerance:g}; nothing was written"
        )
    return difference


def reference(encoder: Encoder, images: Array) -> Array:
    """The encoder's own features, in eval mode and float32."""
    with torch.inference_mode():
        return np.asarray(encoder.eval()(torch.from_numpy(images)).numpy(), np.float32)


def sample_images(n: int, channels: int, size: int) -> Array:
    """n images float32 [n, C, S, S] in [0, 1], the same for the same n."""
    rng = np.random.default_rng(n)
    images = rng.random((n, channels, size, size), np.float32)
    images[1::2] = np.sort(images[1::2], axis=-1)  # smooth from left to right
    if n > 2:
        images[0], images[1] = 0, 1
    return images


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep torch's exporters from printing: what matters is the comparison afterwards."""
    exporter = logging.getLogger("torch.onnx")
    level = exporter.level
    exporter.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            # Tracing is deprecated in favour of torch.export, whose files need this torch to load.
            warnings.simplefilter("ignore")
            yield
    finally:
        exporter.setLevel(level)
