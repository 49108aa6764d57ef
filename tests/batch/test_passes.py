"""Image passes by formula against passes counted while the notebooks' cells run on tiny data."""

from __future__ import annotations

import ast
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from lib.batch.passes import COUNTERS, Passes, count_passes, count_work
from lib.batch.plan import PlannedRun
from lib.checks import ParameterError
from lib.data.base import UNLABELLED, Task
from lib.identity import RANDOM, Origin
from lib.models.encoder import Encoder, build_encoder
from lib.models.weights import save_encoder
from lib.params import NOTEBOOKS, check_value, notebook_defaults
from tests.tiny import COUNTS, write_npz

QUICK = {"epochs": 2, "batch_size": 16, "stem": "strided", "bootstrap": 100, "knn_k": 5}
TUNED = {**QUICK, "min_steps": 5, "labels": "12,all,5000", "lrs": "0.001,0.0003", "val_every": 2}
CASES: list[tuple[str, dict[str, Any]]] = [
    ("01_pretrain", {**QUICK, "epochs": 3, "knn_every": 2}),
    ("02_probe", {**QUICK, "init": "source", "labels": "all"}),
    ("02_probe", {**QUICK, "labels": "all"}),
    ("03_finetune", {**TUNED, "init": "source"}),
    ("04_imbalance", {**QUICK, "init": "source", "undersample_to": "2,100"}),
    ("04_imbalance", {**TUNED, "protocol": "finetune", "imbalance_ratio": 3, "undersample_to": "2",
                      "remedies": "undersample,focal,logit_adjustment"}),
    ("05_transfer", {**TUNED, "init": "source", "lrs": "0.001", "further_epochs": 2}),
    ("06_downsampling", {**QUICK, "sizes": "14,7", "labels": "all", "knn_every": 1}),
    ("07_retrieval", {**QUICK, "init": "source"}),
    ("08_features", {**QUICK, "init": "source", "max_points": 20}),
    ("11_selection", {**TUNED, "init": "source"}),
    ("10_retinopathy", {**QUICK, "init": "source", "neighbours": "1,5", "references": "2"}),
]  # fmt: skip
MORE = 40  # images without a label, where there are some
# Those that pretrain, and one that does not.
BESIDE = [("01_pretrain", QUICK), *(CASES[i] for i in (1, 6, 7))]
TASK: dict[str, Task] = {"10_retinopathy": "ordinal"}  # where classes alone will not do


def planned(
    notebook: str, origin: Origin = RANDOM, classes: int = 4, more: int = 0, **params: Any
) -> PlannedRun:
    defaults = notebook_defaults(notebook)
    known = {k: check_value(k, v) for k, v in params.items() if k in defaults}
    return PlannedRun(
        "a", "e", notebook, {**defaults, **known}, (), 0.0, origin,
        images=COUNTS | ({UNLABELLED: more} if more else {}), classes=classes,
    )  # fmt: skip


def computing_cells(notebook: str) -> list[str]:
    """The code of a notebook less its parameters, its figures and its last words."""
    cells = json.loads((NOTEBOOKS / f"{notebook}.ipynb").read_text(encoding="utf-8"))["cells"]
    code = [
        "".join(cell["source"])
        for cell in cells
        if cell["cell_type"] == "code" and "parameters" not in cell["metadata"].get("tags", [])
    ]
    imports, *rest = code
    kept, missing = [imports], set[str]()
    for text in rest:
        names = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)]
        # What a figure's cell defines is for figures, and for what is said of them.
        if "plot_" in text or "finish(" in text or missing & {node.id for node in names}:
            missing |= {node.id for node in names if isinstance(node.ctx, ast.Store)}
        else:
            kept.append(text)
    return kept


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Images that went through any encoder, trained and embedded, and training steps.

    The encoder itself is replaced by pixels times a weight: what it finds does not matter here.
    """
    seen: Counter[str] = Counter()

    def feature_map(self: Encoder, x: torch.Tensor) -> torch.Tensor:
        training = torch.is_grad_enabled()
        seen["trained" if training else "embedded"] += len(x)
        seen["steps"] += training
        pixels = functional.adaptive_avg_pool2d(x, 7).flatten(1)
        weight = self.resnet.layer4[1].bn2.weight  # type: ignore[union-attr, index]
        h = functional.pad(pixels, (0, self.feature_dim - pixels.shape[1])) * weight
        return h[..., None, None]

    monkeypatch.setattr(Encoder, "feature_map", feature_map)
    return seen


@pytest.fixture(scope="module")
def source_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder of an earlier study, pretrained on something else."""
    folder = tmp_path_factory.mktemp("source")
    header = {"size": 28, "dataset": "other", "commit": "x", "method": "simclr", "trail": ["other"]}
    header["parameters"] = {"augment": "microscopy", "run": "r", "batch_size": 256, "knn_every": 5}
    encoder = build_encoder("resnet18", "strided", 3, seed=0)
    save_encoder(folder / "encoder.safetensors", encoder, header)
    return folder / "encoder.safetensors"


