"""Params files: what is read, what is refused, and how a refusal reads."""

from __future__ import annotations

from typing import Any

import pytest

from lib.batch.study import StudyError, parse_override, read_study, read_yaml
from lib.checks import ParameterError

ONE = "study: tiny\nexperiments:\n  pretrain:\n    notebook: 01_pretrain\n"


def mistakes(lab: Any, text: str, **overrides: Any) -> list[str]:
    """The lines a params file is refused with, without the path that each begins with."""
    path = lab.write(text)
    with pytest.raises(StudyError) as caught:
        read_study(path, {k.replace("__", "."): v for k, v in overrides.items()})
    assert str(caught.value) == "\n".join(caught.value.mistakes)
    for line in caught.value.mistakes:
        assert "\n" not in line
        assert line.startswith((f"{path}: ", "--set ")), line
    return [line.removeprefix(f"{path}: ") for line in caught.value.mistakes]


def settings(lab: Any, text: str, **overrides: Any) -> list[list[dict[str, Any]]]:
    """The settings of each experiment of a params file."""
    study = read_study(lab.write(text), {k.replace("__", "."): v for k, v in overrides.items()})
    return [[s.values for s in e.settings] for e in study.experiments]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f"{ONE}titel: x", "titel: unknown key (did you mean title?)"),
        (f"{ONE}    sets: {{}}", "experiments.pretrain.sets: unknown key (did you mean set?)"),
        (
            f"{ONE}    set: {{epochz: 3}}",
            "experiments.pretrain.epochz: unknown key (did you mean epochs?)",
        ),
        (
            f"{ONE}    matrix: {{sede: [1]}}",
            "experiments.pretrain.sede: unknown key (did you mean seed?)",
        ),
        (
            f"{ONE}    cases: [{{agument: novel}}]",
            "experiments.pretrain.agument: unknown key (did you mean augment?)",
        ),
        (
            f"{ONE}    set: {{labels: 100}}",  # of another notebook
            "experiments.pretrain.labels: unknown key",
        ),
        (
            f"{ONE}    set: {{epochs: many}}",
            'experiments.pretrain.epochs: expected a whole number from 1, found "many"',
        ),
        (f"{ONE}    set: {{epochs: 2.5}}", "epochs: expected a whole number from 1, found 2.5"),
        (f"{ONE}    set: {{epochs: true}}", "epochs: expected a whole number from 1, found true"),
        (f"{ONE}    set: {{epochs: null}}", "epochs: expected a whole number from 1, found null"),
        (f"{ONE}    set: {{epochs: 0}}", "epochs: expected a whole number from 1, found 0"),
        (f"{ONE}    set: {{lr: 0}}", "lr: expected a number above 0, found 0"),
        (f"{ONE}    set: {{lr: .nan}}", "lr: expected a number above 0, found NaN"),
        (f"{ONE}    set: {{crop_scale: 1.5}}", "crop_scale: expected a number from 0 to 1"),
        (f"{ONE}    set: {{dataset: [a, b]}}", "dataset: expected text, found"),
        (
            f"{ONE}    set: {{augment: novle}}",
            "augment: expected one of natural, simple, novel, greyscale, microscopy, fundus "
            '(did you mean novel?), found "novle"',
        ),
        (f"{ONE}    set: {{out: here}}", "experiments.pretrain.out: chosen by run_all.py"),
        (f"{ONE}    matrix: {{study: [a]}}", "experiments.pretrain.study: chosen by run_all.py"),
        (f"{ONE}defaults: {{results: here}}", "defaults.results: chosen by run_all.py"),
        (f"{ONE}    matrix: {{seed: 3}}", "experiments.pretrain.matrix.seed: expected a list"),
        (f"{ONE}    matrix: {{seed: []}}", "experiments.pretrain.matrix.seed: expected a list"),
        (f"{ONE}    matrix: [1]", "experiments.pretrain.matrix: expected keys and values, found"),
        (f"{ONE}    set: 5", "experiments.pretrain.set: expected keys and values, found 5"),
        (f"{ONE}    cases: {{seed: 1}}", "experiments.pretrain.cases: expected a list of keys"),
        (f"{ONE}    cases: [1]", "experiments.pretrain.cases: expected a list of keys"),
        (f"{ONE}defaults: {{epocs: 3}}", "defaults.epocs: unknown key (did you mean epochs?)"),
        (f"{ONE}defaults: {{labels: 100}}", "defaults.labels: no experiment takes it"),
        (f"{ONE}defaults: {{epochs: x}}", "defaults.epochs: expected a whole number from 1"),
        (f"{ONE}defaults: 3", "defaults: expected keys and values, found 3"),
        (
            "study: a\nexperiments: {p: {notebook: 01_pretain}}",
            "experiments.p.notebook: no 01_pretain (there are 00_data, 01_pretrain",
        ),
        ("study: a\nexperiments: {p: {}}", "experiments.p.notebook: no notebook given (there are"),
        ("study: a\nexperiments: {p: 01_pretrain}", "experiments.p: expected keys and values"),
        ("study: a\nexperiments: {p: }", "experiments.p: expected keys and values, found None"),
        ("study: a\nexperiments: []", "experiments: expected at least one"),
        ("study: a", "experiments: expected at least one"),
        (
            ONE.replace("tiny", "a/b"),
            "study: expected a name of letters, digits, _ . -, at most 100",
        ),
        (ONE.replace("tiny", "..") + "", "study: expected a name of letters"),
        (ONE.replace("tiny", "2024"), "study: expected a name of letters"),
        (ONE.replace("study: tiny", ""), "study: expected a name of letters"),
        (
            ONE.replace("pretrain:\n", "scratch:\n"),
            "experiments.scratch: `init: scratch` means weights; rename it",
        ),
        ("- 1", "expected keys study, title, question, keep, defaults, experiments"),
        ("", "expected keys study, title, question, keep, defaults, experiments"),
        ("study: [", "not valid YAML: "),
        (
            f"{ONE}    set: {{epochs: 1, epochs: 2}}",
            "line 5, column 22: not valid YAML: epochs: given twice",
        ),
        (f"{ONE}study: other", "line 5, column 1: not valid YAML: study: given twice"),
        ("? [1]\n: 2", "line 1, column 3: not valid YAML: a key is no word"),
        ("study: !!python/object:os.system {}", "not valid YAML: could not determine a construct"),
    ],
)
def test_a_mistake_is_one_line_with_the_file_and_the_key(lab: Any, text: str, line: str) -> None:
    [found] = mistakes(lab, text)
    assert line in found


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file(lab: Any) -> None:
    text = """
study: tiny
qestion: x
defaults: {epochs: none, sead: 1}
experiments:
  a: {notebook: 01_pretrain, set: {lr: -1, stem: smal}, matrix: {seed: 1}}
  b: {notebook: 02_probe, set: {labels: few}}
"""
    found = mistakes(lab, text)
    assert [line.partition(" ")[0] for line in found] == [
        "qestion:",
        "defaults.epochs:",
        "defaults.sead:",
        "experiments.a.matrix.seed:",
        "experiments.a.lr:",
        "experiments.a.stem:",
        "experiments.b.labels:",
    ]


