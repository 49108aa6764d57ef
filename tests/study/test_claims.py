"""Which rows are compared for which claim."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lib.findings.answer import answer
from lib.study.claims import COMPARISONS, judge, over_baseline, undersampling
from lib.study.verdicts import Verdict
from lib.study.worth import weigh
from tests.summaries import PROBE, SCRATCH, as_table, make_row, over, whole_study

# What `whole_study` puts in.
PUT_IN = {
    "pretraining": ("supported", 0.1),
    "pretraining_accuracy": ("supported", 0.1),
    "pretraining_frozen": ("supported", 0.12),
    "novel": ("supported", 0.02),
    "transfer": ("contradicted", -0.03),
    "undersampling": ("supported", 0.05),
    "undersampling_accuracy": ("contradicted", -0.05),
    "supcon": ("supported", 0.15),
    "downsampling": ("supported", -0.04),
}
SUPCON = {**PROBE, "method": "supcon"}


def cells_of(claim: str, rows: list[dict[str, Any]], tmp_path: Path) -> Any:
    """The comparisons of one claim as (ours, other) sides with their budget."""
    v = judge(as_table(rows, tmp_path))[claim]
    sides = ["method", "augment", "protocol", "method_other", "augment_other", "protocol_other"]
    return [tuple(row) for row in v.cells[[*sides, "labels"]].itertuples(index=False)]


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Verdict]:
    return judge(as_table(whole_study(), tmp_path_factory.mktemp("study")))


@pytest.mark.parametrize("claim", PUT_IN)
def test_the_answer_is_what_was_put_in(claim: str, verdicts: dict[str, Verdict]) -> None:
    answer, gain = PUT_IN[claim]
    v = verdicts[claim]
    assert v.answer == answer
    assert v.effect.mean == pytest.approx(gain, abs=0.003)
    assert v.effect.low < v.effect.mean < v.effect.high
    assert len(v.datasets) == 3


def test_every_claim_is_judged(verdicts: dict[str, Verdict]) -> None:
    from lib.findings.claims import CLAIMS

    assert set(verdicts) == set(CLAIMS) == {*COMPARISONS, "downsampling"}


def test_an_empty_study_tests_nothing(tmp_path: Path) -> None:
    for rows in ([], [make_row(protocol="data", metric="images", method="", labels="")]):
        table = as_table(rows, tmp_path)
        assert {v.answer for v in judge(table).values()} == {"not tested here"}


def test_one_seed_tests_nothing(tmp_path: Path) -> None:
    found = judge(as_table(whole_study(seeds=1), tmp_path))
    assert {v.answer for v in found.values()} == {"not tested here"}
    assert found["pretraining"].effect.mean == pytest.approx(0.1, abs=0.01)


def test_the_baseline_is_trained_whole_and_the_floor_is_not(tmp_path: Path) -> None:
    floor = {**SCRATCH, "protocol": "probe"}
    knn = {**SCRATCH, "protocol": "knn"}
    rows = [*over(PROBE, 0.9), *over(SCRATCH, 0.8), *over(floor, 0.7), *over(knn, 0.6)]
    rows += over({**PROBE, "protocol": "knn"}, 0.9)
    assert cells_of("pretraining", rows, tmp_path) == [
        ("simclr", "novel", "probe", "random", "", "finetune", "100")
    ]
    assert cells_of("pretraining_frozen", rows, tmp_path) == [
        ("simclr", "novel", "probe", "random", "", "probe", "100")
    ]


def test_augmentations_are_compared_within_a_protocol_and_a_variant(tmp_path: Path) -> None:
    rows = []
    for augment in ("novel", "natural", "simple"):
        for protocol in ("probe", "finetune"):
            for method in ("simclr", "simclr (warm)", "simclr from x"):
                side = {"method": method, "augment": augment, "protocol": protocol}
                rows += over(side, 0.8)
    found = cells_of("novel", rows, tmp_path)
    assert len(found) == 4
    for ours in found:
        method, augment, protocol = ours[:3]
        assert ours[3:6] == (method, "natural", protocol)
        assert (augment, "from" in method) == ("novel", False)


def test_transfer_is_compared_with_the_same_recipe(tmp_path: Path) -> None:
    names = ["simclr", "simclr from x", "simclr from x>cells", "simclr from x (warm)", "imagenet"]
    rows = [row for name in names for row in over({**PROBE, "method": name}, 0.8)]
    rows += over({**PROBE, "method": "simclr from y", "augment": "simple"}, 0.8)
    # The views of y suit its images; the data set's own encoders have others, of one kind.
    found = [cell[0] for cell in cells_of("transfer", rows, tmp_path)]
    assert found == [*names[1:3], "simclr from y"]
    rows += over({**PROBE, "augment": "greyscale"}, 0.8)
    assert [cell[0] for cell in cells_of("transfer", rows, tmp_path)] == names[1:3]


def test_undersampling_is_compared_with_everything_that_was_there(tmp_path: Path) -> None:
    cut = {**PROBE, "protocol": "probe+undersample"}
    tail = "tail 100"
    rows = over(PROBE, 0.8, labels=("100", "all", tail))
    rows += over(cut, 0.7, labels=("10 per class", "25 per class", f"25 per class, {tail}"))
    rows += over({**PROBE, "protocol": "probe+oversample"}, 0.9, labels=("all",))
    rows += over({**SCRATCH, "protocol": "probe"}, 0.5, labels=("all",))
    rows += over({**SCRATCH, "protocol": "probe+undersample"}, 0.5, labels=("10 per class",))
    cells = undersampling(as_table(rows, tmp_path), "auroc", 0.95)
    assert list(cells["labels"]) == ["10 per class", "25 per class", f"25 per class, {tail}"]
    assert set(cells["method"]) == {"simclr"}
    plain = {
        w: [r["value"] for r in rows if r["labels"] == w and "+" not in r["protocol"]]
        for w in ("all", tail)
    }
    for cell in cells.itertuples():
        other = plain[tail if "tail" in str(cell.labels) else "all"][:5]
        kept = [r["value"] for r in rows if r["labels"] == cell.labels][:5]
        gains = [a - b for a, b in zip(kept, other, strict=True)]
        assert list(cell.units.values()) == pytest.approx(gains)


def test_supcon_competes_with_the_labels_it_saw(tmp_path: Path) -> None:
    budgets = {"labels": ("100", "all")}
    rows = [*over(SUPCON, 0.9, **budgets), *over(SCRATCH, 0.8, **budgets)]
    assert [c[-1] for c in cells_of("supcon", rows, tmp_path)] == ["all"]
    noted = {"protocol": "pretrain", "metric": "loss", "split": "train", "labels": "100"}
    rows += [make_row(**{**SUPCON, **noted, "seed": seed}) for seed in range(5)]
    assert [c[-1] for c in cells_of("supcon", rows, tmp_path)] == ["100"]


def test_supcon_and_cross_entropy_start_alike(tmp_path: Path) -> None:
    warm = {**SUPCON, "method": "supcon from imagenet>cells"}
    tuned = {"method": "imagenet", "augment": "", "protocol": "finetune"}
    probed = {"method": "supervised from imagenet>cells", "augment": "", "protocol": "probe"}
    sides = [SUPCON, SCRATCH, warm, tuned, probed]
    rows = [row for side in sides for row in over(side, 0.8, labels=("all",))]
    pairs = {(c[0], c[3], c[5]) for c in cells_of("supcon", rows, tmp_path)}
    assert pairs == {
        ("supcon", "random", "finetune"),
        ("supcon from imagenet>cells", "imagenet", "finetune"),
        ("supcon from imagenet>cells", "supervised from imagenet>cells", "probe"),
    }


def test_sizes_are_compared_with_the_largest_by_the_same_recipe(tmp_path: Path) -> None:
    rows = [row for size in (28, 14, 7) for row in over(PROBE, 0.8, size=size)]
    v = judge(as_table(rows, tmp_path), tolerance=2.0)["downsampling"]
    assert list(zip(v.cells["size"], v.cells["size_other"], strict=True)) == [(14, 28), (7, 28)]
    assert set(v.cells["margin"]) == {-0.02}
    # Where 06 was run, what others measured at one size is another recipe.
    notebook = {"notebook": "06_downsampling"}
    rows += [row for s in (28, 14) for row in over(PROBE, 0.6, size=s, **notebook)]
    v = judge(as_table(rows, tmp_path))["downsampling"]
    assert list(v.cells["size"]) == [14]
    assert v.effect.mean == pytest.approx(0.0, abs=0.01)
    rows = [*over(PROBE, 0.6, **notebook), *over(SCRATCH, 0.5)]
    assert judge(as_table(rows, tmp_path))["pretraining"].cells.empty


def test_a_finetuned_network_meets_scratch_of_its_own_setting(tmp_path: Path) -> None:
    tuned = {**PROBE, "protocol": "finetune"}
    rows = [
        *over(tuned, 0.80),
        *over({**tuned, "method": "simclr (long)"}, 0.85),
        *over({**tuned, "method": "simclr (warm, long)"}, 0.86),
        *over({**tuned, "method": "simclr (warm)"}, 0.81),
        *over(PROBE, 0.75),
        *over(SCRATCH, 0.70),
        *over({**SCRATCH, "method": "random (long)"}, 0.84),
    ]
    cells = over_baseline(as_table(rows, tmp_path), "auroc", 0.95)
    ways = zip(cells["method"], cells["protocol"], cells["method_other"], strict=True)
    assert set(ways) == {
        ("simclr", "finetune", "random"),
        ("simclr (long)", "finetune", "random (long)"),
        ("simclr (warm, long)", "finetune", "random (long)"),
        ("simclr (warm)", "finetune", "random"),
        ("simclr", "probe", "random"),
    }
    by = cells.set_index(["method", "protocol"])["mean"]
    assert by["simclr (long)", "finetune"] == pytest.approx(0.01, abs=0.005)
    long = next(w for w in weigh(as_table(rows, tmp_path)) if w.method == "simclr (long)")
    assert long.cells["mean"].iloc[0] == pytest.approx(0.01, abs=0.005)
    said = [s for s in answer(as_table(rows, tmp_path)) if s.startswith("SimCLR (long, novel)")]
    assert (
        said[0]
        .partition(" AUROC")[0]
        .startswith("SimCLR (long, novel), finetuned, against training from scratch: +0.0")
    )
