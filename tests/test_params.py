"""Parameters: each kind's check, its messages, and that the notebooks and the schema agree."""

from __future__ import annotations

import datetime
import io
import json
import math
import tokenize
from pathlib import Path
from typing import Any

import pytest

from lib.batch.plan import REPORT_NOTEBOOKS
from lib.checks import ParameterError
from lib.params import NOTEBOOKS, PARAMETERS, as_list, check_value, notebook_defaults, unknown

STUDY_NOTEBOOKS = sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))

GOOD: list[tuple[str, Any, Any]] = [
    ("dataset", "csv:a/b.csv", "csv:a/b.csv"),
    ("size", 28, 28),
    ("size", 28.0, 28),
    ("size", 7, 7),
    ("size", 1024, 1024),
    ("seed", 0, 0),
    ("epochs", 10**6, 10**6),
    ("lr", 1, 1.0),
    ("lr", 1e-9, 1e-9),
    ("crop_scale", 0, 0.0),
    ("crop_scale", 1, 1.0),
    ("weight_decay", 0, 0.0),
    ("floors", False, False),
    ("method", "simclr", "simclr"),
    ("augment", "novel", "novel"),
    ("stem", "strided", "strided"),
    ("labels", "all", "all"),
    ("labels", 100, "100"),
    ("labels", "100, 250 ,all", "100,250,all"),
    ("labels", [100, "250", "all"], "100,250,all"),
    ("labels", "0100", "100"),
    ("lrs", 1e-3, "0.001"),
    ("lrs", [1e-3, "3e-4"], "0.001,0.0003"),
    ("lrs", "0.001, 3e-4", "0.001,0.0003"),
    ("sizes", [28, 14.0, "7"], "28,14,7"),
    ("top_k", 5, "5"),
    ("perplexities", "5,30.5", "5,30.5"),
    ("perplexities", [5, 100, 1000000], "5,100,1e+06"),
    ("undersample_to", "10,25,100", "10,25,100"),
    ("remedies", ["focal", "none"], "focal,none"),
    ("remedies", "none , oversample", "none,oversample"),
    ("train_augment", "none", "none"),
    ("train_augment", "simple", "simple"),
]
BAD: list[tuple[str, Any, str]] = [
    ("dataset", 3, "expected text, found 3"),
    ("size", 6, "expected a whole number from 7 to 1024, found 6"),
    ("size", 1025, "from 7 to 1024"),
    ("size", 28.5, "expected a whole number"),
    ("size", "28", 'expected a whole number from 7 to 1024, found "28"'),
    ("size", True, "expected a whole number"),
    ("seed", -1, "expected a whole number from 0 to 4294967295, found -1"),
    ("seed", float("nan"), "seed: "),
    ("seed", float("inf"), "seed: "),
    ("seed", None, "found null"),
    ("lr", 0, "expected a number above 0, found 0"),
    ("lr", float("inf"), "expected a number"),
    ("lr", float("nan"), "expected a number"),
    ("lr", "0.1", "expected a number"),
    ("lr", True, "expected a number"),
    ("lr", 10**400, "lr: "),
    ("crop_scale", 1.01, "expected a number from 0 to 1, found 1.01"),
    ("weight_decay", -1e-9, "expected a number from 0"),
    ("floors", 1, "expected true or false, found 1"),
    ("floors", "true", "expected true or false"),
    ("method", "simclrr", "expected one of simclr, supcon (did you mean simclr?)"),
    ("augment", "nover", "did you mean novel?"),
    ("stem", ["small"], "expected one of small, strided, imagenet"),
    ("labels", 0, "expected a count of labels"),
    ("labels", "-5", "expected a count of labels"),
    ("labels", "100,,all", "expected a count of labels"),
    ("labels", "", "expected a count of labels"),
    ("labels", 10.5, "expected a count of labels"),
    ("labels", True, "expected a count of labels"),
    ("labels", "²", "expected a count of labels"),
    ("labels", [], "expected one label budget or several different"),
    ("labels", [100, "100"], "different ones, found [100,"),
    ("lrs", 0, "expected a number above 0, or several of these, found 0"),
    ("lrs", "0.1,fast", "expected a number above 0, or several of these"),
    ("lrs", "0.1,", "expected a number above 0, or several"),
    ("lrs", [], "expected one rate or several different ones, found []"),
    ("lrs", "0.1,1e-1", "expected one rate or several different ones"),
    ("lrs", "nan", "expected a number above 0"),
    ("lrs", [True], "expected a number above 0"),
    ("lrs", {"a": 1}, "expected a number above 0"),
    ("sizes", "28,6", "expected a whole number from 7 to 1024, or several of these"),
    ("sizes", "28,7.5", "expected a whole number from 7 to 1024"),
    ("sizes", [28, 28.0], "expected one size or several different ones"),
    ("sizes", None, "expected a whole number"),
    ("remedies", "focall", "expected one of none, undersample"),
    ("remedies", "focal,focal", "each once"),
    ("remedies", [], "expected some of none, undersample"),
    ("remedies", 3, "expected one of none"),
    ("train_augment", "nover", "did you mean novel?"),
]


