"""3×3 convolutions on maps of a few pixels, which CPUs otherwise spend most of a small ResNet in.

With the strided stem the last stage of a ResNet at 28 px works on 2×2 maps. oneDNN's kernels walk
along rows, and rows of two pixels leave its matrix units idle: three convolutions took over half
of a training step. One matrix product over gathered neighbourhoods is faster there on CPUs with
AMX, and in bf16 on others; in float32 oneDNN's kernels won by up to 1.6 on the one without AMX that
was measured (`make bench`, whole training steps). On a GPU, and on larger maps, nothing changes.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

# Output positions up to which the matrix product is faster in both directions, measured.
FEW = 4


class SmallMapConv2d(nn.Conv2d):
    """A 3×3 convolution with padding 1 and no bias; the same weights and result as nn.Conv2d.

    x: float [N, C, H, W] → [N, out, H', W'] in channels-last order.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Convolve, by a matrix product where the map is small and on the CPU."""
        stride = int(self.stride[0])
        out_h, out_w = ((n - 1) // stride + 1 for n in x.shape[2:])
        if x.device.type != "cpu" or out_h * out_w > FEW or not gathering_pays(x.dtype):
            y: Tensor = super().forward(x)
            return y
        return gathered_conv3x3(x, self.weight, stride)

    @classmethod
    def replace_in(cls, module: nn.Module) -> None:
        """Turn every plain 3×3 convolution inside `module` into this class, weights and all."""
        for child in module.modules():
            plain = type(child) is nn.Conv2d and child.kernel_size == (3, 3)
            if plain and child.padding == (1, 1) and child.groups == 1 and child.bias is None:
                child.__class__ = cls


def gathering_pays(dtype: torch.dtype) -> bool:
    """Whether the matrix product is faster in this format; by kind of CPU, so that it never varies.

    Under autocast to bf16 the matrix product and the convolution are bf16 whatever comes in.
    """
    return torch.is_autocast_enabled("cpu") or dtype == torch.bfloat16 or has_amx()


@cache
def has_amx() -> bool:
    """Whether this machine's CPU has matrix units (AMX)."""
    return "amx_bf16" in cpu_flags()


def cpu_flags() -> set[str]:
    """What this machine's CPU says it can do; empty where it does not say."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="ignore")
    except OSError:
        return set()
    return set(text.split())


def gathered_conv3x3(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """conv2d(x, weight, stride=stride, padding=1) as one matrix product.

    x: float [N, C, H, W]; weight: float [O, C, 3, 3] → [N, O, H', W'].
    """
    N, C, H, W = x.shape
    out_h, out_w = (H - 1) // stride + 1, (W - 1) // stride + 1
    padded = functional.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
    # The nine neighbours of each output position side by side: [N, H', W', 9·C].
    columns = torch.cat(
        [
            padded[:, i : i + stride * out_h : stride, j : j + stride * out_w : stride]
            for i in range(3)
            for j in range(3)
        ],
        dim=-1,
    )
    matrix = weight.permute(2, 3, 1, 0).reshape(9 * C, -1)
    y = columns.reshape(N * out_h * out_w, 9 * C) @ matrix
    return y.view(N, out_h, out_w, -1).permute(0, 3, 1, 2)
