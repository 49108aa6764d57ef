"""lib has an order: a package, or a module beside the packages, imports from earlier ones alone."""

from __future__ import annotations

import ast
from pathlib import Path

from lib.identity import imported_modules
from tests.conftest import ROOT

# From what knows nothing of the others to what may know them all; a new one takes its place here.
ORDER = (
    "files", "methods", "names", "watched", "bars", "moving", "augment", "checks", "params",
    "identity", "data", "statistics", "losses", "models", "origins", "device", "run", "preview",
    "training", "evaluation", "study", "findings", "figures", "widgets", "pages", "describe",
    "export", "features", "batch",
)  # fmt: skip


def rooms(lib: Path) -> set[str]:
    """The packages of a lib and the modules beside them."""
    modules = {path.stem for path in lib.glob("*.py")} - {"__init__"}
    return modules | {path.parent.name for path in lib.glob("*/__init__.py")}


def backward(lib: Path) -> list[str]:
    """Imports from a later package or module, at any depth of the code, with their files."""
    found = set()
    for path in lib.rglob("*.py"):
        own = path.relative_to(lib).with_suffix("").parts[0]
        if own == "__init__":
            continue
        for name in imported_modules(ast.parse(path.read_text(encoding="utf-8"))):
            _, _, other = name.partition(".")
            other = other.partition(".")[0]
            if other in ORDER and ORDER.index(other) > ORDER.index(own):
                found.add(f"lib/{path.relative_to(lib)} imports lib.{other}, which comes later")
    return sorted(found)


def test_every_package_and_module_has_its_place() -> None:
    assert rooms(ROOT / "lib") == set(ORDER)
    assert len(set(ORDER)) == len(ORDER)


def test_imports_go_one_way() -> None:
    assert backward(ROOT / "lib") == []


def test_an_import_that_goes_back_is_found(tmp_path: Path) -> None:
    for name, text in {
        "__init__.py": "",
        "run.py": "from lib import data, device\n",
        "data/__init__.py": "",
        "data/load.py": "def load():\n    from lib.models.embed import embed_images\n",
        "models/__init__.py": "",
        "models/embed.py": "from lib.data.load import load\nfrom lib import run\nimport torch\n",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert rooms(tmp_path) == {"run", "data", "models"}
    assert backward(tmp_path) == [
        "lib/data/load.py imports lib.models, which comes later",
        "lib/models/embed.py imports lib.run, which comes later",
    ]
