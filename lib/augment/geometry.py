"""Where the pixels come from: crop and resize, flips, rotation; each sample its own way."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lib.augment.batch import check_images, per_sample
from lib.moving import send


def _resize_weights(start: Tensor, length: Tensor, mirror: Tensor, n_in: int, n_out: int) -> Tensor:
    """Triangle-filter weights [B, n_out, n_in] which resize `length` pixels from `start`.

    The filter is as wide as an output pixel when the crop shrinks (antialias) and two input
    pixels wide when it grows (bilinear); pixels outside the crop count for nothing. Where
    `mirror` is 1 rather than 0, input pixels are counted from the other end.
    """
    start, length = start.view(-1, 1, 1), length.view(-1, 1, 1)
    scale = length / n_out
    support = scale.clamp_min(1.0)
    j = torch.arange(n_in, device=start.device, dtype=start.dtype) + 0.5
    j = j + mirror.view(-1, 1, 1) * (n_in - 2.0 * j)
    i = torch.arange(n_out, device=start.device, dtype=start.dtype).view(-1, 1) + 0.5
    # Few passes over [B, n_out, n_in], in place: what can be is computed on a smaller shape.
    # Pixels outside are moved out of reach; weights are negative until divided by their sum, which
    # as a product with ones is several times faster than as a sum over short rows.
    j = torch.where((j > start) & (j < start + length), j, -4.0 * n_in)
    weights = j / support - (start + scale * i) / support
    weights.abs_().clamp_max_(1.0).sub_(1.0)
    total = weights.view(-1, n_in) @ weights.new_ones(n_in)
    return weights.mul_(total.reciprocal_().view(-1, n_out, 1))


def resample(x: Tensor, rows: Tensor, columns: Tensor, own: bool = False) -> Tensor:
    """Apply a linear map to the rows and one to the columns of every image: `rows x columnsᵀ`.

    x: [B, C, H, W]; rows: [B, H', H]; columns: [B, W', W]. Returns [B, C, H', W'], in the
    memory of `x` if it may be overwritten (`own`) and the size stays.
    """
    B, C, H, W = x.shape
    Ho, Wo = rows.shape[1], columns.shape[1]
    out = x if own and x.is_contiguous() and (Ho, Wo) == (H, W) else x.new_empty(B, C, Ho, Wo)
    half = torch.bmm(x.reshape(B, C * H, W), columns.transpose(1, 2))
    # One weight matrix a channel rather than a broadcast matmul: the same work, fewer checks.
    rows = rows[:, None].expand(B, C, Ho, H).reshape(B * C, Ho, H)
    torch.bmm(rows, half.view(B * C, H, Wo), out=out.view(B * C, Ho, Wo))
    return out


def resized_crop(
    x: Tensor,
    top: Tensor,
    left: Tensor,
    height: Tensor,
    width: Tensor,
    size: int | tuple[int, int],
    mirror: Tensor | None = None,
) -> Tensor:
    """Cut a rectangle out of each image and resize it to `size`, bilinear with antialias.

    Equals `torchvision.transforms.functional.resized_crop(…, antialias=True)` sample by sample.
    Resizing is separable and linear, so it is two batched matrix products (Szeliski 2022, §3.5).

    x: [B, C, H, W] in [0, 1]; top, left, height, width: [B], in pixels, inside the image.
    size: side, or (height, width), of the result. mirror: bool [2, B], whether the image is
    flipped top to bottom, and left to right, before it is cut, which costs nothing here. Raises
    ValueError for a rectangle that is empty or leaves the image (checked only for rectangles
    given on the CPU, as the ops do).
    """
    B, _, H, W = check_images(x)
    h_out, w_out = (size, size) if isinstance(size, int) else size
    box = torch.stack([torch.as_tensor(v).float() for v in (top, left, height, width)])
    if box.device.type == "cpu" and B > 0:
        start, length = box[:2], box[2:]
        side = torch.tensor([[H], [W]])
        wrong = ((start < 0) | (length < 1) | (start + length > side)).any(0)
        if wrong.any():
            b = int(wrong.nonzero()[0, 0])
            raise ValueError(
                f"crop: sample {b} asks for top, left, height, width {box[:, b].int().tolist()} "
                f"of an image {H}×{W}; the rectangle must lie inside"
            )
    mirror = box.new_zeros(2, B) if mirror is None else mirror
    box = send(torch.cat([box, mirror.to(box)]).to(x.dtype), x.device)
    if H == W and h_out == w_out:  # both axes in one go: half as many kernels
        start, length, flipped = box.view(3, 2 * B)
        rows, columns = _resize_weights(start, length, flipped, H, h_out).chunk(2)
    else:
        rows = _resize_weights(box[0], box[2], box[4], H, h_out)
        columns = _resize_weights(box[1], box[3], box[5], W, w_out)
    # Weights sum to one up to rounding: the clamp keeps white at exactly 1.
    return resample(x, rows, columns).clamp_(0.0, 1.0)


def flip(x: Tensor, axis: int = -1) -> Tensor:
    """Mirror every image: left and right (`axis=-1`) or top and bottom (`axis=-2`)."""
    return x.flip(axis)


def rotate(x: Tensor, degrees: Tensor) -> Tensor:
    """Turn each image about its centre, counter-clockwise, bilinear, with a reflected border.

    Equals torchvision's `rotate` of the symmetrically padded image, cut back to its size.
    The border mirrors the tissue rather than showing black corners: a network would otherwise
    read the angle off the corners. x: [B, C, H, W]; degrees: [B].
    """
    B, _, H, W = check_images(x)
    if B == 0:  # affine_grid refuses
        return x
    angle = per_sample(degrees, x, ndim=1) * (math.pi / 180.0)
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    # affine_grid's axes run from −1 to 1 whatever the side, hence the ratios of sides.
    theta = torch.stack([cos, -sin * (H / W), zero, sin * (W / H), cos, zero], dim=-1)
    grid = torch.nn.functional.affine_grid(theta.view(-1, 2, 3), list(x.shape), align_corners=False)
    return torch.nn.functional.grid_sample(
        x, grid, mode="bilinear", padding_mode="reflection", align_corners=False
    ).clamp_(0.0, 1.0)
