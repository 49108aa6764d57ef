"""Brightness, contrast, saturation, hue and greyscale, each sample with its own factor.

Each function equals the one of the same name in `torchvision.transforms.functional`, sample by
sample. Images are float [B, C, H, W] in [0, 1]; factors are [B]. With one channel, saturation,
hue and greyscale leave the image as it is.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from lib.augment.batch import check_images, per_sample
from lib.moving import send

# ITU-R 601 luma to the four digits torchvision uses.
GREY_WEIGHTS = (0.2989, 0.587, 0.114)

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)


def _grey(x: Tensor) -> Tensor:
    """Weighted mean over the colour axis: [B, C, H, W] → [B, 1, H, W]."""
    if x.shape[1] == 1:
        return x
    r, g, b = (x[:, c : c + 1] for c in range(3))
    wr, wg, wb = GREY_WEIGHTS
    return (r * wr).add_(g, alpha=wg).add_(b, alpha=wb)


def _blend(x: Tensor, other: Tensor | float, factor: Tensor) -> Tensor:
    """`factor · x + (1 − factor) · other`, clamped to [0, 1]."""
    factor = per_sample(factor, x)
    return (x * factor + (1.0 - factor) * other).clamp_(0.0, 1.0)


def adjust_brightness(x: Tensor, factor: Tensor) -> Tensor:
    """Scale each image by its factor: 0 is black, 1 changes nothing."""
    check_images(x)
    return _blend(x, 0.0, factor)


def adjust_contrast(x: Tensor, factor: Tensor) -> Tensor:
    """Move each image away from (factor > 1) or towards the mean of its grey version."""
    check_images(x)
    return _blend(x, _grey(x).mean((1, 2, 3), keepdim=True), factor)


def adjust_saturation(x: Tensor, factor: Tensor) -> Tensor:
    """Move each pixel away from (factor > 1) or towards its own grey; one channel: unchanged."""
    check_images(x)
    return x if x.shape[1] == 1 else _blend(x, _grey(x), factor)


def to_greyscale(x: Tensor) -> Tensor:
    """Give every channel the luma of the pixel; one channel: unchanged."""
    check_images(x)
    return x if x.shape[1] == 1 else _grey(x).expand_as(x).contiguous()


def shift_hue(x: Tensor, shift: Tensor) -> Tensor:
    """Turn the hue of each image by `shift` of the whole HSV circle; one channel: unchanged.

    shift: [B] in [−.5, .5]. Equals the way through HSV, written without its six cases, which
    are slow on every device: on the hexagon a pixel's distance from red, in sixths of the
    circle, is `1 + (g + b − r − min) / chroma`, on the green side where g ≥ b; and the channel
    whose primary is `d` sixths away is `max − chroma · (clamp(d, 1, 2) − 1)`.
    """
    check_images(x)
    if x.shape[1] == 1:
        return x
    return _shift_hue(x, per_sample(shift, x), torch.empty_like(x))


def _shift_hue(x: Tensor, shift: Tensor, out: Tensor) -> Tensor:
    """`shift_hue` of colour images into `out`, which may be `x`; shift: [B, 1, 1, 1]."""
    r, g, b = (x[:, c : c + 1] for c in range(3))
    top = torch.maximum(torch.maximum(r, g), b)
    low = torch.minimum(torch.minimum(r, g), b)
    chroma6 = (top - low).mul_(6.0)
    turn = (g + b).sub_(r).sub_(low)
    # Grey pixels have 0 / tiny = 0 here, and chroma 0 removes whatever hue they get.
    turn.div_(chroma6.clamp_min(1e-12)).add_(1.0 / 6.0).copysign_(g - b)
    turn.add_(shift)
    d = turn - _primaries(x.device, x.dtype)
    d.sub_(d.round()).abs_().clamp_(1.0 / 6.0, 1.0 / 3.0)
    # top + chroma − 6 · chroma · d; rounding may leave [0, 1] by a few 1e-8.
    top.add_(chroma6, alpha=1.0 / 6.0)
    return torch.addcmul(top, d, chroma6, value=-1.0, out=out).clamp_(0.0, 1.0)


@cache
def _primaries(device: torch.device, dtype: torch.dtype) -> Tensor:
    """Where red, green and blue lie on the circle of hues, [1, 3, 1, 1]; sent to a device once."""
    return torch.tensor([0.0, 1 / 3, 2 / 3], dtype=dtype).view(1, 3, 1, 1).to(device)


def colour_jitter(
    x: Tensor, index: Tensor, order: Tensor, factors: Tensor, own: bool = False
) -> Tensor:
    """Apply the four colour ops to each sample in an order of its own, as torchvision does.

    index: int64 [n], the samples to change, without repeats; the others stay as they are.
    order: int64 [n, 4], each row a permutation of 0 brightness, 1 contrast, 2 saturation, 3 hue;
    factors: [n, 4], by op (not by turn). All three on the CPU. own: `x` may be overwritten.

    Samples are sorted by the turn of their hue, so that each hue turn is one run of them. The other
    three ops are all `factor · x + offset`, with an offset that is 0 (brightness), a number by
    sample (contrast) or one by pixel (saturation), so that between two hue turns one pass over all
    samples does whichever op it is: no masks, the work of four ops rather than of sixteen.
    """
    C = check_images(x)[1]
    turn = (order == HUE).int().argmax(1)
    rank = turn.argsort(stable=True)
    ends = [0, *torch.bincount(turn, minlength=4).cumsum(0).tolist()]
    others, factors = order[order != HUE].view(-1, 3)[rank], factors[rank]
    affine = factors.gather(1, others)
    if C == 1:
        affine[others == SATURATION] = 1.0
    rest = 1.0 - affine
    layers = [affine, rest * (others == SATURATION), rest * (others == CONTRAST)]
    layer = send(torch.stack(layers).to(x.dtype), x.device)[..., None, None, None]
    hue = send(factors[:, HUE].to(x.dtype), x.device).view(-1, 1, 1, 1)
    index = send(index[rank], x.device)

    y = x.index_select(0, index)
    for t in range(4):
        group = slice(ends[t], ends[t + 1])
        if C == 3 and group.stop > group.start:
            _shift_hue(y[group], hue[group], y[group])
        if t < 3:
            _affine_(y, *layer[:, :, t])
    return x.index_copy_(0, index, y) if own else x.index_copy(0, index, y)


def colour_jitter_unread(x: Tensor, mask: Tensor, order: Tensor, factors: Tensor) -> Tensor:
    """`colour_jitter` of the samples in `mask`, by the same operations whatever is drawn.

    mask: bool [B], order: int64 [B, 4] and factors: [B, 4], as in `colour_jitter`, for all samples
    and on the device of `x`, where nobody reads them. What comes before a sample's hue turn and
    what after is one pass over all samples for each of the other three ops, which changes nothing
    where it is not that sample's turn.
    """
    C = check_images(x)[1]
    turn = (order == HUE).int().argmax(1, keepdim=True)
    place = torch.arange(3, device=x.device)
    others = order.gather(1, place + (place >= turn))
    affine = torch.where(mask[:, None], factors.gather(1, others), 1.0)
    if C == 1:
        affine = torch.where(others == SATURATION, 1.0, affine)

    def pass_over(y: Tensor, j: int, now: Tensor | None) -> None:
        factor = affine[:, j] if now is None else torch.where(now, affine[:, j], 1.0)
        rest = 1.0 - factor
        layers = (factor, rest * (others[:, j] == SATURATION), rest * (others[:, j] == CONTRAST))
        _affine_(y, *(layer.to(x.dtype).view(-1, 1, 1, 1) for layer in layers))

    y = x.clone()
    if C == 1:
        for j in range(3):
            pass_over(y, j, None)
        return y
    for j in range(3):
        pass_over(y, j, turn[:, 0] > j)
    shift = factors[:, HUE].to(x.dtype).view(-1, 1, 1, 1)
    y = torch.where(mask.view(-1, 1, 1, 1), _shift_hue(y, shift, torch.empty_like(y)), y)
    for j in range(3):
        pass_over(y, j, turn[:, 0] <= j)
    return y


def _affine_(y: Tensor, factor: Tensor, by_pixel: Tensor, by_sample: Tensor) -> None:
    """Brightness, contrast or saturation in place; all parameters [n, 1, 1, 1].

    by_pixel is 1 − factor where a sample's op is saturation, by_sample where it is contrast; both
    are 0 elsewhere.
    """
    grey = _grey(y) if y.shape[1] == 3 else y.clone()
    mean = grey.mean((2, 3), keepdim=True)
    grey.mul_(by_pixel).add_(mean.mul_(by_sample))
    torch.addcmul(grey, y, factor, out=y).clamp_(0.0, 1.0)
