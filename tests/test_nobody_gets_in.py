"""Nothing in the code runs what comes from outside: no pickle, no full YAML, no eval, no shell."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from lib.batch.bounded_yaml import Loader
from tests.conftest import ROOT

FILES = [*sorted((ROOT / "lib").rglob("*.py")), ROOT / "run_all.py"]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
# Modules that run code out of a file, and builtins that run it out of a text.
UNPICKLING = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
BUILTINS = {"eval", "exec", "compile", "__import__"}
FORBIDDEN = {
    "os.system", "os.popen", "yaml.unsafe_load", "yaml.full_load", "yaml.load_all",
    "yaml.unsafe_load_all", "yaml.full_load_all", "pd.read_pickle", "pandas.read_pickle",
    "torch.hub.load", "torch.package", "torch.jit.load",
}  # fmt: skip
# Calls that are safe with one argument only: name → keyword, the value it must have.
GUARDED = {
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
}


def trees() -> Iterator[tuple[Path, ast.Module]]:
    """Every module and notebook of the project, parsed."""
    for path in FILES:
        yield path, ast.parse(path.read_text(encoding="utf-8"))
    for path in NOTEBOOKS:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        code = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")
        yield path, ast.parse(code)


def unsafe(tree: ast.Module) -> list[str]:
    """What in a module could run something from outside, by line."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            found += [f"{node.lineno}: {what}" for what in unsafe_call(node)]
        elif isinstance(node, ast.Import | ast.ImportFrom):
            module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
            names = [module] if module else [alias.name for alias in node.names]
            # `import pickle` alone is for the name of its failure, see below.
            allowed = {"pickle"} if isinstance(node, ast.Import) else set()
            roots = {name.partition(".")[0] for name in names}
            found += [f"{node.lineno}: import {n}" for n in roots & UNPICKLING - allowed]
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "pickle":
            found += [f"{node.lineno}: {node.attr}"] if node.attr != "UnpicklingError" else []
    return found


def unsafe_call(node: ast.Call) -> list[str]:
    """What is wrong with one call."""
    name, found = ast.unparse(node.func), []
    keywords = {k.arg: k.value for k in node.keywords}
    if name in BUILTINS | FORBIDDEN or "shell" in keywords:
        found.append(name)
    if name in GUARDED:
        keyword, needed = GUARDED[name]
        given = keywords.get(keyword)
        if not isinstance(given, ast.Constant) or given.value is not needed:
            found.append(f"{name} without {keyword}={needed}")
    if name == "yaml.load" and [ast.unparse(a) for a in node.args[1:]] != ["Loader"]:
        found.append("yaml.load without the bounded Loader")
    return found


@pytest.mark.parametrize(
    "code",
    [
        "import dill",
        "from pickle import loads",
        "import pickle\npickle.load(f)",
        "eval(text)",
        "exec(text)",
        "import torch\ntorch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "np.load(path, allow_pickle=flag)",
        "yaml.load(text, yaml.Loader)",
        "yaml.load(text)",
        "yaml.unsafe_load(text)",
        "subprocess.run(command, shell=True)",
        "os.system(command)",
    ],
)
def test_what_is_unsafe_is_seen(code: str) -> None:
    assert len(unsafe(ast.parse(code))) == 1


# Two modules pickle: what the processes of one training hand each other, in a folder that only
# their user can open (`tempfile.mkdtemp`) and that is gone when they are.
# And what Dask's workers are sent to execute, which they unpickle by the nature of Dask: whoever
# can speak to a scheduler can have it run code; what this project sends there is its own.
OWN_PICKLES = {
    "lib/training/launch.py": {"Pickler", "dump", "load"},
    "lib/batch/remote.py": {"loads"},
}


def test_nothing_runs_what_comes_from_outside() -> None:
    seen = dict(trees())
    assert len(seen) > 100
    found = {
        path.relative_to(ROOT).as_posix(): lines
        for path, tree in seen.items()
        if (lines := unsafe(tree))
    }
    kinds = {path: {line.split()[-1] for line in lines} for path, lines in found.items()}
    assert kinds == OWN_PICKLES
    assert "tempfile.mkdtemp(" in (ROOT / "lib" / "training" / "launch.py").read_text(
        encoding="utf-8"
    )


def test_yaml_is_loaded_in_one_place_with_a_safe_loader() -> None:
    users = {
        path.name
        for path, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "yaml.load"
    }
    assert users == {"bounded_yaml.py"}
    assert issubclass(Loader, yaml.SafeLoader)
    assert set(Loader.yaml_constructors) == set(yaml.SafeLoader.yaml_constructors)
    assert not Loader.yaml_multi_constructors