def test_a_mistake_in_many_settings_is_told_once(lab: Any) -> None:
    assert len(mistakes(lab, f"{ONE}    set: {{lr: x}}\n    matrix: {{seed: [0, 1, 2]}}")) == 1


def test_a_misspelt_notebook_does_not_make_its_defaults_mistakes(lab: Any) -> None:
    text = "study: a\ndefaults: {epochs: 3}\nexperiments: {p: {notebook: 01_pretain}}"
    assert len(mistakes(lab, text)) == 1


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("labels", 5, "--set labels: no experiment takes it"),
        ("epocs", 5, "--set epocs: unknown key (did you mean epochs?)"),
        ("pretrian__epochs", 5, "--set pretrian.epochs: no experiment takes it"),
        ("pretrain__labels", 5, "--set pretrain.labels: no experiment takes it"),
        ("pretrain__epocs", 5, "--set pretrain.epocs: unknown key (did you mean epochs?)"),
        ("epochs", "x", '--set epochs: expected a whole number from 1, found "x"'),
        ("out", "x", "--set out: chosen by run_all.py"),
    ],
)
def test_an_override_that_cannot_work_is_refused(lab: Any, key: str, value: Any, line: str) -> None:
    [found] = mistakes(lab, ONE, **{key: value})
    assert found.startswith(line)


