"""A run's name changes with all that its numbers depend on, and with nothing else."""

from __future__ import annotations

import ast
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lib import identity
from lib.data.embedded import is_synthetic
from lib.identity import (
    PRESENTATION,
    RANDOM,
    Origin,
    absolute_dataset,
    code_fingerprint,
    column_name,
    commit,
    finetuned_name,
    imported_modules,
    module_file,
    run_name,
    short_name,
    slug,
    without_docstrings,
)
from lib.params import NOTEBOOKS, notebook_defaults

FILES = {
    "lib/__init__.py": "",
    "lib/model.py": '"""D."""\nfrom lib.deep.layer import width\ndef f():\n    return width + 1\n',
    "lib/deep/__init__.py": "start = 1\n",
    "lib/deep/layer.py": "width = 4\n",
    "lib/figures.py": "from lib.only_drawn import blue\n",
    "lib/only_drawn.py": "blue = 1\n",
    "lib/names.py": "word = 'a'\n",
    "lib/runtime.py": "speed = 1\n",
    "lib/unused.py": "x = 1\n",
}
CELLS = [
    ("markdown", [], "# Title"),
    ("code", ["parameters"], "seed = 0  # of all"),
    ("code", [], "from lib.figures import blue\nfrom lib.findings import names"),
    ("code", [], "import lib.runtime\nfrom lib.model import f\nf()"),
]
Edit = Callable[..., str]


@pytest.fixture
def edited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Edit:
    """The fingerprint of a small project in which some files or cells are replaced."""
    monkeypatch.setattr(identity, "ROOT", tmp_path)

    def fingerprint(
        files: dict[str, str] | None = None,
        cells: dict[int, tuple[str, list[str], str]] | None = None,
    ) -> str:
        for name, text in {**FILES, **(files or {})}.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        chosen = [(cells or {}).get(i, cell) for i, cell in enumerate(CELLS)]
        notebook = [
            {"cell_type": kind, "metadata": {"tags": tags}, "source": text.splitlines(True)}
            for kind, tags, text in chosen
        ]
        folder = tmp_path / "notebooks"
        folder.mkdir(exist_ok=True)
        (folder / "09_x.ipynb").write_text(json.dumps({"cells": notebook}), encoding="utf-8")
        code_fingerprint.cache_clear()
        try:
            return code_fingerprint("09_x", folder)
        finally:
            code_fingerprint.cache_clear()

    return fingerprint


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("lib/model.py", FILES["lib/model.py"].replace("+ 1", "+ 2")),
        ("lib/deep/layer.py", "width = 5\n"),  # reached through lib.model
        ("lib/deep/__init__.py", "start = 2\n"),  # executed on the way to lib.deep.layer
        ("lib/runtime.py", "speed = 2\n"),  # a name that begins like lib.run, which does not count
    ],
)
def test_code_reached_by_import_counts(edited: Edit, file: str, text: str) -> None:
    assert edited({file: text}) != edited()


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("lib/model.py", '# why\n"""Other."""\nfrom lib.deep.layer import (\n    width,\n)\n\n\n'
         'def f():\n    """New."""\n    return (width + 1)  # sum\n'),
        ("lib/figures.py", "from lib.only_drawn import blue\nred = 2\n"),
        ("lib/only_drawn.py", "blue = 2\n"),
        ("lib/names.py", "word = 'b'\n"),
        ("lib/unused.py", "x = 2\n"),
    ],
)  # fmt: skip
def test_comments_presentation_and_other_modules_do_not(edited: Edit, file: str, text: str) -> None:
    assert edited({file: text}) == edited()


def test_cells_that_count(edited: Edit) -> None:
    same = {0: ("markdown", [], "# Other"), 1: ("code", ["parameters"], "seed = 9")}
    same[3] = ("code", [], "import lib.runtime\nfrom lib.model import f\n\nf()  # now")
    assert edited(cells=same) == edited()
    assert edited(cells={3: ("code", [], "from lib.model import f\nf(2)")}) != edited()
    assert edited(cells={3: ("code", [], CELLS[3][2] + "\nimport lib.unused")}) != edited()


def test_imports_at_any_depth() -> None:
    source = (
        "import numpy, lib.a\nimport library\nif x:\n    from lib import b\n"
        "def f():\n    from lib.c import d as e\n"
    )
    assert imported_modules(ast.parse(source)) == {
        "lib", "lib.a", "lib.b", "lib.c", "lib.c.d",
    }  # fmt: skip


def test_presentation_modules_exist() -> None:
    assert [name for name in PRESENTATION if module_file(name) is None] == []
    assert module_file("lib.nothing") is None


def test_the_notebooks_fingerprints_differ() -> None:
    names = [path.stem for path in NOTEBOOKS.glob("*.ipynb")]
    assert len({code_fingerprint(name) for name in names}) == len(names)


