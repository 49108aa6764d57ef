"""The named sequences: what is in them, and what holds for every one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from lib.augment import SEQUENCES, Pipeline, make_augment
from lib.augment.ops import (
    ColourJitter,
    Drawn,
    EqualizeLuma,
    Flip,
    GaussianBlur,
    Greyscale,
    Op,
    RandomResizedCrop,
    Rotate,
    Sharpness,
)
from lib.augment.pipeline import pack, take_rows, unpack

CROP = RandomResizedCrop(28, (0.08, 1.0), (3 / 4, 4 / 3))
BLUR = GaussianBlur(9, (0.1, 2.0), 1.0)
DOCUMENTED = {
    "natural": (Flip(0.5), CROP, ColourJitter(0.5, 0.5, 0.5, 0.1, 0.8), Greyscale(0.2), BLUR),
    "simple": (CROP, ColourJitter(0.5, 0.5, 0.5, 0.1, 0.8), BLUR),
    "novel": (
        Flip(0.5),
        CROP,
        ColourJitter(0.2, 0.2, 0.2, 0.04, 0.8),
        Greyscale(0.2),
        BLUR,
        EqualizeLuma(0.5),
        Sharpness((1.0, 10.0)),
    ),
    "greyscale": (Flip(0.5), CROP, BLUR, EqualizeLuma(0.5), Sharpness((1.0, 10.0))),
    "microscopy": (
        Rotate(180.0),
        Flip(0.5),
        Flip(0.5, vertical=True),
        RandomResizedCrop(28, (0.2, 1.0), (3 / 4, 4 / 3)),
        ColourJitter(0.3, 0.3, 0.3, 0.06, 0.8),
        Greyscale(0.2),
        GaussianBlur(5, (0.1, 1.0), 0.5),
    ),
    "fundus": (
        Rotate(180.0),
        Flip(0.5),
        Flip(0.5, vertical=True),
        RandomResizedCrop(28, (1.0, 1.0), (1.0, 1.0)),
        ColourJitter(0.4, 0.4, 0.2, 0.05, 0.8),
        Greyscale(0.2),
        GaussianBlur(5, (0.1, 1.0), 0.5),
    ),
}


def images(n: int = 32, channels: int = 3, side: int = 28, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, channels, side, side, generator=torch.Generator().manual_seed(seed))


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_every_sequence_is_documented_here() -> None:
    assert set(SEQUENCES) == set(DOCUMENTED)


@pytest.mark.parametrize("name", DOCUMENTED)
def test_ops_order_and_settings(name: str) -> None:
    assert tuple(make_augment(name, size=28, channels=3)) == DOCUMENTED[name]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", DOCUMENTED)
def test_views_are_images_and_the_input_is_untouched(name: str, channels: int) -> None:
    view = make_augment(name, size=28, channels=channels)
    for side in (28, 41):
        x = images(17, channels, side)
        x[0], x[1] = 0.0, 1.0
        before = x.clone()
        y = view(x, seeded(1))
        assert y.shape == (17, channels, 28, 28) and y.dtype == torch.float32
        assert y.isfinite().all() and y.min() >= 0 and y.max() <= 1
        assert torch.equal(x, before)


@pytest.mark.parametrize("name", DOCUMENTED)
def test_same_seed_same_views_other_seed_other_views(name: str) -> None:
    view, x = make_augment(name, size=28, channels=3), images()
    first = view(x, seeded(1))
    assert torch.equal(first, view(x, seeded(1)))
    other = view(x, seeded(2))
    assert all(not torch.equal(first[b], other[b]) for b in range(len(x)))


@pytest.mark.parametrize("name", DOCUMENTED)
def test_copies_of_one_image_get_different_views(name: str) -> None:
    x = images(1).expand(16, -1, -1, -1)
    y = make_augment(name, size=28, channels=3)(x, seeded(3))
    assert len(torch.unique(y.flatten(1), dim=0)) == 16


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", DOCUMENTED)
def test_a_view_made_in_parts_is_the_whole_view(name: str, channels: int) -> None:
    pipeline, x = make_augment(name, size=28, channels=channels), images(13, channels)
    whole, after = seeded(5), []
    expected = pipeline(x, whole)
    for part in (slice(0, 5), slice(5, 6), slice(6, 13)):
        generator = seeded(5)
        drawn = pipeline.draw(len(x), *x.shape[2:], generator)
        view = pipeline.apply(x[part], take_rows(drawn, part))
        # Rounding may differ by the size of the batch, and equalisation may show it.
        difference = (view - expected[part]).abs().flatten(1).amax(1)
        assert (difference < 1e-5).float().mean() > 0.8
        after.append(generator.get_state())
    assert all(torch.equal(state, whole.get_state()) for state in after)


class Operations(TorchDispatchMode):
    """Notes every operation with the shapes it works on."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        shapes = [tuple(a.shape) if isinstance(a, Tensor) else None for a in args]
        self.seen.append((str(func), shapes))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", [*DOCUMENTED, "natural rotation=10 blur_p=0.5"])
