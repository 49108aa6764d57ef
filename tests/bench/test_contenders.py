"""The contenders: peers that are not there, ratios, and what is counted."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from typing import Any

import nbformat
import numpy as np
import pytest
import torch

from bench import augment, gpu, losses, overhead, pretraining, probe, retrieval
from bench.pretraining import Cell
from lib.augment import make_augment
from lib.params import ROOT

CELL = Cell("natural", 28, "strided", 8, 1, 2, "cpu", "fp32", 1)


def test_a_peer_that_is_not_installed_has_a_row_that_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pretraining, "installed", lambda name: name != "lightly")
    for name in ("ceiling", "ours"):
        seconds = {"ceiling": [0.9, 1.1], "ours": [1.25]}[name]
        monkeypatch.setitem(
            pretraining.CONTENDERS, name, lambda cell, images, seconds=seconds: seconds
        )
    rows = pretraining.measure(CELL, 2, ["ceiling", "ours", "lightly"])
    by = {row["contender"]: row for row in rows}
    assert by["lightly"]["note"] == "lightly is not installed"
    assert by["lightly"]["views_per_s"] is None
    assert by["ceiling"]["ours_is_faster_by"] == 0.8  # 1.0 s over 1.25 s
    assert by["ceiling"]["views_per_s"] == 16.0 and by["ceiling"]["epochs"] == 4
    assert "lightly is not installed" in pretraining.line(rows)
    goals = {goal.what: goal for goal in pretraining.goals_of(rows)}
    assert [goal.verdict for goal in goals.values()] == ["MISSED", "not measured"]


def test_ours_and_the_ceiling_are_timed_by_epochs_after_the_first() -> None:
    images = np.random.default_rng(0).integers(0, 256, (8, 28, 28, 3)).astype(np.uint8)
    assert len(pretraining.ours(CELL, images)) == 1
    assert len(pretraining.ceiling(CELL, images)) == 1


def test_the_classic_recipe_is_left_out_where_its_pairs_do_not_fit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pretraining, "free_memory", lambda device: 2**30)
    large = Cell("natural", 28, "strided", 1024, 1, 2, "cpu", "fp32", 1)
    assert "10 GiB" in pretraining.why_not("classic", large)
    assert pretraining.why_not("classic", CELL) == ""


def test_steps_fill_an_epoch_of_some_seconds() -> None:
    assert pretraining.choose_steps(CELL, 0.01) == pretraining.MOST_STEPS
    assert pretraining.choose_steps(CELL, 1.0) == 3
    assert pretraining.choose_steps(CELL, 60.0) == 1


def test_short_epochs_of_a_gpu_are_repeated_and_counted_in_what_a_cell_takes() -> None:
    there = Cell("natural", 28, "strided", 8, 1, 2, "cuda", "fp32", 1)
    assert pretraining.of_contender(there, "ours").epochs == 10
    assert pretraining.of_contender(there, "lightly").epochs == 2
    assert pretraining.of_contender(CELL, "ours").epochs == 2
    assert pretraining.expected(there, 1.0, 2, ["ceiling"]) == 20
    # a core brings 250 images a second
    assert pretraining.expected(there, 0.0, 1, ["lightly"]) == pytest.approx(2 * 8 / 250)


def test_augmentation_does_without_kornia(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augment, "installed", lambda name: False)
    monkeypatch.setattr(augment, "TURN", 0.0)
    rows = augment.run(28, 2, 1, ["novel"])
    assert [row["library"] for row in rows] == ["ours", "pillow"]
    assert "kornia is not installed" in augment.table(rows)
    [goal] = augment.goals_of(rows)
    assert (goal.verdict, goal.note) == ("not measured", "kornia is not installed")


@pytest.mark.parametrize("loss", ["nt_xent", "sup_con"])
def test_losses_are_compared_and_judged(loss: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lib.losses.AT_A_TIME", 128 * 16)  # blocks of 16 rows
    difference = losses.compare(loss, 64)["difference"]
    assert 0 < difference < losses.TOLERANCE
    known = {"loss": loss, "form": "blocks", "gradient_difference": difference}
    rows = [
        {**known, "images": 64, "total_mib": 300.0},
        {**known, "images": losses.LARGEST, "total_mib": 9000.0, "gradient_difference": None},
    ]
    verdicts = {g.what: g.verdict for g in losses.goals_of(rows) if g.what.startswith(loss)}
    assert list(verdicts.values()) == ["MISSED", "met"]


def test_a_probe_is_measured_beside_both_loops() -> None:
    data = probe.draw_features(90, 6, 3)
    train, val = probe.Labelled(data.h[:60], data.y[:60]), probe.Labelled(data.h[60:], data.y[60:])
    row = probe.measure(train, val, 3, epochs=40, timed=1, repeats=1)
    assert row["images"] == 60 and row["converged"]
    assert row["ours_loss"] < min(np.log(3), row["loop_loss"])  # 40 steps are few
    assert row["faster_than_loader"] > 0 and row["faster_than_plain"] > 0
    total = probe.summed([row, row])
    assert total["plain_s"] == pytest.approx(2 * row["plain_s"])
    assert total["loss_above_loop"] == pytest.approx(row["ours_loss"] - row["loop_loss"], abs=2e-5)


def test_operations_of_resnet18_are_those_of_its_paper() -> None:
    # 1.81 G multiplications forward (He et al. 2016, table 1: 1.8); three times with gradients,
    # but for the images' own.
    forward = 2 * 1.814e9
    first = 2 * 64 * 3 * 49 * 112**2
    assert gpu.flops_per_view("imagenet", 224) == pytest.approx(3 * forward - first, rel=0.01)


def gpu_rows() -> list[Mapping[str, Any]]:
    cell = {"size": 28, "stem": "imagenet", "note": "", "ours_is_faster_by": None}
    return [
        {**cell, "contender": "ours", "views_per_s": 3.2e5},
        {**cell, "contender": "ours", "views_per_s": 1e5},
        {**cell, "contender": "ours", "views_per_s": 5e4, "stem": "small"},
        {**cell, "contender": "lightly", "views_per_s": 1e4, "ours_is_faster_by": 32.0},
    ]


def test_targets_of_a_gpu_are_judged_on_a_gpu_only() -> None:
    assert {goal.verdict for goal in gpu.goals_of(gpu_rows(), "cpu")} == {"not measured"}
    stem, small, views, lightly = gpu.goals_of(gpu_rows(), "cuda")
    assert [g.verdict for g in (stem, small, views, lightly)] == ["met", "MISSED", "met", "met"]
    assert views.value == pytest.approx(150.0) and "extrapolated" in views.what
    absent = [*gpu_rows()[:3], {**gpu_rows()[3], "ours_is_faster_by": None, "note": "no lightly"}]
    assert gpu.goals_of(absent, "cuda")[3].note == "no lightly"


def test_operations_are_sorted_by_their_own_time() -> None:
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        for _ in range(3):
            torch.randn(64, 64) @ torch.randn(64, 64)
    ops = gpu.operations(profiler.key_averages(), on_gpu=False)
    assert next(op["calls"] for op in ops if op["operation"] == "aten::mm") == 3
    assert sum(op["share"] for op in ops) == pytest.approx(1.0, abs=0.01)
    assert [op["ms"] for op in ops] == sorted((op["ms"] for op in ops), reverse=True)


def test_the_script_for_gpus_is_sound_shell_and_refuses_what_it_does_not_know() -> None:
    script = ROOT / "bench" / "gpu.sh"
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
    done = subprocess.run(["bash", script, "--fast"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "usage" in done.stderr


def test_a_notebook_that_does_nothing_imports_what_a_probe_does(tmp_path: Any) -> None:
    path = overhead.write_nothing(tmp_path / "nothing.ipynb")
    book = nbformat.read(path, as_version=4)
    nbformat.validate(book)
    assert "from lib.evaluation.evaluate import" in book.cells[2].source
    assert book.cells[1].metadata["tags"] == ["parameters"]


def test_the_share_of_fixed_cost() -> None:
    # 10 s once, then 100 × (1 + 0.5) of 100 × 20
    assert overhead.share(10, 1, 0.5, 20) == pytest.approx(160 / 2010)


def test_memory_of_retrieval_is_judged_at_the_size_of_the_goal_only() -> None:
    small = {"what": "kNN", "library": 1000, "width": 512, "queries": 10, "peak_mib": 5.0}
    large = {**small, "library": retrieval.GOAL_LIBRARY, "peak_mib": 2500.0}
    assert [g.verdict for g in retrieval.goals_of([small, large])] == ["not measured", "MISSED"]


def test_recorded_augmentation_makes_the_same_views() -> None:
    """As a training step on a GPU makes them; on a CPU the kernels are the same but one by one."""
    x = augment.smooth_images(5, 28)
    view = make_augment("natural", 28, 3)
    make = augment.recorded(view, x, torch.Generator().manual_seed(3))
    generator = torch.Generator().manual_seed(3)
    view.draw(5, 28, 28, generator)  # the first draw only shows what is drawn
    for _ in range(2):
        torch.testing.assert_close(make(), view(x, generator))