@pytest.mark.parametrize(("name", "value", "expected"), GOOD)
def test_accepts(name: str, value: Any, expected: Any) -> None:
    checked = check_value(name, value)
    assert checked == expected
    assert type(checked) is type(expected)


@pytest.mark.parametrize(("name", "value", "message"), BAD)
def test_refuses_with_a_line_that_names_the_parameter(name: str, value: Any, message: str) -> None:
    with pytest.raises(ParameterError) as caught:
        check_value(name, value)
    assert str(caught.value).startswith(f"{name}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "numbers"),
    [
        ("lrs", [1e-3, 2.5e-5], [1e-3, 2.5e-5]),
        ("lrs", 0.123456789, [0.123456789]),
        ("sizes", "28,224", [28.0, 224.0]),
        ("undersample_to", 1234567, [1234567.0]),
        ("top_k", [1, 5], [1.0, 5.0]),
    ],
)
def test_lists_come_back_as_the_numbers_they_were(
    name: str, value: Any, numbers: list[float]
) -> None:
    checked = check_value(name, value)
    assert as_list(checked) == numbers
    assert check_value(name, checked) == checked


def test_unknown_names_get_the_nearest_one() -> None:
    with pytest.raises(ParameterError, match=r"batchsize: unknown key \(did you mean batch_size"):
        check_value("batchsize", 4)
    assert unknown("zzz", ["b", "a"]) == "zzz: unknown key (known: a, b)"


def test_every_augmentation_sequence_can_be_asked_for() -> None:
    from lib.augment import SEQUENCES

    for name in SEQUENCES:
        assert check_value("augment", name) == name


def test_what_does_not_change_a_result_is_not_hashed() -> None:
    # The precision changes the numbers; where the files lie does not, nor how many devices share
    # a batch, but for rounding.
    assert {name for name, p in PARAMETERS.items() if not p.in_hash} == {
        "data_root", "device", "devices", "num_nodes", "results", "study", "out", "summary",
        "pictures", "show_steps",
    }  # fmt: skip


def parameter_lines(notebook: str) -> list[str]:
    cells = json.loads((NOTEBOOKS / f"{notebook}.ipynb").read_text(encoding="utf-8"))["cells"]
    tagged = [c for c in cells if "parameters" in c["metadata"].get("tags", [])]
    assert len(tagged) == 1
    return "".join(tagged[0]["source"]).splitlines()


@pytest.mark.parametrize("notebook", STUDY_NOTEBOOKS)
def test_notebook_parameters_are_the_schema_s(notebook: str) -> None:
    values: dict[str, Any] = {}
    exec("\n".join(parameter_lines(notebook)), values)  # as the kernel does
    del values["__builtins__"]
    defaults = notebook_defaults(notebook)
    assert defaults == values
    assert list(defaults) == list(values)
    assert set(defaults) <= set(PARAMETERS)
    # `start` reads these of every notebook, and `load_data` of every notebook that has data.
    assert {"data_root", "results", "study", "out"} <= set(defaults)
    about = {"size", "split_seed", "folds", "folds_of", "fold", "cap_per_class", "max_unreadable"}
    if notebook not in REPORT_NOTEBOOKS:
        assert {"dataset", "device", "seed", *about} <= set(defaults)
    # A run must not depend on the folder or the machine it was first written on.
    assert [defaults[n] for n in ("data_root", "results", "study", "out")] == [""] * 4


