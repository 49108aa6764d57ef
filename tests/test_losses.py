"""NT-Xent and SupCon against the papers' pseudocode, closed forms and two libraries."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from lib import losses
from lib.losses import contrastive_accuracy, nt_xent, sup_con

TEMPERATURES = (0.07, 0.5, 1.0)


def views(N: int = 7, D: int = 5, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    z1, z2 = torch.randn(2, N, D, dtype=torch.float64, generator=generator)
    return z1, z2


def cosine(a: Tensor, b: Tensor) -> float:
    return float(a @ b) / math.sqrt(float(a @ a) * float(b @ b))


def nt_xent_oracle(z1: Tensor, z2: Tensor, temperature: float) -> float:
    """Algorithm 1 of Chen et al. 2020: z of images 2k − 1 and 2k are the views of image k."""
    z = [view for pair in zip(z1, z2, strict=True) for view in pair]

    def pair_loss(i: int, j: int) -> float:
        others = [cosine(z[i], z[k]) / temperature for k in range(len(z)) if k != i]
        return -math.log(
            math.exp(cosine(z[i], z[j]) / temperature) / sum(math.exp(s) for s in others)
        )

    N = len(z1)
    return sum(pair_loss(2 * k, 2 * k + 1) + pair_loss(2 * k + 1, 2 * k) for k in range(N)) / (
        2 * N
    )


def sup_con_oracle(z: Tensor, positives: list[set[int]], temperature: float) -> float:
    """Equation 2 of Khosla et al. 2020, over anchors with a positive."""
    losses = []
    for i, P in enumerate(positives):
        if P:
            others = [cosine(z[i], z[a]) / temperature for a in range(len(z)) if a != i]
            total = sum(math.exp(s) for s in others)
            logs = [math.log(math.exp(cosine(z[i], z[p]) / temperature) / total) for p in P]
            losses.append(-sum(logs) / len(P))
    return sum(losses) / len(losses) if losses else 0.0


def of_class(y: list[int]) -> list[set[int]]:
    return [{j for j in range(len(y)) if j != i and y[j] == y[i]} for i in range(len(y))]


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_nt_xent_equals_the_loops_of_the_paper(temperature: float) -> None:
    z1, z2 = views()
    expected = nt_xent_oracle(z1, z2, temperature)
    assert nt_xent(z1, z2, temperature).item() == pytest.approx(expected, rel=1e-12)


def test_nt_xent_closed_forms() -> None:
    N, temperature = 6, 0.2
    same = torch.ones(N, 4, dtype=torch.float64)
    assert nt_xent(same, same, temperature).item() == pytest.approx(math.log(2 * N - 1))
    # orthogonal images with equal views: similarity 1 with the positive, 0 with 2N − 2 negatives
    basis = torch.eye(N, dtype=torch.float64)
    e = math.exp(1 / temperature)
    expected = -math.log(e / (e + 2 * N - 2))
    assert nt_xent(basis, 3 * basis, temperature).item() == pytest.approx(expected)
    # views that point away from each other
    away = -math.log(1 / e / (1 / e + 2 * N - 2))
    assert nt_xent(basis, -basis, temperature).item() == pytest.approx(away)


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_nt_xent_equals_libraries(temperature: float) -> None:
    from lightly.loss import NTXentLoss
    from pytorch_metric_learning.losses import NTXentLoss as MetricLearningNTXent

    z1, z2 = (z.requires_grad_() for z in views(N=16, D=8))
    ours = nt_xent(z1, z2, temperature)
    (gradient,) = torch.autograd.grad(ours, z1, retain_graph=True)
    lightly = NTXentLoss(temperature)(z1, z2)
    (expected,) = torch.autograd.grad(lightly, z1)
    torch.testing.assert_close(ours, lightly)
    torch.testing.assert_close(gradient, expected)
    ids = torch.arange(16).repeat(2)
    other = MetricLearningNTXent(temperature)(torch.cat([z1, z2]), ids)
    torch.testing.assert_close(ours, other)


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_sup_con_equals_the_formula_and_the_library(temperature: float) -> None:
    from pytorch_metric_learning.losses import SupConLoss

    z1, z2 = (z.requires_grad_() for z in views(N=9))
    y = torch.tensor([0, 1, 2, 0, 0, 1, 3, 2, 0])
    ours = sup_con(z1, z2, y, temperature)
    z = torch.cat([z1, z2])
    expected = sup_con_oracle(z.detach(), of_class(y.tolist() * 2), temperature)
    assert ours.item() == pytest.approx(expected, rel=1e-12)
    (gradient,) = torch.autograd.grad(ours, z1, retain_graph=True)
    theirs = SupConLoss(temperature)(z, y.repeat(2))
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(gradient, torch.autograd.grad(theirs, z1)[0])


def test_sup_con_averages_outside_the_log() -> None:
    # L_in, with the mean inside the log, is never above L_out (Khosla et al. 2020, appendix)
    z1, z2 = views(N=6)
    y = torch.tensor([0, 0, 0, 1, 1, 1])
    z = F.normalize(torch.cat([z1, z2]), dim=1)
    s = (z @ z.T).fill_diagonal_(-torch.inf)
    positive = (y.repeat(2)[:, None] == y.repeat(2)).fill_diagonal_(False)
    inside = (s.softmax(dim=1) * positive).sum(1) / positive.sum(1)
    assert sup_con(z1, z2, y, 1.0) > -inside.log().mean() + 1e-4


def test_sup_con_with_unique_labels_is_nt_xent() -> None:
    z1, z2 = views(N=8)
    torch.testing.assert_close(sup_con(z1, z2, torch.arange(8), 0.3), nt_xent(z1, z2, 0.3))


def test_sup_con_of_one_class_and_equal_views_is_log_2n_minus_1() -> None:
    z = torch.ones(5, 3)
    loss = sup_con(z, z, torch.zeros(5, dtype=torch.long), 0.1)
    assert loss.item() == pytest.approx(math.log(9), rel=1e-6)


def test_sup_con_skips_anchors_without_a_positive() -> None:
    z, _ = views(N=5)
    y = [0, 1, 0, 2, 1]  # the fourth image is alone
    expected = sup_con_oracle(z, of_class(y), 0.2)
    z.requires_grad_()
    loss = sup_con(z, None, torch.tensor(y), 0.2)
    loss.backward()
    assert loss.item() == pytest.approx(expected, rel=1e-12)
    assert z.grad is not None and z.grad.isfinite().all() and z.grad[3].abs().sum() > 0


@pytest.mark.parametrize("N", [1, 4])
def test_sup_con_without_any_pair_is_zero_with_a_gradient_of_zero(N: int) -> None:
    z = views(N=N)[0].float().requires_grad_()
    loss = sup_con(z, None, torch.arange(N), 0.1)
    loss.backward()
    assert loss.item() == 0
    assert z.grad is not None and (z.grad == 0).all()


def test_sup_con_multi_label_positives_share_a_label() -> None:
    z1, z2 = views(N=5)
    y = torch.tensor([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 0], [0, 0, 0]], dtype=torch.uint8)
    related = [{0, 1}, {0, 1, 2}, {1, 2}, {3}, {4}]  # of no label: only the other view of itself
    positives = [{j + 5 * v for j in related[i % 5] for v in (0, 1)} - {i} for i in range(10)]
    expected = sup_con_oracle(torch.cat([z1, z2]), positives, 0.5)
    assert sup_con(z1, z2, y, 0.5).item() == pytest.approx(expected, rel=1e-12)


def test_sup_con_multi_label_counts_do_not_wrap() -> None:
    # 256 shared labels would be 0 in uint8 arithmetic
    z1, z2 = views(N=3)
    y = torch.ones(3, 256, dtype=torch.uint8)
    torch.testing.assert_close(sup_con(z1, z2, y, 0.5), sup_con(z1, z2, torch.zeros(3), 0.5))


def test_gradients_are_those_of_the_function() -> None:
    z1, z2 = (z.requires_grad_() for z in views(N=4, D=3))
    y = torch.tensor([0, 0, 1, 2])
    assert torch.autograd.gradcheck(lambda a, b: nt_xent(a, b, 0.5), (z1, z2))
    assert torch.autograd.gradcheck(lambda a, b: sup_con(a, b, y, 0.5), (z1, z2))
    assert torch.autograd.gradcheck(lambda a: sup_con(a, None, y, 0.5), (z1,))


@pytest.mark.parametrize("loss", [nt_xent, lambda a, b, t: sup_con(a, b, torch.arange(64) % 3, t)])
def test_bf16_autocast_computes_in_float32(loss) -> None:  # type: ignore[no-untyped-def]
    z1, z2 = (z.float() for z in views(N=64, D=32))
    z2 = z1 + z2  # a loss of about 1, neither 0 nor chance
    expected = loss(z1, z2, 0.05)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = loss(z1, z2, 0.05)
    assert inside.dtype == torch.float32
    assert inside.item() == expected.item()
    half = loss(z1.bfloat16(), z2.bfloat16(), 0.05)  # what an autocast head hands over
    assert half.dtype == torch.float32
    rounded = loss(z1.bfloat16().double(), z2.bfloat16().double(), 0.05)
    assert half.item() == pytest.approx(rounded.item(), rel=1e-4)


def test_order_of_images_and_views_does_not_matter() -> None:
    z1, z2 = views(N=10)
    y = torch.arange(10) % 4
    order = torch.randperm(10, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(nt_xent(z1, z2, 0.2), nt_xent(z2[order], z1[order], 0.2))
    shuffled = sup_con(z2[order], z1[order], y[order], 0.2)
    torch.testing.assert_close(sup_con(z1, z2, y, 0.2), shuffled)
    torch.testing.assert_close(nt_xent(z1, z2, 0.2), nt_xent(5 * z1, 0.1 * z2, 0.2))


def test_a_batch_of_one_image_has_loss_zero() -> None:
    z1, z2 = (z.float().requires_grad_() for z in views(N=1))
    loss = nt_xent(z1, z2, 0.1)
    loss.backward()
    assert loss.item() == 0
    assert z1.grad is not None and (z1.grad == 0).all()


@pytest.mark.parametrize(
    ("shape1", "shape2", "temperature"),
    [((3, 2), (4, 2), 0.1), ((0, 2), (0, 2), 0.1), ((3,), (3,), 0.1), ((3, 2), (3, 2), 0.0)],
)
def test_wrong_arguments_are_refused(
    shape1: tuple[int, ...], shape2: tuple[int, ...], temperature: float
) -> None:
    with pytest.raises(ValueError, match=r"z1, z2|temperature"):
        nt_xent(torch.ones(shape1), torch.ones(shape2), temperature)
    with pytest.raises(ValueError, match=r"z1, z2|temperature"):
        sup_con(torch.ones(shape1), torch.ones(shape2), torch.zeros(shape1[0]), temperature)


def test_labels_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match=r"y: expected \[3\]"):
        sup_con(torch.ones(3, 2), torch.ones(3, 2), torch.zeros(6), 0.1)


def test_ranks_equal_a_sort() -> None:
    z1, z2 = views(N=12, D=3)
    z = F.normalize(torch.cat([z1, z2]), dim=1)
    s = (z @ z.T).fill_diagonal_(-2)
    ranks = [
        s[i].sort(descending=True).indices.tolist().index((i + 12) % 24) + 1 for i in range(24)
    ]
    result = contrastive_accuracy(z1, z2)
    assert result.top1.item() == pytest.approx(sum(r == 1 for r in ranks) / 24)
    assert result.top5.item() == pytest.approx(sum(r <= 5 for r in ranks) / 24)
    assert result.mean_rank.item() == pytest.approx(sum(ranks) / 24)


def test_ranks_of_perfect_and_collapsed_encoders() -> None:
    basis = torch.eye(10)
    perfect = contrastive_accuracy(basis, basis)
    assert [value.item() for value in perfect] == [1, 1, 1]
    collapsed = contrastive_accuracy(basis[:1].repeat(10, 1), basis[:1].repeat(10, 1))
    assert [value.item() for value in collapsed] == [0, 0, 10]


LABELS = {
    "images": None,
    "classes": torch.tensor([0, 1, 2, 0, 0, 1, 3, 2, 0, 4, 1]),
    "several labels": (torch.arange(33).view(11, 3) % 5 < 2).to(torch.uint8),
}


def loss_of(labels: str, z1: Tensor, z2: Tensor | None, block: int | None) -> Tensor:
    y = LABELS[labels]
    if y is None:
        assert z2 is not None
        return nt_xent(z1, z2, 0.2, block=block)
    return sup_con(z1, z2, y, 0.2, block=block)


@pytest.mark.parametrize("block", [1, 5, 21, 22])
@pytest.mark.parametrize("labels", LABELS)
def test_in_blocks_loss_and_gradient_are_the_same(labels: str, block: int) -> None:
    for views_given in (2,) if labels == "images" else (2, 1):
        z1, z2 = (z.requires_grad_() for z in views(N=11))
        inputs = (z1, z2)[:views_given]
        second = z2 if views_given == 2 else None
        whole, parts = (loss_of(labels, z1, second, b) for b in (None, block))
        torch.testing.assert_close(parts, whole, rtol=1e-12, atol=0)
        expected, found = (torch.autograd.grad(x, inputs) for x in (whole, parts))
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("labels", LABELS)
def test_in_blocks_float32_agrees_to_1e_minus_5(labels: str) -> None:
    z1, z2 = (z.float().requires_grad_() for z in views(N=11, D=64))
    with torch.autocast("cpu", dtype=torch.bfloat16):  # which nothing here may follow
        whole, parts = (loss_of(labels, z1, z2, b) for b in (None, 4))
    expected, found = (torch.autograd.grad(x, (z1, z2)) for x in (whole, parts))
    assert parts.item() == pytest.approx(whole.item(), rel=1e-5)
    scale = max(g.abs().max().item() for g in expected)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * scale)


def test_in_blocks_anchors_without_a_positive_are_skipped() -> None:
    z = views(N=3)[0].float().requires_grad_()
    loss = sup_con(z, None, torch.arange(3), 0.1, block=2)
    loss.backward()
    assert loss.item() == 0
    assert z.grad is not None and (z.grad == 0).all()


class Largest(TorchDispatchMode):
    """The most elements of any tensor that is made inside."""

    found = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, (tuple, list)) else (made,):
            if isinstance(tensor, Tensor):
                self.found = max(self.found, tensor.numel())
        return made


@pytest.mark.parametrize("labels", LABELS)
def test_beyond_a_size_no_matrix_of_all_pairs_is_made(
    labels: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    z1, z2 = (z.requires_grad_() for z in views(N=11))
    expected, ranks = loss_of(labels, z1, z2, None), contrastive_accuracy(z1, z2)
    monkeypatch.setattr(losses, "AT_A_TIME", 22 * 4)
    with Largest() as largest:
        loss = loss_of(labels, z1, z2, None)
        loss.backward()
        again = contrastive_accuracy(z1, z2)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(again, ranks)
    # four rows of similarities, or the views themselves
    assert largest.found <= max(22 * 4, 22 * 5)


def test_a_block_has_a_row() -> None:
    with pytest.raises(ValueError, match="block: expected at least 1; found 0"):
        nt_xent(*views(), 0.5, block=0)
