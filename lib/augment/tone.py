"""Blur, sharpness and histogram equalisation, each sample with its own strength."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from lib.augment.batch import check_images, per_sample
from lib.augment.geometry import resample


def gaussian_weights(sigma: Tensor, kernel_size: int) -> Tensor:
    """Sampled Gaussians [B, kernel_size] which sum to one; sigma: [B], in pixels."""
    half = kernel_size // 2
    offset = torch.arange(-half, half + 1, device=sigma.device, dtype=sigma.dtype)
    weights = torch.exp(-0.5 * (offset / sigma.view(-1, 1)) ** 2)
    # Tails of 1e-40 change no pixel, but such denormal numbers slow a CPU's products threefold.
    weights *= weights > 1e-12
    return weights / weights.sum(1, keepdim=True)


def check_kernel(kernel_size: int, height: int, width: int) -> None:
    """ValueError unless the kernel is odd and its half fits into the image, which is mirrored."""
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(f"blur kernel: found {kernel_size}; it must be odd and at least 1")
    if kernel_size // 2 >= min(height, width):
        raise ValueError(
            f"blur kernel: {kernel_size} is too large for {height}×{width} pixels; "
            f"use at most {2 * min(height, width) - 1}"
        )


def _blur_matrix(weights: Tensor, n: int) -> Tensor:
    """Convolution along one axis with a reflected border, as matrices [B, n, n]."""
    B, k = weights.shape
    i = torch.arange(n, device=weights.device)
    source = i + torch.arange(k, device=weights.device).view(-1, 1) - k // 2
    source = (n - 1) - ((n - 1) - source.abs()).abs()
    taps = weights.new_zeros(k, n, n).scatter_(2, source.unsqueeze(2), 1.0)
    return (weights @ taps.view(k, n * n)).view(B, n, n)


def gaussian_blur(x: Tensor, sigma: Tensor, kernel_size: int, own: bool = False) -> Tensor:
    """Blur each image with its own Gaussian; equals torchvision's `gaussian_blur` by sample.

    x: [B, C, H, W] in [0, 1]; sigma: [B], in pixels; kernel_size: odd. The border is reflected,
    so half a kernel must fit into the image: ValueError otherwise. own: `x` may be overwritten.
    """
    B, C, H, W = check_images(x)
    check_kernel(kernel_size, H, W)
    weights = gaussian_weights(per_sample(sigma, x, ndim=1), kernel_size)
    # Measured on a CPU with a kernel of 9: products win by 1.6 at 28 px, are even at 64 and lose
    # by 1.5 at 128. On CUDA convolutions may round to TF32, which shows; products do not.
    if x.device.type == "cpu" and min(H, W) >= 96 and B > 0:
        k, half = kernel_size, kernel_size // 2
        weights = weights.repeat_interleave(C, 0)
        y = torch.nn.functional.pad(x, [half] * 4, mode="reflect").view(1, B * C, H + k - 1, -1)
        y = torch.conv2d(y, weights.view(-1, 1, k, 1), groups=B * C)
        y = torch.conv2d(y, weights.view(-1, 1, 1, k), groups=B * C)
        return y.view(B, C, H, W).clamp_(0.0, 1.0)
    rows = _blur_matrix(weights, H)
    columns = rows if H == W else _blur_matrix(weights, W)
    return resample(x, rows, columns, own).clamp_(0.0, 1.0)


def adjust_sharpness(x: Tensor, factor: Tensor) -> Tensor:
    """Blend each image with its smoothed version: 0 smooth, 1 unchanged, above 1 sharper.

    Equals torchvision's and Pillow's op: smoothing is a 3×3 mean whose centre counts five times,
    and the outermost pixels stay as they are. Images of two pixels or fewer are left alone.
    x: [B, C, H, W] in [0, 1]; factor: [B], at least 0.
    """
    B, C, H, W = check_images(x)
    if H <= 2 or W <= 2:
        return x
    rest = x.new_zeros(B, 1, H, W)
    rest[..., 1:-1, 1:-1] = (1.0 - per_sample(factor, x)) / 13.0
    x = x.contiguous()
    out = torch.empty_like(x)
    # On a CPU, as many images at a time as its cache holds through the passes below.
    n = max(1, 2**17 // (C * H * W)) if x.device.type == "cpu" else max(1, B)
    for start in range(0, B, n):
        run = slice(start, start + n)
        _sharpen(x[run], rest[run], out[run])
    return out


def _sharpen(x: Tensor, rest: Tensor, out: Tensor) -> None:
    """Write `x + rest · (box − 9 x)` to `out`, box being the sum over 3×3 pixels.

    That is `factor · x + (1 − factor) · (box + 4 x) / 13` with rest = (1 − factor) / 13. All are
    contiguous; rest is [B, 1, H, W] and 0 on the outermost pixels.
    """
    W = x.shape[-1]
    flat, box = x.view(-1), out.view(-1)
    # Sums of three rows, then of three columns, over the flat memory: long runs without a border
    # to mind. What runs over an edge lands on outermost pixels, where the change counts nothing.
    sums = flat[2 * W :] + flat[W:-W]
    sums += flat[: -2 * W]
    box[: W + 1], box[-W - 1 :] = 0.0, 0.0
    torch.add(sums[2:], sums[1:-1], out=box[W + 1 : -W - 1]).add_(sums[:-2])
    torch.addcmul(x, out.sub_(x, alpha=9.0), rest, out=out).clamp_(0.0, 1.0)


@cache
def _luma_weights(device: torch.device, dtype: torch.dtype) -> Tensor:
    """ITU-R 601 weights times 64, [1, 3, 1, 1]; sent to a device once."""
    return (torch.tensor([0.299, 0.587, 0.114], dtype=dtype) * 64.0).view(1, 3, 1, 1).to(device)


def luma_levels(x: Tensor) -> Tensor:
    """Luma of each pixel as Pillow computes it, int64 [B, H, W] in 0–255.

    One channel is its own luma. Colour follows Pillow's RGB → YCbCr conversion to the last bit
    (ITU-R 601, full range, fixed point with six bits, rounded down): a histogram that is one
    level off in a pixel may come out of the equalisation many levels off.
    """
    levels = (x * 255.0).round_()
    if x.shape[1] == 3:
        r, g, b = levels.mul_(_luma_weights(x.device, x.dtype)).round_().unbind(1)
        return r.add_(g).add_(b).mul_(1.0 / 64.0).long()
    return levels[:, 0].long()


def equalize_luma(x: Tensor) -> Tensor:
    """Spread the luma of each image evenly over its range, leaving the chroma as it is.

    Pillow's `ImageOps.equalize` on the Y of YCbCr: a histogram with 256 bins and Pillow's
    integer look-up table, pixels above the table's end going to white. The difference in luma
    is added to every channel, which is what unchanged chroma means. In small images the step of
    the table is a small whole number, so that at 28 pixels a side much of an image may turn
    white, as it does in Pillow; below 256 pixels in all nothing changes.

    x: [B, C, H, W] in [0, 1]; luma counts in 256 levels, the pixels themselves stay float.
    """
    B, _, H, W = check_images(x)
    level = luma_levels(x).view(B, H * W)
    bins = level + torch.arange(B, device=x.device).view(-1, 1) * 256
    count = torch.zeros(B * 256, dtype=torch.int64, device=x.device)
    count = count.scatter_add_(0, bins.view(-1), torch.ones_like(bins.view(-1))).view(B, 256)
    last = count.gather(1, level.amax(1, keepdim=True))
    step = (H * W - last) // 255
    below = count.cumsum(1) - count
    # Whole numbers below 2²⁴, which floats divide and round down exactly, and much faster.
    table = (below + step // 2).float().div_(step.clamp_min(1)).floor_().clamp_max_(255.0)
    identity = torch.arange(256.0, device=x.device)
    change = ((table - identity) * (step > 0) / 255.0).to(x.dtype).gather(1, level)
    return (x + change.view(B, 1, H, W)).clamp_(0.0, 1.0)
