"""Params files that cannot be meant."""

from __future__ import annotations

import codecs

from tests.refused.case import HEAD, PRETRAIN, Case, Desk

ONE = f"{HEAD}  one:\n    notebook: 01_pretrain\n"
LAUGHS = "\n".join(
    ["a0: &a0 [ha, ha, ha, ha, ha, ha, ha, ha, ha]"]
    + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
)


def text(name: str, content: str | bytes, *says: str) -> Case:
    return Case(name, lambda desk: desk.study(content), says)


def setting(name: str, value: str, *says: str, notebook: str = "01_pretrain") -> Case:
    """One parameter of one experiment: `key: value`."""
    body = f"{HEAD}  one:\n    notebook: {notebook}\n    set: {{{value}}}\n"
    return Case(name, lambda desk: desk.study(body), ["experiments.one.", *says])


def named(name: str, study: str) -> Case:
    """A study's name that could not be a folder everywhere."""
    body = PRETRAIN.replace("study: mine", f"study: {study}")
    return Case(f"study name {name}", lambda desk: desk.study(body), ["study: expected"])


def belongs_to_another(desk: Desk) -> list[str]:
    desk.write("results/mine/study.json", '{"params": "old/theirs.yaml"}')
    return [*desk.study(PRETRAIN), "--results", str(desk.folder / "results")]


def copied(desk: Desk) -> list[str]:
    desk.write("theirs.yaml", PRETRAIN)
    return desk.study(PRETRAIN)


def two_of_one_id(desk: Desk) -> list[str]:
    both = "  a: {notebook: 01_pretrain, set: {pictures: true}}\n"
    both += "  b: {notebook: 01_pretrain, set: {pictures: false}}\n"
    return desk.study(HEAD + both)


def split_anew(desk: Desk) -> list[str]:
    own = f"{{dataset: '{desk.table(desk.rows(40))}'}}"
    both = f"  a: {{notebook: 01_pretrain, set: {own}}}\n"
    both += "  b: {notebook: 02_probe, set: {init: a, split_seed: 1}}\n"
    return desk.study(HEAD + both)


SYNTAX = [
    text("bracket left open", "study: [", "line 1, column 9", "not valid YAML"),
    text("wrong indent", "study: a\n  title: b\n", "line 2, column 8", "not valid YAML"),
    text("tab", "study: a\nexperiments:\n\tone: 1\n", "line 3, column 1", "a tab"),
    text("two documents", "study: a\n---\nstudy: b\n", "line 2, column 1", "not valid YAML"),
    text("object tag", "study: !!python/object/apply:os.system [ls]\n", "line 1, column 8", "tag"),
    text("control character", "study: a\0b\n", "not valid YAML", "special characters"),
    text("empty file", "", "expected keys study", "found nothing"),
    text("only a comment", "# study: a\n", "expected keys study", "found nothing"),
    text("a list", "- study\n", "expected keys study", "found a list"),
    text("a word", "study\n", "expected keys study", "found text"),
    text("not UTF-8", "study: \xe4\n".encode("latin-1"), "not text in UTF-8"),
    text("UTF-16", codecs.BOM_UTF16_LE + PRETRAIN.encode("utf-16-le"), "not text in UTF-8"),
    text("a BOM, then a mistake", codecs.BOM_UTF8 + b"studi: a\n" + ONE.encode(), "studi: unknown"),
    text("no date", f"{PRETRAIN}title: 2026-13-45\n", "line 4, column 8", "not valid YAML"),
    text("endless digits", f"{PRETRAIN}title: {'9' * 5000}\n", "line 4, column 8", "digits"),
    text("aliases without end", f"{LAUGHS}\n{PRETRAIN}", "line 6", "aliases"),
    text("alias of itself", f"{PRETRAIN}title: &a [*a]\n", "line 4", "contains itself"),
    text("unknown alias", f"{PRETRAIN}title: *a\n", "line 4, column 8", "undefined alias"),
    text("deep nesting", f"{PRETRAIN}title: {'[' * 5000}\n", "line 4", "nested"),
    text("too large", PRETRAIN + "#" * 2**20, "1 MiB"),
    Case("no such file", lambda desk: [str(desk.folder / "no.yaml")], ["no.yaml: No such file"]),
    Case("a folder", lambda desk: [str(desk.folder)], ["Is a directory"]),
    Case("an image", lambda desk: [str(desk.image("a.png"))], ["a.png: not text in UTF-8"]),
]

