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
    request = _request()
    return bool((request or {}).get("content", {}).get("allow_stdin", False))


def current_cell() -> str | None:
    """What tells the cell that is running from every other one; None outside of a notebook."""
    request = _request()
    return None if request is None else str(request.get("header", {}).get("msg_id", ""))


def is_terminal() -> bool:
    """Whether messages go to a terminal, where a line may be written over."""
    return _request() is None and sys.stderr is not None and sys.stderr.isatty()


def _request() -> dict[str, Any] | None:
    """The request that a kernel is answering; None in a process that is no kernel."""
    kernel = getattr(_shell(), "kernel", None)
    return None if kernel is None else kernel.get_parent("shell") or {}


def _shell() -> Any:
    """IPython's shell, where this process has one; IPython is not imported to find out."""
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython is not None else None
