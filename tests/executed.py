"""Notebooks executed: by papermill as typed at a terminal, or in this process."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from lib.params import notebook_defaults
from tests.conftest import ROOT


def cells(path: Path) -> list[dict[str, Any]]:
    return list(json.loads(path.read_text(encoding="utf-8"))["cells"])


def source(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def execute(notebook: str, out: Path, folder: Path, **params: object) -> dict[str, Any]:
    """Run a notebook by papermill from some other folder, as typed; return its metrics."""
    command = [sys.executable, "-m", "papermill", str(ROOT / "notebooks" / f"{notebook}.ipynb")]
    command += [str(folder / f"{notebook}.ipynb"), "--no-progress-bar", "-p", "out", str(out)]
    for name, value in params.items():
        command += ["-p", name, str(value)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads((out / "metrics.json").read_text(encoding="utf-8")))


def execute_here(notebook: str, out: Path, folder: Path, **params: object) -> dict[str, Any]:
    """The same in this process, which spares a kernel and its imports; every output is rendered."""
    import matplotlib.pyplot as plt
    from IPython.core.formatters import DisplayFormatter

    variables: dict[str, Any] = {"__name__": "__main__"}
    formats, seen = DisplayFormatter(), 0
    for cell in cells(ROOT / "notebooks" / f"{notebook}.ipynb"):
        if cell["cell_type"] != "code":
            continue
        tree = ast.parse(source(cell))
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, notebook, "exec"), variables)
        if last is not None:
            assert isinstance(last, ast.Expr)
            value = eval(compile(ast.Expression(last.value), notebook, "eval"), variables)
            if value is not None:
                shown, _ = formats.format(value)
                assert shown["text/plain"]
                seen += 1
            if isinstance(value, plt.Figure):
                value.savefig(folder / f"{notebook}.png")
        if "parameters" in cell["metadata"].get("tags", []):
            given = {**params, "out": out}
            assert set(given) <= set(notebook_defaults(notebook))
            variables |= {k: str(v) if isinstance(v, Path) else v for k, v in given.items()}
    assert seen
    plt.close("all")
    return dict(json.loads((out / "metrics.json").read_text(encoding="utf-8")))
