"""`papermill --help-notebook`: every parameter of every notebook, with its choices and default."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lib.checks import ParameterError
from lib.params import NOTEBOOKS, PARAMETERS, notebook_defaults

PATHS = sorted(NOTEBOOKS.glob("*.ipynb"))
# No choice of a reader's: it is the reference of every comparison.
ALWAYS = {("remedies", "none")}


def choices(name: str) -> list[str]:
    """The words that a parameter accepts, by what its check says of a value it refuses."""
    try:
        PARAMETERS[name].check("\0")
    except ParameterError as error:
        found = re.search(r"expected (?:one|some) of ([^(]+?)(?:, each once)?(?: \(|$)", str(error))
        return found[1].split(", ") if found else []
    return []


def test_choices_are_found() -> None:
    assert choices("optimizer") == ["adamw", "sgd"]
    assert choices("protocol") == ["probe", "finetune"]
    assert "balanced_softmax" in choices("remedies")
    assert choices("lr") == choices("dataset") == []


@pytest.mark.parametrize("path", PATHS, ids=lambda p: p.stem)
def test_help_is_complete(path: Path) -> None:
    import papermill

    known = papermill.inspect_notebook(str(path))
    assert set(known) == set(notebook_defaults(path.stem))
    for name, about in known.items():
        said = f"{about['help']} {about['default']}"
        assert len(about["help"]) >= 5, name
        assert about["default"], name
        missing = [c for c in choices(name) if not re.search(rf"\b{re.escape(c)}\b", said)]
        assert [c for c in missing if (name, c) not in ALWAYS] == [], name


def test_the_command_prints_it() -> None:
    from click.testing import CliRunner
    from papermill.cli import papermill

    done = CliRunner().invoke(papermill, ["--help-notebook", str(NOTEBOOKS / "01_pretrain.ipynb")])
    assert done.exit_code == 0
    for name, default in notebook_defaults("01_pretrain").items():
        value = f'"{default}"' if isinstance(default, str) else f"{default}"
        assert re.search(rf"^ +{name}: .*\(default {re.escape(value)}\)", done.output, re.M), name
    assert "τ of the loss" in done.output