KEYS = [
    text("unknown key", f"{PRETRAIN}titel: x\n", "titel: unknown key (did you mean title?)"),
    text("unknown key of an experiment", f"{ONE}    sets: {{}}\n", "one.sets: unknown key", "set?"),
    setting("unknown parameter", "epoch: 3", "epoch: unknown key (did you mean epochs?)"),
    setting("parameter of another notebook", "labels: 5", "labels: unknown key"),
    setting("needs", "needs: [a]", "needs: unknown key"),
    text("key given twice", f"{ONE}    set: {{lr: 1, lr: 2}}\n", "line 5", "lr: given twice"),
    text("experiment given twice", f"{PRETRAIN}  pretrain: 1\n", "line 4", "pretrain: given twice"),
    text(
        "names alike as text",
        f"{HEAD}  1: {{notebook: 00_data}}\n  '1': {{notebook: 00_data}}\n",
        "experiments.1: given twice",
    ),
    text("no experiments", "study: a\n", "experiments: expected at least one"),
    text("experiments as a list", "study: a\nexperiments: [1]\n", "experiments: expected"),
    text("no notebook", f"{HEAD}  one: {{}}\n", "experiments.one.notebook: no notebook given"),
    text("unknown notebook", f"{HEAD}  one: {{notebook: 02_prob}}\n", "did you mean 02_probe?"),
    text("empty list in a matrix", f"{ONE}    matrix: {{seed: []}}\n", "one.matrix.seed: expected"),
    text("value twice in a matrix", f"{ONE}    matrix: {{seed: [1, 2, 1]}}\n", "1: given twice"),
    text("default for nobody", f"{PRETRAIN}defaults: {{labels: 5}}\n", "defaults.labels: no exp"),
    text("title as a list", f"{PRETRAIN}title: [a]\n", "title: expected text"),
    text("question as a mapping", f"{PRETRAIN}question: {{a: b}}\n", "question: expected text"),
    Case("--set unknown", lambda d: d.study(PRETRAIN, "--set", "epoch=3"), ["epochs?"]),
    Case("--set broken", lambda d: d.study(PRETRAIN, "--set", "lr=["), ["--set lr=[", "YAML"]),
    Case("--set without value", lambda d: d.study(PRETRAIN, "--set", "lr"), ["KEY=VALUE"]),
    Case(
        "--set laughing",
        lambda desk: desk.study(PRETRAIN, "--set", "lr=" + "[" * 5000),
        ["--set lr=", "nested"],
    ),
    Case("--only nothing", lambda d: d.study(PRETRAIN, "--only", "x"), ["--only x: fits no run"]),
]

VALUES = [
    setting("whole number as text", "epochs: many", "one.epochs: expected a whole number from 1"),
    setting("whole number as fraction", "epochs: 2.5", "epochs: expected a whole number", "2.5"),
    setting("whole number as flag", "epochs: true", "epochs: expected a whole number", "true"),
    setting("whole number too small", "epochs: 0", "epochs: expected a whole number from 1"),
    setting("whole number NaN", "epochs: .nan", "epochs: expected a whole number", "NaN"),
    setting("whole number infinite", "epochs: .inf", "epochs: expected a whole number"),
    setting("whole number missing", "epochs: ", "epochs: expected a whole number", "null"),
    setting("seed beyond any generator", f"seed: {2**32}", "seed: expected a whole number"),
    setting("number as text", "lr: fast", "lr: expected a number above 0"),
    setting("number as a list", "lr: [0.1]", "lr: expected a number above 0"),
    setting("number too small", "temperature: 0", "temperature: expected a number above 0"),
    setting("number too large", "crop_scale: 1.5", "crop_scale: expected a number from 0 to 1"),
    setting("number NaN", "lr: .nan", "lr: expected a number above 0", "NaN"),
    setting("number infinite", "lr: .inf", "lr: expected a number above 0"),
    setting("flag as text", "pictures: 'yes'", "pictures: expected true or false"),
    setting("word unknown", "augment: novle", "augment: expected one of", "did you mean novel?"),
    setting("setting unknown", "augment: novel turn=9", "augment: novel: no setting 'turn=9'"),
    setting("setting out of range", "augment: novel blur_p=2", "augment: ", "within 0 and 1"),
    setting("setting is no number", "augment: novel blur_p=x", "blur_p: expected a number"),
    setting(
        "setting in two places", "augment: novel crop_scale=0.3, crop_scale: 0.2", "given twice"
    ),
    setting("word as a mapping", "method: {a: 1}", "method: expected one of"),
    setting("word as a date", "method: 2026-01-01", "method: expected one of"),
    setting("text as a list", "dataset: [a, b]", "dataset: expected text"),
    setting("text as bytes", "variant: !!binary aGFoYQ==", "variant: expected text"),
    setting("text with a control character", 'dataset: "phan\\atom"', "dataset: ", "control"),
    setting("budget of words", "labels: few", "labels: expected a count", notebook="02_probe"),
    setting("budget twice", "labels: [5, 5]", "labels: expected one", notebook="02_probe"),
    setting("device", "device: gpu", "device: expected auto, cpu, cuda or cuda:N"),
    setting("several numbers", "lrs: [1, x]", "lrs: expected a number", notebook="03_finetune"),
    setting("several words", "remedies: [hope]", "remedies: expected", notebook="04_imbalance"),
    setting("grades", "grade_scale: [1, 0]", "grade_scale: expected", notebook="10_retinopathy"),
    setting("size", "size: 4096", "size: expected a whole number from 7 to 1024"),
    setting("fold that is not there", "folds: 5, fold: 5", "fold: 5 of 5"),
    setting("one fold", "folds: 1", "folds: 1"),
    setting("folds of trainval, none of them", "folds_of: trainval", "folds_of: trainval needs"),
    setting("more folds than images", "folds: 90, cap_per_class: 5", "folds: 90"),
    setting("name as long as a book", f"variant: {'a' * 300}", "variant: ", "characters"),
    setting("results", "results: /tmp/x", "results: chosen by run_all.py"),
    setting("out", "out: ../../x", "out: chosen by run_all.py"),
    setting("study", "study: x", "study: chosen by run_all.py"),
]