@pytest.mark.parametrize(
    ("dataset", "name", "short"),
    [
        ("bloodmnist", "bloodmnist", "bloodmnist"),
        ("csv:/data/eyes/labels.csv", "csv-eyes-labels", "csv:eyes/labels.csv"),
        ("npz:/data/My Cells (v2).npz", "npz-my-cells-v2", "npz:data/My Cells (v2).npz"),
        ("folder:/data/skin/", "folder-skin", "folder:data/skin"),
        ("csv:a:b/labels.csv", "csv-a-b-labels", "csv:a:b/labels.csv"),
    ],
)
def test_names_of_data_sets(dataset: str, name: str, short: str) -> None:
    assert slug(dataset) == name
    assert short_name(dataset) == short


def test_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, root = tmp_path / "here", tmp_path / "root"
    here.mkdir()
    root.mkdir()
    (here / "a.csv").touch()
    (root / "b.csv").touch()
    monkeypatch.chdir(here)
    monkeypatch.setattr(identity, "ROOT", root)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert absolute_dataset("bloodmnist") == "bloodmnist"
    assert absolute_dataset("csv:a.csv") == f"csv:{here / 'a.csv'}"
    assert absolute_dataset("csv:b.csv") == f"csv:{root / 'b.csv'}"
    assert absolute_dataset("csv:~/c.csv") == f"csv:{tmp_path / 'c.csv'}"
    assert absolute_dataset(f"csv:{here / 'd.csv'}") == f"csv:{here / 'd.csv'}"


def name_of(
    notebook: str = "02_probe", origin: Origin = RANDOM, data: str = "f00d", **changes: Any
) -> str:
    return run_name(notebook, {**notebook_defaults(notebook), **changes}, origin, data)


TRAINED = Origin("simclr", "novel", "pretrain-phantom-simclr-novel-s0-12345678")


def test_a_name_reads_well_and_ends_in_a_hash() -> None:
    words, _, end = name_of(origin=TRAINED).rpartition("-")
    assert words == "probe-phantom-simclr-novel-s0"
    assert len(end) == 8
    assert int(end, 16) >= 0
    assert name_of("01_pretrain", size=64, seed=3).startswith(
        "pretrain-phantom-64px-simclr-novel-s3-"
    )
    assert name_of("00_data").startswith("data-phantom-novel-s0-")
    assert name_of().startswith("probe-phantom-random-s0-")


def test_a_fold_and_a_variant_stand_in_the_name() -> None:
    assert name_of("01_pretrain", folds=5, fold=2, variant="Warm start").startswith(
        "pretrain-phantom-simclr-novel-warm-start-f2-s0-"
    )
    assert name_of("01_pretrain", folds=0, fold=2).startswith("pretrain-phantom-simclr-novel-s0-")


def test_numbers_without_the_test_split_are_named_so() -> None:
    kept = {"dataset": "breastmnist", "folds": 5, "folds_of": "all"}
    assert column_name(kept) == "breastmnist"
    assert column_name({**kept, "folds": 0, "folds_of": "trainval"}) == "breastmnist"
    tried = {**kept, "folds_of": "trainval"}
    assert column_name(tried) == "breastmnist (trainval)"
    assert column_name({**tried, "dataset": "csv:/a/b/c.csv"}) == "csv:b/c.csv (trainval)"
    assert is_synthetic(column_name({**tried, "dataset": "phantom"}))
    assert not is_synthetic(column_name(tried))
    name = name_of("01_pretrain", folds=5, fold=2, folds_of="trainval")
    assert name.startswith("pretrain-phantom-simclr-novel-trainval-f2-s0-")


def test_an_augmentation_with_settings_makes_a_readable_name() -> None:
    plain, turned = (name_of("01_pretrain", augment=a) for a in ("novel", "novel rotation=180"))
    for name in (plain, turned):
        assert name.startswith("pretrain-phantom-simclr-novel-s0-")
    assert plain != turned


# Where an encoder comes from


PATH = RANDOM.trained_on("pathmnist", "simclr", "novel", "run-a")


def test_an_encoder_is_named_by_what_it_was_trained_on() -> None:
    assert Origin("simclr", "novel", "run-a", ("pathmnist",)) == PATH
    assert PATH.method_on("pathmnist") == "simclr"
    assert PATH.method_on("dermamnist") == "simclr from pathmnist"
    further = PATH.trained_on("dermamnist", "supcon", "natural", "run-b")
    assert (further.method, further.augment, further.identity) == ("supcon", "natural", "run-b")
    assert further.trail == ("pathmnist", "dermamnist")
    for dataset in ("pathmnist", "dermamnist", "octmnist"):
        assert further.method_on(dataset) == "supcon from pathmnist>dermamnist"


def test_training_again_on_the_same_images_is_noted() -> None:
    twice = PATH.trained_on("pathmnist", "simclr", "novel", "run-b")
    assert twice.method_on("pathmnist") == "simclr from pathmnist>pathmnist"


def test_imagenet_is_a_station_on_the_way() -> None:
    imagenet = Origin("imagenet", "", "imagenet")
    assert imagenet.method_on("pathmnist") == "imagenet"
    made = imagenet.trained_on("pathmnist", "simclr", "novel", "x")
    assert made.trail == ("imagenet", "pathmnist")
    assert made.method_on("pathmnist") == "simclr from imagenet>pathmnist"


