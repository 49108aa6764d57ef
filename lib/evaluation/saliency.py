"""Where a finetuned network looked: Grad-CAM on test images it got right and wrong."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from lib.models.encoder import Encoder
from lib.preview import Images, to_tensor
from lib.statistics.predictions import Predictions
from lib.training.finetune import Finetuned

# A map of fewer cells a side says next to nothing of where.
SMALLEST_MAP = 4


@dataclass(frozen=True)
class Cases:
    """Test images to look at. rows, decided: int [n], places and decisions; right: bool."""

    rows: npt.NDArray[np.int64]
    decided: npt.NDArray[np.int64]
    right: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Saliency:
    """Maps of cases. maps: float32 [n, H', W'] in [0, 1]; stage: the encoder's, that they show."""

    cases: Cases
    maps: npt.NDArray[np.float32]
    stage: str


def choose_cases(p: Predictions, n: int, seed: int) -> Cases:
    """Up to n images decided rightly and n wrongly, drawn at random among each, in file order.

    With several labels an image, the one with the highest score is decided for; it is right where
    the image has that label.
    """
    decided = p.scores.argmax(axis=1).astype(np.int64)
    places = np.arange(len(decided))
    right = p.y[places, decided] == 1 if p.task == "multi-label" else decided == p.y
    rng = np.random.default_rng([seed, 47])
    parts = [np.sort(rng.permutation(places[right == side])[:n]) for side in (True, False)]
    rows = np.concatenate(parts).astype(np.int64)
    return Cases(rows, decided[rows], right[rows])


def explain(tuned: Finetuned, images: Images, cases: Cases) -> Saliency:
    """Grad-CAM (Selvaraju et al. 2017, equations 1 and 2) of the class each case was decided for.

    images: uint8 [N, H, W, C], of which the cases' rows are taken. The maps are of the deepest
    stage that still has SMALLEST_MAP cells a side, scaled so that each has its largest value at 1;
    a map without any positive cell is zero. On the CPU, in eval mode.
    """
    from torchcam.methods import GradCAM

    model = nn.Sequential(tuned.encoder.cpu(), tuned.head.cpu()).eval()
    x = to_tensor(np.asarray(images[cases.rows])).requires_grad_()
    stage = deepest_stage(tuned.encoder, x.shape[-1])
    if len(cases.rows) == 0:
        return Saliency(cases, np.zeros((0, 1, 1), np.float32), stage)
    with torch.enable_grad(), GradCAM(model, f"0.resnet.{stage}") as extractor:
        scores = model(x)
        [found] = extractor(cases.decided.tolist(), scores, normalized=False)
    maps = found.detach().float().reshape(len(cases.rows), *found.shape[-2:])
    top = maps.amax(dim=(1, 2), keepdim=True)
    return Saliency(cases, (maps / top.clamp_min(1e-12)).numpy(), stage)


def deepest_stage(encoder: Encoder, size: int) -> str:
    """The deepest of layer1 to layer4 with a map of SMALLEST_MAP cells a side, else layer1."""
    sides: dict[str, int] = {}

    def note(name: str, output: torch.Tensor) -> None:
        sides[name] = output.shape[-1]

    names = [f"layer{i}" for i in range(1, 5)]
    hooks = [
        getattr(encoder.resnet, name).register_forward_hook(
            lambda _module, _inputs, output, name=name: note(name, output)
        )
        for name in names
    ]
    try:
        with torch.inference_mode():
            encoder.eval()(torch.zeros(1, encoder.channels, size, size))
    finally:
        for hook in hooks:
            hook.remove()
    return next((n for n in reversed(names) if sides[n] >= SMALLEST_MAP), names[0])
