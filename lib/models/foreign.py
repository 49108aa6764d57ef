"""Encoders out of other projects' checkpoints, read without running what they contain."""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lib.models.encoder import IMAGENET_MEAN, IMAGENET_STD, Encoder, EncoderError, build_encoder

# Lightning keeps hyper-parameters in this dict with attribute access; a plain dict stands in for
# it, so nothing of Lightning is imported or called while reading.
ATTRIBUTE_DICTS = tuple(
    (dict, f"{package}.AttributeDict")
    for package in (
        "pytorch_lightning.utilities.parsing",
        "lightning.pytorch.utilities.parsing",
        "lightning_fabric.utilities.data",
        "lightning.fabric.utilities.data",
    )
)
# (blocks in each of the four stages, bottleneck blocks) of the two encoders here.
SHAPES: dict[tuple[tuple[int, ...], bool], str] = {
    ((2, 2, 2, 2), False): "resnet18",
    ((3, 4, 6, 3), True): "resnet50",
}
# A classifier of ImageNet's 1,000 classes tells torchvision's weights from other encoders.
IMAGENET_CLASSES = 1000


def read_checkpoint(path: Path, *, stem: str | None = None) -> tuple[Encoder, dict[str, Any]]:
    """The encoder in a checkpoint, in train mode, and what the checkpoint says of itself.

    The file is Lightning's, a dict with a `state_dict`, or a bare state dict, as torchvision's
    weights are. Its ResNet carries torchvision's names behind any prefix: `convnet.` in
    simclr-medical-imaging's SimCLR checkpoints, `backbone.` in its finetuned ones. Everything under
    `fc` (projection head or classifier) is left out. Architecture and channels follow from the
    tensors, and so does the stem, except that a 3×3 convolution does not tell its stride: it is
    `small` unless `stem` says `strided`. Images are normalised with mean 0.5 and std 0.5, as that
    project does; where the classifier is of 1,000 classes, as torchvision does for ImageNet.

    Read with `weights_only=True`; raises EncoderError when the file holds anything that would have
    to be run, is no checkpoint, or holds no ResNet-18 or ResNet-50.
    """
    checkpoint = _load(path)
    state = _state(path, checkpoint)
    prefix = _prefix(path, state)
    imagenet = _is_imagenet(state, prefix)
    weights = {
        key.removeprefix(prefix): value
        for key, value in state.items()
        if key.startswith(prefix) and not key.startswith(f"{prefix}fc.")
    }
    conv1 = weights["conv1.weight"]
    kernel, channels = conv1.shape[-1], conv1.shape[1]
    found = {7: "imagenet", 3: "strided" if stem == "strided" else "small"}.get(kernel)
    if found is None:
        raise EncoderError(f"{path}: its first convolution is {kernel}×{kernel}, not 7×7 or 3×3")
    if channels not in (1, 3):
        raise EncoderError(f"{path}: its encoder takes {channels} channels; only 1 or 3 can be fed")
    statistics = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD} if imagenet else {}
    encoder = build_encoder(_architecture(path, weights), found, channels, seed=0, **statistics)
    try:
        encoder.resnet.load_state_dict(weights)
    except RuntimeError as error:
        raise EncoderError(f"{path}: {_one_line(error)}") from error
    parameters = checkpoint.get("hyper_parameters")
    about = {
        "prefix": prefix,
        "imagenet": imagenet,
        "epoch": checkpoint.get("epoch"),
        "parameters": dict(parameters) if isinstance(parameters, Mapping) else {},
    }
    return encoder, about


def holds_imagenet(path: Path) -> bool:
    """Whether a checkpoint is a classifier of ImageNet; raises what `read_checkpoint` does."""
    state = _state(path, _load(path))
    return _is_imagenet(state, _prefix(path, state))


def _is_imagenet(state: Mapping[str, Tensor], prefix: str) -> bool:
    classifier = state.get(f"{prefix}fc.weight")
    return (
        classifier is not None
        and classifier.dim() == 2
        and len(classifier) == IMAGENET_CLASSES
        and state[f"{prefix}conv1.weight"].shape[1] == len(IMAGENET_MEAN)
    )


def _state(path: Path, checkpoint: Mapping[str, Any]) -> Mapping[str, Tensor]:
    """The tensors of a checkpoint: those under `state_dict`, or the file's own."""
    state: Any = checkpoint.get("state_dict", checkpoint)
    named = isinstance(state, Mapping) and all(isinstance(key, str) for key in state)
    if not named or not all(isinstance(value, Tensor) for value in state.values()):
        raise EncoderError(
            f"{path}: no `state_dict` of tensors in it (found {_names(checkpoint)});"
            " a Lightning checkpoint or a bare state dict is needed"
        )
    tensors: Mapping[str, Tensor] = state
    return tensors


def _load(path: Path) -> Mapping[str, Any]:
    try:
        with torch.serialization.safe_globals(list(ATTRIBUTE_DICTS)), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of an unusual pickle; what is wrong is said below
            content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"it holds {found[1]}, which is not plain data" if found else "it is not plain data"
        raise EncoderError(
            f"{path}: refused, {what}, and reading it could run code; save it again as"
            " {'state_dict': model.state_dict()} where it was made"
        ) from error
    # A damaged file makes the reader fail in any way; nothing was loaded, whatever it raised.
    except Exception as error:
        raise EncoderError(f"{path}: not a readable checkpoint: {_one_line(error)}") from error
    if not isinstance(content, Mapping):
        raise EncoderError(f"{path}: holds a {type(content).__name__}, not a checkpoint")
    return content


def _prefix(path: Path, state: Mapping[str, Tensor]) -> str:
    """What stands before torchvision's names in this state dict."""
    end, none = "layer1.0.conv1.weight", torch.zeros(0)
    prefixes = [
        key.removesuffix(end)
        for key in state
        if key.endswith(end) and state.get(f"{key.removesuffix(end)}conv1.weight", none).dim() == 4
    ]
    if len(prefixes) != 1:
        found = f"encoders under {', '.join(prefixes)}" if prefixes else f"found {_names(state)}"
        raise EncoderError(f"{path}: needs one ResNet with torchvision's names; {found}")
    return prefixes[0]


def _architecture(path: Path, weights: Mapping[str, Tensor]) -> str:
    """Which ResNet these tensors make up, by the number and kind of their blocks."""
    blocks = tuple(
        len({key.split(".")[1] for key in weights if key.startswith(f"layer{stage}.")})
        for stage in (1, 2, 3, 4)
    )
    bottleneck = "layer1.0.conv3.weight" in weights
    if (blocks, bottleneck) not in SHAPES:
        kind = "bottleneck" if bottleneck else "basic"
        raise EncoderError(
            f"{path}: a ResNet with {blocks} {kind} blocks, neither resnet18 nor resnet50"
        )
    return SHAPES[blocks, bottleneck]


def _names(content: Mapping[Any, Any]) -> str:
    names = [str(key) for key in content]
    return ", ".join(names[:4]) + (", …" if len(names) > 4 else "") if names else "nothing"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