def test_a_variant_is_told_and_does_not_outlive_its_run() -> None:
    warm = RANDOM.trained_on("pathmnist", "simclr", "novel", "x", "warm")
    assert warm.method_on("pathmnist") == "simclr (warm)"
    assert warm.method_on("dermamnist") == "simclr from pathmnist (warm)"
    assert warm.trained_on("dermamnist", "simclr", "novel", "y").variant == ""


def test_own_data_are_told_apart_by_file_and_not_by_folder_of_this_machine() -> None:
    own = RANDOM.trained_on("csv:/data/a/labels.csv", "simclr", "novel", "x")
    assert own.trail == ("csv:a/labels.csv",)
    assert own.method_on("csv:/elsewhere/a/labels.csv") == "simclr"
    assert own.method_on("csv:/data/b/labels.csv") == "simclr from csv:a/labels.csv"


@pytest.mark.parametrize(
    ("method", "name"),
    [
        ("random", "supervised"),
        ("imagenet", "supervised"),
        ("simclr", "simclr+finetune"),
        ("supcon", "supcon+finetune"),
    ],
)
def test_names_of_finetuned_encoders(method: str, name: str) -> None:
    assert finetuned_name(method) == name


def test_what_changes_a_name() -> None:
    variants = [
        name_of(),
        name_of(seed=1),
        name_of(labels="100"),
        name_of(knn_k=21),
        name_of(precision="bf16"),
        name_of(data="beef"),
        name_of(origin=TRAINED),
        name_of(origin=Origin("simclr", "novel", "another")),
    ]
    assert len(set(variants)) == len(variants)


def test_what_does_not_change_a_name() -> None:
    elsewhere = {"data_root": "/d", "device": "cuda", "results": "/r", "study": "s", "out": "/o"}
    assert name_of(**elsewhere) == name_of()
    # An encoder counts by what it is, data by their fingerprint, wherever they lie.
    assert name_of(origin=TRAINED, init="/a/encoder.safetensors") == name_of(
        origin=TRAINED, init="/b/encoder.safetensors"
    )
    assert name_of(dataset="csv:/a/x/l.csv") == name_of(dataset="csv:/b/x/l.csv")


def test_the_commit_and_whether_code_differs_from_it(tmp_path: Path) -> None:
    def git(*words: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        done = subprocess.run(
            ["git", "-C", str(tmp_path), *who, *words], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    assert commit(tmp_path / "nothing") == "unknown"
    git("init", "-q")
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "a.py").write_text("x = 1\n", encoding="utf-8")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    head = git("rev-parse", "--short=8", "HEAD")
    for path, expected in (("results.txt", head), ("lib/b.py", head + "+")):
        (tmp_path / path).write_text("new", encoding="utf-8")
        commit.cache_clear()
        assert commit(tmp_path) == expected
    commit.cache_clear()


def test_every_notebook_depends_on_the_data_and_only_training_ones_on_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import lib.identity as module

    real = module.module_file

    def fingerprints(changed: str) -> dict[str, str]:
        """Of all notebooks, as if one module had one more statement."""
        target = real(changed)
        text = module.Path.read_text

        def read(path: module.Path, *args: str, **kwargs: str) -> str:
            more = "\nEXTRA = 1\n" if path == target else ""
            return text(path, *args, **kwargs) + more

        module.code_fingerprint.cache_clear()
        with monkeypatch.context() as patch:
            patch.setattr(module.Path, "read_text", read)
            return {n: module.code_fingerprint(n) for n in ("00_data", "01_pretrain", "02_probe")}

    before = fingerprints("lib.no_such_module")
    for changed, affected in {
        "lib.data.split": {"00_data", "01_pretrain", "02_probe"},
        "lib.augment.colour": {"00_data", "01_pretrain"},
        "lib.training.contrastive": {"01_pretrain"},
        "lib.evaluation.evaluate": {"02_probe"},
        "lib.figures": set(),
        "lib.preview": set(),
    }.items():
        after = fingerprints(changed)
        assert {n for n in after if after[n] != before[n]} == affected, changed
    module.code_fingerprint.cache_clear()


def test_the_mark_of_code_is_the_same_in_newer_pythons(monkeypatch: pytest.MonkeyPatch) -> None:
    """3.12 gives functions and classes a list of type parameters, and unparses f-strings anew."""
    source = "def f(x: int) -> str:\n    return f'{x!r:>{3}} \"a\" {None}' 'b\\n' + str(0)\n"
    before = without_docstrings(ast.parse(source))
    assert identity.digest(before) == "ce682da2"  # whichever Python computes it
    assert without_docstrings(ast.parse(source.replace("str(0)", "str(1)"))) != before
    assert without_docstrings(ast.parse(source.replace("None", "False"))) != before
    fields = (*(name for name in ast.FunctionDef._fields if name != "type_params"), "type_params")
    monkeypatch.setattr(ast.FunctionDef, "_fields", fields)
    tree = ast.parse(source)
    function: Any = tree.body[0]
    function.type_params = []
    monkeypatch.setattr(ast, "unparse", lambda tree: pytest.fail("unparsed"))
    assert without_docstrings(tree) == before
