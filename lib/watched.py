"""Whether a person is looking at the notebook that is running."""

from __future__ import annotations

import sys
from typing import Any


def is_watched() -> bool:
    """Whether this code runs in a notebook that a person has open, as in JupyterLab.

    A front end with a person behind it says in each request that it can ask for input
    (`allow_stdin`, Jupyter's messaging protocol); papermill, nbconvert and a run of `run_all.py`
    say that they cannot. False outside of a notebook.
    """
    shell = _shell()
    kernel = getattr(shell, "kernel", None)
    if kernel is None:
        return False
    request = kernel.get_parent("shell") or {}
    return bool(request.get("content", {}).get("allow_stdin", False))


def is_terminal() -> bool:
    """Whether messages go to a terminal, where a line may be written over."""
    return _shell_has_no_kernel() and sys.stderr is not None and sys.stderr.isatty()


def _shell_has_no_kernel() -> bool:
    return getattr(_shell(), "kernel", None) is None


def _shell() -> Any:
    """IPython's shell, where this process has one; IPython is not imported to find out."""
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython is not None else None