@pytest.mark.parametrize(
    ("notebook", "params", "more"),
    [*((*case, 0) for case in CASES), *((*case, MORE) for case in BESIDE)],
    ids=[*(name for name, _ in CASES), *(f"{name}, unlabelled" for name, _ in BESIDE)],
)
def test_formulas_are_what_the_notebooks_do(
    notebook: str,
    params: dict[str, Any],
    more: int,
    counted: Counter[str],
    source_file: Path,
    tmp_path: Path,
) -> None:
    data = write_npz(tmp_path / "tiny.npz", TASK.get(notebook, "multi-class"), unlabelled=more)
    defaults = notebook_defaults(notebook)
    used = {k: v for k, v in params.items() if k in defaults}
    if used.get("init") == "source":
        used["init"] = str(source_file)
    used |= {"dataset": f"npz:{data}", "device": "cpu", "precision": "fp32", "out": str(tmp_path)}
    variables: dict[str, Any] = {**defaults, **used, "display": print}
    for text in computing_cells(notebook):
        exec(compile(ast.parse(text), notebook, "exec"), variables)
    origin = Origin("simclr", "microscopy", "r", ("other",)) if "init" in params else RANDOM
    expected = count_passes(planned(notebook, origin, more=more, **used))
    for name in ("trained", "steps", "embedded"):
        total = sum(getattr(part, name) for part in expected)
        assert counted[name] == pytest.approx(total, rel=0.12), name


def test_every_notebook_has_a_formula() -> None:
    assert {path.stem for path in NOTEBOOKS.glob("*.ipynb")} <= set(COUNTERS)


def test_a_notebook_without_one_is_named() -> None:
    run = PlannedRun("a", "e", "99_new", {}, (), 0.0, RANDOM)
    assert count_work(run) == 0
    with pytest.raises(ParameterError, match="99_new has no formula"):
        count_passes(run)


def test_an_encoder_that_knows_the_target_is_not_pretrained_further() -> None:
    make: Callable[..., PlannedRun] = lambda trail: planned(  # noqa: E731
        "05_transfer", Origin("simclr", "novel", "x", trail), init="x", finetuned=False
    )
    everything = sum(COUNTS.values())
    assert count_passes(make(("phantom",))) == [Passes(embedded=2 * everything)]
    further, embedded = count_passes(make(("pathmnist",)))
    assert further.trained == 2 * COUNTS["train"] * 2
    assert further.augment == "novel"
    assert embedded.embedded == 3 * everything


def test_unlabelled_images_are_pretrained_on_and_never_embedded() -> None:
    everything = sum(COUNTS.values())
    assert count_passes(planned("02_probe", more=MORE)) == [Passes(embedded=everything)]
    [passes] = count_passes(planned("01_pretrain", more=MORE, epochs=3, batch_size=16))
    assert passes.trained == 2 * 3 * (COUNTS["train"] + MORE)
    assert passes.steps == 3 * 6


def test_work_counts_pixels() -> None:
    small = count_work(planned("02_probe"))
    assert count_work(planned("02_probe", size=56)) == pytest.approx(4 * small)
    sizes = count_work(planned("06_downsampling", sizes="28,14"))
    assert sizes == pytest.approx(1.25 * count_work(planned("06_downsampling", sizes="28")))
