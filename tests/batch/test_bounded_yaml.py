"""YAML within bounds: what is read, and where a mistake is said to be."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from lib.batch.bounded_yaml import DEEPEST, MOST_NODES, YamlError, parse_yaml
from lib.params import ROOT

PARAMS = sorted((ROOT / "params").glob("*.yaml"))


@pytest.mark.parametrize("path", PARAMS, ids=lambda path: path.stem)
def test_every_study_reads_as_any_yaml_reader_has_it(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    # YAML 1.1 wants a point in such a number.
    assert parse_yaml(text) == yaml.safe_load(re.sub(r"\b(\d+)e-", r"\1.0e-", text))


def test_aliases_count_as_what_they_stand_for() -> None:
    fits = "a: &a [1, 2, 3]\nb: [" + ", ".join(["*a"] * 1000) + "]"
    assert parse_yaml(fits)["b"] == [[1, 2, 3]] * 1000
    ten = "x, " * 9 + "x"
    lines = [f"a0: &a0 [{ten}]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    with pytest.raises(YamlError, match=rf"^line 5, column \d+: .*more than {MOST_NODES:,}"):
        parse_yaml("\n".join(lines))


def test_as_deep_as_allowed_and_no_deeper() -> None:
    value = parse_yaml("[" * DEEPEST + "]" * DEEPEST)
    for _ in range(DEEPEST - 1):
        [value] = value
    assert value == []
    with pytest.raises(YamlError, match=rf"^line 1, column {DEEPEST + 1}: .*{DEEPEST} lists"):
        parse_yaml("[" * (DEEPEST + 1) + "]" * (DEEPEST + 1))
    with pytest.raises(YamlError, match="nested"):
        parse_yaml("".join(f"{' ' * i}a:\n" for i in range(1000)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1,\nb: 2", r"line 2, column 5: not valid YAML: .*expected ',' or '\]'"),
        ("a: 1\n\tb: 2", "line 2, column 1: not valid YAML: a tab; indent with spaces"),
        ("a: &x [*x]", r"line 1, column 8: not valid YAML: \*x contains itself"),
        ("a: *y", "line 1, column 4: not valid YAML: found undefined alias"),
        ("a: 2026-02-30", r"line 1, column 4: not valid YAML: day .*\(2026-02-30\)"),
        ("a: !!bool maybe", r"line 1, column 4: not valid YAML: 'maybe' \(maybe\)"),
        ("a: !!int ''", "line 1, column 4: not valid YAML: "),
        ("a: !!timestamp x", "line 1, column 4: not valid YAML: "),
        ("a: !!python/name:os.system", "line 1, column 4: .*could not determine a constructor"),
        ("a: 1\nb: \x07", "line 2: not valid YAML: special characters are not allowed"),
        ("{a: 1, a: 2}", "line 1, column 8: not valid YAML: a: given twice"),
    ],
)
def test_a_mistake_is_said_at_its_place(text: str, message: str) -> None:
    with pytest.raises(YamlError, match=f"^{message}"):
        parse_yaml(text)