def test_a_file_that_cannot_be_read(lab: Any) -> None:
    for path, reason in (
        (lab.folder / "no.yaml", "No such file"),
        (lab.folder, "Is a directory"),
        (lab.folder / "latin.yaml", "not text in UTF-8"),
    ):
        (lab.folder / "latin.yaml").write_bytes(b"title: \xe4\n")
        with pytest.raises(StudyError, match=reason) as caught:
            read_study(path)
        assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("word", "number"),
    [("1e-3", 1e-3), ("1E5", 1e5), ("-2e+4", -2e4), ("2.5e-1", 0.25), (".5e1", 5.0), ("1.e2", 100)],
)
def test_numbers_with_an_exponent_are_numbers(lab: Any, word: str, number: float) -> None:
    assert read_yaml(lab.write(f"a: {word}")) == {"a": number}
    assert parse_override(f"a={word}") == ("a", number)


def test_words_stay_words(lab: Any) -> None:
    text = "a: 3e9f1c\nb: e3\nc: 1e\nd: pretrain-x-s0-1e5\ne: '1e-3'"
    words = {"a": "3e9f1c", "b": "e3", "c": "1e", "d": "pretrain-x-s0-1e5", "e": "1e-3"}
    assert read_yaml(lab.write(text)) == words


def test_yaml_merge_keys_work_and_are_no_duplicates(lab: Any) -> None:
    text = "a: &x {p: 1, q: 2}\nb: {<<: *x, q: 3}"
    assert read_yaml(lab.write(text))["b"] == {"p": 1, "q": 3}


def test_overrides_are_read_as_yaml() -> None:
    assert parse_override("probe.labels=[10, all]") == ("probe.labels", [10, "all"])
    assert parse_override("dataset=npz:a=b.npz") == ("dataset", "npz:a=b.npz")
    assert parse_override("floors=false") == ("floors", False)
    for text in ("epochs", "epochs=[", "epochs={a: 1, a: 2}"):
        with pytest.raises(ParameterError, match=r"^--set epochs"):
            parse_override(text)


def test_cases_times_matrix(lab: Any) -> None:
    text = f"""{ONE}
    set: {{lr: 1e-3, epochs: 9}}
    cases:
      - {{dataset: phantom, epochs: 1}}
      - {{dataset: bloodmnist}}
    matrix: {{augment: [novel, natural], seed: [0, 1]}}
"""
    [found] = settings(lab, text)
    keys = ("dataset", "epochs", "augment", "seed")
    assert [tuple(s[k] for k in keys) for s in found] == [
        (*case, augment, seed)
        for case in (("phantom", 1), ("bloodmnist", 9))
        for augment in ("novel", "natural")
        for seed in (0, 1)
    ]
    assert {s["lr"] for s in found} == {0.001}


def test_the_more_special_value_wins(lab: Any) -> None:
    text = f"""defaults: {{epochs: 1, seed: 1, lr: 1, temperature: 1, batch_size: 11, floors: no}}
{ONE}    set: {{seed: 2, lr: 2, temperature: 2, batch_size: 12}}
    cases: [{{lr: 3, temperature: 3, batch_size: 13}}]
    matrix: {{temperature: [4], batch_size: [14]}}
  probe: {{notebook: 02_probe}}
"""
    [[found], [probe]] = settings(lab, text, batch_size=15, pretrain__knn_k=6, knn_k=5)
    assert found == {
        "epochs": 1,
        "seed": 2,
        "lr": 3.0,
        "temperature": 4.0,
        "batch_size": 15,
        "knn_k": 6,  # for this experiment alone, though the one for all came later
    }
    assert probe == {"seed": 1, "floors": False, "knn_k": 5}


def test_an_override_of_a_matrix_leaves_each_setting_once(lab: Any) -> None:
    [found] = settings(lab, f"{ONE}    matrix: {{seed: [0, 1, 2], epochs: [1, 2]}}", seed=7)
    assert found == [{"seed": 7, "epochs": 1}, {"seed": 7, "epochs": 2}]


def test_values_come_in_their_proper_types(lab: Any) -> None:
    text = (
        "study: a\ndefaults: {seed: 3.0, labels: [4, all]}\nexperiments: {p: {notebook: 02_probe}}"
    )
    [[found]] = settings(lab, text)
    assert found == {"seed": 3, "labels": "4,all"}
    assert isinstance(found["seed"], int)


def test_title_defaults_to_the_name(lab: Any) -> None:
    study = read_study(lab.write(ONE))
    assert (study.name, study.title, study.question) == ("tiny", "tiny", "")