@pytest.mark.parametrize("notebook", STUDY_NOTEBOOKS)
def test_every_parameter_line_says_what_it_means(notebook: str) -> None:
    for line in parameter_lines(notebook):
        tokens = list(tokenize.generate_tokens(io.StringIO(line).readline))
        comments = [t.string for t in tokens if t.type == tokenize.COMMENT]
        assert tokens[0].type == tokenize.NAME, line
        assert comments, f"no comment: {line}"
        assert len(comments[0].split()) >= 3, line


def test_there_are_notebooks_and_a_name_means_the_same_in_all() -> None:
    assert STUDY_NOTEBOOKS[:3] == ["00_data", "01_pretrain", "02_probe"]
    kinds: dict[str, set[type]] = {}
    for notebook in STUDY_NOTEBOOKS:
        for name, value in notebook_defaults(notebook).items():
            kinds.setdefault(name, set()).add(type(value))
    assert {name: k for name, k in kinds.items() if len(k) > 1} == {}


def write_notebook(folder: Path, source: str, tags: list[str]) -> None:
    cell = {"cell_type": "code", "metadata": {"tags": tags}, "source": source.splitlines(True)}
    text = json.dumps({"cells": [{"cell_type": "markdown", "metadata": {}, "source": []}, cell]})
    (folder / "09_x.ipynb").write_text(text, encoding="utf-8")


def test_reading_defaults(tmp_path: Path) -> None:
    write_notebook(tmp_path, "seed = 3  # why\nlr = 1\nlabels = [5, 'all']", ["parameters"])
    assert notebook_defaults("09_x", tmp_path) == {"seed": 3, "lr": 1.0, "labels": "5,all"}


@pytest.mark.parametrize(
    ("source", "tags", "message"),
    [
        ("seed = 3", [], "has no cell tagged `parameters`"),
        ("seeds = 3", ["parameters"], "seeds: unknown key"),
        ("seed = -3", ["parameters"], "seed: expected a whole number"),
        ("seed = 2 * n", ["parameters"], r"09_x.ipynb: default of seed is 2 \* n; give a literal"),
    ],
)
def test_a_notebook_that_cannot_be_used(
    tmp_path: Path, source: str, tags: list[str], message: str
) -> None:
    write_notebook(tmp_path, source, tags)
    with pytest.raises(ParameterError, match=message):
        notebook_defaults("09_x", tmp_path)


def test_a_notebook_that_is_not_there(tmp_path: Path) -> None:
    write_notebook(tmp_path, "", ["parameters"])
    with pytest.raises(ParameterError, match=r"no 01_nothing \(there are 09_x\)"):
        notebook_defaults("01_nothing", tmp_path)


HOSTILE: list[Any] = [
    None, True, False, -1, 0, 1.5, 10**400, -(10**400), float("nan"), float("inf"), "", " ", "x",
    "nan", "9" * 5000, "1,1", "1,,2", "../..", "a\nb", "\udcff", b"bytes", [], [[]], [None],
    [1, "x"], {}, {"a": 1}, {1, 2}, (1, 2), datetime.date(2026, 1, 1), "x" * 10_000, [1] * 10_000,
]  # fmt: skip


@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_any_value_is_taken_as_plain_data_or_refused_in_a_line(name: str) -> None:
    """No parameter lets a value of another kind through, nor fails in another way."""
    taken = 0
    for value in HOSTILE:
        try:
            checked = check_value(name, value)
        except ParameterError as error:
            assert str(error).startswith(f"{name}: ")
            assert len(str(error)) < 400
            continue
        taken += 1
        assert isinstance(checked, str | int | float | bool)
        assert not isinstance(checked, float) or math.isfinite(checked)
        assert checked == check_value(name, checked)  # as it is read back from params.yaml
    assert taken < len(HOSTILE) / 2
