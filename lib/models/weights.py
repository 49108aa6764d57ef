"""Encoders on disk: safetensors with a JSON header, never pickle; and where an encoder starts from.

The tensors carry torchvision's names, so that other code can load them into its own ResNet. The
header is one JSON object in the file's metadata:

    version, architecture, stem, channels, normalisation {mean, std},
    size, dataset, parameters, commit

and whatever else was given to `save_encoder`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lib.files import replacing
from lib.models.encoder import IMAGENET_MEAN, IMAGENET_STD, Encoder, EncoderError, build_encoder
from lib.models.foreign import read_checkpoint

VERSION = 1
FILE_NAME = "encoder.safetensors"
# What the encoder itself knows, and what only the run that made it can say.
OF_ENCODER = ("architecture", "stem", "channels", "normalisation")
OF_RUN = ("size", "dataset", "parameters", "commit")
CHECKPOINTS = (".ckpt", ".pt", ".pth")


class WeightsError(EncoderError):
    """A file of weights cannot be used; the message names the file, what was found, what to do."""


def save_encoder(path: Path, encoder: Encoder, header: Mapping[str, Any]) -> None:
    """Write an encoder and its header, complete or not at all; the same input gives the same bytes.

    header: `size` (pixels), `dataset`, `parameters` (all of the run's) and `commit` are required,
    more may be added. What the encoder knows itself is filled in. Raises WeightsError when a key is
    missing, contradicts the encoder, or does not fit into JSON (NaN included).
    """
    from safetensors.torch import save_file

    own = {
        "version": VERSION,
        "architecture": encoder.architecture,
        "stem": encoder.stem,
        "channels": encoder.channels,
        "normalisation": {"mean": encoder.mean.tolist(), "std": encoder.std.tolist()},
    }
    missing = [key for key in OF_RUN if key not in header]
    if missing:
        raise WeightsError(f"{path}: the header needs {', '.join(missing)}")
    for key in own.keys() & header.keys():
        if header[key] != own[key]:
            raise WeightsError(f"{path}: header says {key} {header[key]!r}, it is {own[key]!r}")
    try:
        text = json.dumps({**own, **header}, allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{path}: the header does not fit into JSON: {error}") from error
    tensors = {
        # A channels-last encoder is saved in the usual order: safetensors has no other.
        name: value.detach().cpu().contiguous()
        for name, value in encoder.resnet.state_dict().items()
    }
    with replacing(Path(path)) as temporary:
        # A single metadata key: safetensors writes several in no fixed order.
        save_file(tensors, temporary, metadata={"header": text})


def read_header(path: str | Path) -> dict[str, Any]:
    """The header of an encoder file (or of the run folder it lies in), without reading tensors.

    Raises WeightsError when it is not such a file, of another version, or lacks a key.
    """
    from safetensors import SafetensorError, safe_open

    path = _encoder_file(path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        header = json.loads(metadata.get("header", "null"))
    except SafetensorError as error:
        raise WeightsError(f"{path}: not a safetensors file, or cut short: {error}") from error
    except json.JSONDecodeError as error:
        raise WeightsError(f"{path}: its header is not JSON: {error}") from error
    if not isinstance(header, dict):
        raise WeightsError(f"{path}: no encoder header in it; only files of save_encoder load here")
    if header.get("version") != VERSION:
        raise WeightsError(
            f"{path}: format version {header.get('version')!r}, this code reads {VERSION};"
            " use the code that wrote it"
        )
    missing = [key for key in (*OF_ENCODER, *OF_RUN) if key not in header]
    if missing:
        raise WeightsError(f"{path}: its header lacks {', '.join(missing)}")
    return header


def load_encoder(path: str | Path) -> tuple[Encoder, dict[str, Any]]:
    """An encoder from its file (or its run folder), on the CPU in eval mode, and its header.

    Raises WeightsError as `read_header` does, and when tensors do not fit the header.
    """
    from safetensors.torch import load_file

    path = _encoder_file(path)
    header = read_header(path)
    encoder = _network(path, header)
    try:
        encoder.resnet.load_state_dict(load_file(path))
    except RuntimeError as error:
        raise WeightsError(
            f"{path}: its tensors are not those of {header['architecture']} with the"
            f" {header['stem']} stem: {' '.join(str(error).split())[:200]}"
        ) from error
    return encoder.eval(), header


def _network(path: Path, header: Mapping[str, Any]) -> Encoder:
    """The network that a header describes, with any weights."""
    try:
        return build_encoder(
            header["architecture"],
            header["stem"],
            header["channels"],
            seed=0,
            mean=header["normalisation"]["mean"],
            std=header["normalisation"]["std"],
        )
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{path}: its header makes no encoder: {error}") from error


def inspect_init(path: str | Path, stem: str | None = None) -> dict[str, Any]:
    """The `encoder`, `stem` and `channels` of a file that `load_init` would take, cheaply.

    Of a file of `save_encoder`, header and shapes are read; a checkpoint is read whole,
    without running anything in it. Raises EncoderError for what `load_init` would not take.
    """
    path = Path(path)
    if path.is_dir() or path.suffix == ".safetensors":
        header = check_tensors(_encoder_file(path))
        return {
            "encoder": header["architecture"],
            "stem": header["stem"],
            "channels": header["channels"],
        }
    if path.suffix not in CHECKPOINTS:
        raise _unfit(path)
    loaded, _ = read_checkpoint(path, stem=stem)
    return {"encoder": loaded.architecture, "stem": loaded.stem, "channels": loaded.channels}


def check_tensors(path: Path) -> dict[str, Any]:
    """The header of an encoder file; WeightsError where its tensors' shapes are not as it says."""
    from safetensors import safe_open

    header = read_header(path)
    wanted = _shapes(path, header)
    with safe_open(path, framework="pt") as file:
        found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            raise WeightsError(
                f"{path}: its tensors are not those of {header['architecture']} with the"
                f" {header['stem']} stem: {name} is {_say_shape(found.get(name))}, needed is"
                f" {_say_shape(wanted.get(name))}"
            )
    return header


def _shapes(path: Path, header: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """The tensors of the network that a header describes."""
    state = _network(path, header).resnet.state_dict()
    return {name: tuple(value.shape) for name, value in state.items()}


def _say_shape(shape: tuple[int, ...] | None) -> str:
    return "missing" if shape is None else " × ".join(map(str, shape)) or "a number"


def check_fits(path: str | Path, held: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """WeightsError where a file holds another encoder than asked for; None asks for nothing."""
    differing = [key for key in asked if asked[key] is not None and asked[key] != held[key]]
    if differing:
        raise WeightsError(
            f"init: {path} holds {', '.join(f'{key} {held[key]}' for key in differing)},"
            f" asked for is {', '.join(f'{key} {asked[key]}' for key in differing)};"
            " ask for what the file holds"
        )


def _unfit(path: Path) -> WeightsError:
    found = "a file of another kind" if path.exists() else "no such file or folder"
    return WeightsError(
        f"init: {path}: {found}; give scratch, imagenet, a run folder, a .safetensors file"
        f" or a checkpoint ({', '.join(CHECKPOINTS)})"
    )


def load_init(
    spec: str | Path,
    encoder: str | None,
    stem: str | None,
    channels: int | None,
    *,
    seed: int,
) -> tuple[Encoder, dict[str, Any]]:
    """The encoder a run starts from, in train mode, and where it comes from, for the report.

    spec: `scratch`, initialised from `seed`; `imagenet`, torchvision's IMAGENET1K_V1 weights; a
    `.safetensors` file of `save_encoder` or a run folder with one; or another project's checkpoint
    (`.ckpt`, `.pt`, `.pth`) as in `lib.models.foreign`, torchvision's ImageNet files among them.

    A file decides what its encoder looks like. `encoder`, `stem` and `channels` of None accept
    that; a value that differs from the file's raises WeightsError with both. Grey images pass
    through an encoder with three channels, and the reverse, so `channels` is best left to a file.

    ImageNet weights need `stem: imagenet`: the other stems have no use for a 7×7 first convolution,
    and what is left without it is no ImageNet encoder. For one channel the first convolution's
    weights are summed over red, green and blue and the normalisation is averaged, which is what a
    grey image repeated three times would meet, up to the small differences between the channels.

    The provenance is a dict with `init` (scratch, imagenet, encoder, checkpoint) and `text`, one
    sentence; with `file` and what the file says of its origin where there is one.
    """
    if spec in ("scratch", "imagenet"):
        if encoder is None or stem is None or channels is None:
            raise WeightsError(f"init: {spec} needs encoder, stem and channels")
        if spec == "scratch":
            text = f"random initialisation with seed {seed}"
            start = build_encoder(encoder, stem, channels, seed=seed)
            return start, {"init": spec, "text": text, "seed": seed}
        return _imagenet(encoder, stem, channels)

    path = Path(spec)
    loaded: Encoder
    if path.is_dir() or path.suffix == ".safetensors":
        path = _encoder_file(path)
        loaded, header = load_encoder(path)
        text = f"encoder pretrained on {header['dataset']} at {header['size']} px ({path})"
        provenance = {"init": "encoder", "text": text, "file": str(path), "header": header}
    elif path.suffix in CHECKPOINTS:
        if not path.is_file():
            raise WeightsError(f"init: {path}: no such file")
        loaded, about = read_checkpoint(path, stem=stem)
        whose = "ImageNet weights" if about["imagenet"] else "checkpoint of another project"
        text = f"{whose} ({path})"
        provenance = {"init": "checkpoint", "text": text, "file": str(path), **about}
    else:
        raise _unfit(path)
    asked = {"encoder": encoder, "stem": stem, "channels": channels}
    held = {"encoder": loaded.architecture, "stem": loaded.stem, "channels": loaded.channels}
    check_fits(path, held, asked)
    return loaded.train(), provenance


def _encoder_file(path: str | Path) -> Path:
    """The encoder file itself: `path`, or the one in it when it is a run folder."""
    path = Path(path)
    file = path / FILE_NAME if path.is_dir() else path
    if not file.is_file():
        raise WeightsError(f"{file}: no such file; is the run that writes it done?")
    return file


def _imagenet(encoder: str, stem: str, channels: int) -> tuple[Encoder, dict[str, Any]]:
    if stem != "imagenet":
        raise WeightsError(
            f"init: imagenet needs stem: imagenet, asked for is stem: {stem}, whose first"
            " convolution is 3×3 where the weights' is 7×7"
        )
    grey = channels == 1
    built = build_encoder(
        encoder,
        stem,
        channels,
        seed=0,
        mean=[sum(IMAGENET_MEAN) / 3] if grey else IMAGENET_MEAN,
        std=[sum(IMAGENET_STD) / 3] if grey else IMAGENET_STD,
    )
    state = {k: v for k, v in _imagenet_state(encoder).items() if not k.startswith("fc.")}
    if grey:
        state["conv1.weight"] = state["conv1.weight"].sum(dim=1, keepdim=True)
    # ResNet-18's file is older than the counter in BatchNorm, which only matters without momentum.
    missing, unexpected = built.resnet.load_state_dict(state, strict=False)
    wrong = [key for key in missing if not key.endswith("num_batches_tracked")] + list(unexpected)
    if wrong:
        raise WeightsError(f"init: torchvision's weights do not fit {encoder}: {', '.join(wrong)}")
    text = "torchvision's ImageNet weights (IMAGENET1K_V1)"
    if grey:
        text += ", first convolution summed over the three channels"
    return built, {"init": "imagenet", "text": text, "weights": "IMAGENET1K_V1"}


def _imagenet_state(encoder: str) -> dict[str, Tensor]:
    import torchvision

    # V1 for both: V2 exists for ResNet-50 only, and its longer recipe would pass for a larger net.
    weights = torchvision.models.get_model_weights(encoder).IMAGENET1K_V1
    name = weights.url.rsplit("/", 1)[-1]
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    try:
        state: dict[str, Tensor] = weights.get_state_dict(
            progress=True, check_hash=True, weights_only=True
        )
    # A download fails with OSError or RuntimeError, reading a damaged file in any way.
    except Exception as error:
        raise WeightsError(
            f"init: imagenet: {name} could not be loaded ({' '.join(str(error).split())[:120]});"
            f" without a network, put it in {folder} or give its path as init; if it is there,"
            " it is damaged"
        ) from error
    return state