NAMES = [
    *(
        named(name, value)
        for name, value in {
            "climbs": "../other",
            "is absolute": "/tmp/other",
            "is empty": "''",
            "is missing": "",
            "is a dot": ".",
            "is two dots": "..",
            "is hidden": ".git",
            "ends in a dot": "mine.",
            "has a folder": "a/b",
            "has a backslash": r"'a\b'",
            "has a blank": "my study",
            "has a control character": '"a\\nb"',
            "is a device": "CON",
            "is a device with an ending": "nul.txt",
            "is a number": "2024",
            "is long": "a" * 101,
        }.items()
    ),
    Case("study of another params file", belongs_to_another, ["study: mine", "old/theirs.yaml"]),
    Case("study name of a file beside it", copied, ["study: mine", "theirs.yaml"]),
    text("experiment called as weights", f"{HEAD}  scratch: {{notebook: 01_pretrain}}\n", "rename"),
    text(
        "experiment with a control character",
        f'{HEAD}  "a\\nb": {{notebook: 01_pretrain}}\n',
        "experiments.",
        "control",
    ),
    text(
        "notebook elsewhere",
        f"{HEAD}  one: {{notebook: ../../evil}}\n",
        "experiments.one.notebook: no ../../evil",
    ),
    Case(
        "notebook that exists elsewhere",
        lambda desk: desk.study(
            f"{HEAD}  one: {{notebook: {desk.write('evil.ipynb', '{}').with_suffix('')}}}\n"
        ),
        ["experiments.one.notebook: no "],
    ),
]

NEEDS = [
    text(
        "circle",
        f"{HEAD}  a: {{notebook: 01_pretrain, set: {{init: b}}}}\n"
        "  b: {notebook: 01_pretrain, set: {init: a}}\n",
        "experiments.a.init: b; b.init: a: a circle",
    ),
    text(
        "circle of one",
        f"{HEAD}  a: {{notebook: 01_pretrain, set: {{init: a}}}}\n",
        "experiments.a.init: a: a circle",
    ),
    text(
        "init of nobody",
        f"{PRETRAIN}  b: {{notebook: 02_probe, set: {{init: pretrian}}}}\n",
        "experiments.b.init: no encoder pretrian",
        "did you mean pretrain?",
    ),
    text(
        "init that makes no encoder",
        f"{HEAD}  a: {{notebook: 00_data}}\n  b: {{notebook: 02_probe, set: {{init: a}}}}\n",
        "experiments.b.init: a runs 00_data",
    ),
    text(
        "upstream refused, downstream silent",
        f"{HEAD}  a: {{notebook: 01_pretrain, set: {{dataset: bloodmist}}}}\n"
        "  b: {notebook: 02_probe, set: {init: a}, where: {seed: 0}}\n",
        "experiments.a.dataset: bloodmist is unknown",
    ),
    text(
        "where fits nothing",
        f"{PRETRAIN}  b: {{notebook: 02_probe, set: {{init: pretrain}}, where: {{seed: 7}}}}\n",
        "experiments.b.where: none of the 1 runs of pretrain fits",
    ),
    text(
        "init pretrained on the images that a fold tests",
        f"{PRETRAIN}  b: {{notebook: 02_probe, set: {{init: pretrain, folds: 5, fold: 1}}}}\n",
        "experiments.b.init: trained on the data set's own split, this run is about fold 1 of 5",
    ),
    text(
        "init of another fold",
        f"{HEAD}  a: {{notebook: 01_pretrain, set: {{folds: 5, fold: 0}}}}\n"
        "  b: {notebook: 02_probe, set: {init: a, fold: 1}}\n",
        "experiments.b.init: trained on fold 0 of 5, this run is about fold 1 of 5",
    ),
    Case(
        "init of another split by chance",
        split_anew,
        ["experiments.b.split_seed: 1 here, 0 in the training of init"],
    ),
    setting("init empty", "init: ''", "init: empty", notebook="02_probe"),
    setting("init a pattern", "init: '*'", "init: no encoder *", notebook="02_probe"),
    setting("init climbing", "init: ../../x", "init: no encoder ../../x", notebook="02_probe"),
    setting(
        "summary that is none",
        "summary: study.yaml",
        "summary: ",
        "no summary.csv",
        notebook="09_report",
    ),
    setting("summary missing", "summary: no.csv", "summary: no no.csv", notebook="09_report"),
    Case("two runs of one id", two_of_one_id, ["experiments.b.pictures", "experiments.a"]),
]

CASES = [*SYNTAX, *KEYS, *VALUES, *NAMES, *NEEDS]