def test_parameters_need_not_be_read(name: str, channels: int) -> None:
    """Packed and left unread they give the same views, by the same operations for all draws."""
    pipeline, x = make_augment(name, size=28, channels=channels), images(13, channels)
    before = x.clone()
    generator, operations = seeded(6), []
    for _ in range(3):
        views = [pipeline.draw(13, 28, 28, generator) for _ in range(2)]
        numbers = pack(views)
        drawn = unpack(torch.cat(numbers.chunk(2, dim=1)), views[0])
        for k, view in enumerate(views):
            for mine, op in zip(drawn, view, strict=True):
                for packed, values in zip(mine, op, strict=True):
                    assert packed.dtype == values.dtype
                    assert torch.equal(packed[13 * k : 13 * (k + 1)], values)
        with Operations() as noted:
            both = pipeline.apply_unread(torch.cat([x, x]), drawn)
        operations.append(noted.seen)
        assert torch.equal(x, before)
        expected = torch.cat([pipeline.apply(x, view) for view in views])
        difference = (both - expected).abs().flatten(1).amax(1)
        # As above: a rounded luma may carry a pixel over a level's edge.
        assert (difference < 1e-5).float().mean() > 0.9
        if EqualizeLuma(0.5) not in pipeline.ops:
            assert difference.max() < 1e-5
    assert operations[0] == operations[1] == operations[2]
    assert len(operations[0]) > 10


@pytest.mark.parametrize("name", DOCUMENTED)
def test_steps_end_at_the_view(name: str) -> None:
    view, x = make_augment(name, size=28, channels=3), images()
    steps = list(view.steps(x, seeded(4)))
    assert [label for label, _ in steps] == [op.label for op in view]
    difference = (steps[-1][1] - view(x, seeded(4))).abs().flatten(1).amax(1)
    # A call joins flips and crop, which differs in rounding; equalisation may carry a pixel on
    # the edge of a level over it, in a rare image.
    assert (difference < 1e-5).float().mean() > 0.9
    if EqualizeLuma(0.5) not in view.ops:
        assert difference.max() < 1e-5


@pytest.mark.parametrize("n", [0, 1])
@pytest.mark.parametrize("name", DOCUMENTED)
def test_empty_batch_and_single_image(name: str, n: int) -> None:
    assert make_augment(name, 28, 3)(images(n), seeded(0)).shape == (n, 3, 28, 28)


@pytest.mark.parametrize(
    "op", [Flip(0.0), ColourJitter(1, 1, 1, 0.5, p=0.0), Greyscale(0.0), EqualizeLuma(0.0),
           GaussianBlur(p=0.0), Sharpness((1.0, 1.0))],
)  # fmt: skip
def test_probability_zero_changes_nothing(op) -> None:
    x = images()
    torch.testing.assert_close(op(x, seeded(0)), x, atol=1e-7, rtol=0)


@pytest.mark.parametrize(
    "op", [Flip(1.0), ColourJitter(0.5, 0.5, 0.5, 0.1, p=1.0), Greyscale(1.0), EqualizeLuma(1.0),
           GaussianBlur(sigma=(1.0, 2.0), p=1.0), Sharpness((2.0, 3.0))],
)  # fmt: skip
def test_probability_one_changes_every_sample(op) -> None:
    x = images()
    y = op(x, seeded(0))
    assert ((y - x).abs().flatten(1).amax(1) > 0.01).all()


def test_giving_the_input_away_changes_memory_not_results() -> None:
    for op in DOCUMENTED["novel"] + DOCUMENTED["microscopy"]:
        x = images()
        assert torch.equal(op(x, seeded(5)), op(x.clone(), seeded(5), own=True))


def test_factors_are_uniform_over_the_documented_range() -> None:
    x = torch.full((4000, 1, 4, 4), 0.5)
    y = ColourJitter(0.4, 0.0, 0.0, 0.0, p=0.8)(x, seeded(6))[:, 0, 0, 0] / 0.5
    changed = y != 1
    assert abs(changed.float().mean() - 0.8) < 0.03
    assert 0.6 <= y.min() < 0.62 and 1.38 < y.max() <= 1.4 and abs(y[changed].mean() - 1) < 0.02


def test_every_order_of_the_colour_ops_is_as_likely() -> None:
    order, _ = ColourJitter(0.5, 0.5, 0.5, 0.1).settings(24_000, seeded(7))
    permutations, count = torch.unique(order, dim=0, return_counts=True)
    assert len(permutations) == 24
    assert torch.equal(permutations.sort(1).values, torch.arange(4).expand(24, 4))
    assert (count - 1000).abs().max() < 5 * 1000**0.5


def test_fundus_keeps_the_whole_image() -> None:
    crop = make_augment("fundus", 28, 3).ops[3]
    for side in (28, 56):
        x = images(8, side=side)
        y = crop(x, seeded(0))
        expected = torch.nn.functional.interpolate(
            x, size=(28, 28), mode="bilinear", antialias=True, align_corners=False
        )
        torch.testing.assert_close(y, expected, atol=1e-5, rtol=0)
    view = make_augment("fundus", 28, 3, crop_scale=(0.5, 1.0))
    assert view.ops[3] == RandomResizedCrop(28, (0.5, 1.0), (1.0, 1.0))


def test_overrides_reach_their_op() -> None:
    view = make_augment(
        "novel", 28, 3, crop_scale=(0.2, 1), jitter=(0.1, 0.2, 0.3, 0.4), blur_p=0.5, sharpness=None
    )
    assert view.ops[1] == RandomResizedCrop(28, (0.2, 1), (3 / 4, 4 / 3))
    assert view.ops[2] == ColourJitter(0.1, 0.2, 0.3, 0.4, 0.8)
    assert view.ops[4] == GaussianBlur(9, (0.1, 2.0), 0.5)
    assert view.ops[6] == Sharpness((1.0, 10.0))


def test_labels_read_like_the_paper() -> None:
    assert [op.label for op in make_augment("natural", 28, 3)] == [
        "horizontal flip, p .5",
        "crop of .08–1 to 28 px",
        "colour jitter .5/.5/.5/.1, p .8",
        "greyscale, p .2",
        "blur 9 px, σ .1–2",
    ]


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("nowel", {}, "natural, simple, novel, greyscale, microscopy, fundus"),
        ("natural", {"sharpness": (1, 2)}, "no setting 'sharpness'"),
        ("natural", {"crop_scale": (0.5, 0.2)}, "RandomResizedCrop.scale"),
        ("natural", {"jitter_p": 1.5}, "ColourJitter.p"),
        ("natural", {"jitter": (0.5, 0.5, 0.5, 0.6)}, "ColourJitter.hue"),
        ("natural", {"blur_kernel": 57}, "at most 55"),
        ("natural", {"channels": 2}, "channels: found 2"),
    ],
)
def test_what_cannot_be_made_is_refused(name: str, settings: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make_augment(name, 28, **{"channels": 3, **settings})


def test_wrong_images_are_refused() -> None:
    view = make_augment("natural", 28, 3)
    with pytest.raises(ValueError, match="channels=1"):
        view(images(channels=1), seeded(0))
    with pytest.raises(ValueError, match="divide by 255"):
        view(torch.zeros(2, 3, 28, 28, dtype=torch.uint8), seeded(0))


def test_autocast_does_not_reach_the_pixels() -> None:
    view, x = make_augment("natural", 28, 3), images()
    with torch.autocast("cpu", torch.bfloat16):
        y = view(x, seeded(8))
    assert y.dtype == torch.float32 and torch.equal(y, view(x, seeded(8)))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", DOCUMENTED)
def test_same_views_on_the_accelerator(name: str) -> None:
    view, x = make_augment(name, 28, 3), images()
    difference = (view(x, seeded(9)) - view(x.cuda(), seeded(9)).cpu()).abs().flatten(1).amax(1)
    assert (difference < 1e-4).float().mean() > 0.9


def test_an_op_of_ones_own_need_not_be_left_unread() -> None:
    """It works everywhere, and says that a step with it cannot be recorded."""

    class Invert(Op):
        label = "inverted"

        def draw(self, n: int, height: int, width: int, generator: torch.Generator) -> Drawn:
            return (torch.rand(n, generator=generator) < 0.5,)

        def apply(self, x: Tensor, drawn: Drawn, own: bool = False) -> Tensor:
            mask = torch.from_numpy(drawn[0].numpy())  # on the CPU, as promised
            return torch.where(mask.view(-1, 1, 1, 1), 1 - x, x)

    own, x = Pipeline("own", 3, (Flip(0.5), Invert())), images(8)
    assert own(x, seeded(0)).shape == x.shape
    assert not own.can_stay_unread
    with pytest.raises(NotImplementedError, match="Invert has no apply_unread"):
        own.apply_unread(x, own.draw(8, 28, 28, seeded(0)))
    for name in SEQUENCES:
        assert make_augment(f"{name} rotation=10", 28, 3).can_stay_unread
