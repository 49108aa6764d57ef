"""Who is watched: a notebook whose front end can ask for input, and nothing else."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from lib import watched
from lib.watched import is_terminal, is_watched


def shell(request: dict[str, Any] | None) -> SimpleNamespace:
    """IPython's shell in a kernel that was sent this request."""
    return SimpleNamespace(kernel=SimpleNamespace(get_parent=lambda channel: request))


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (None, False),  # no IPython at all
        (SimpleNamespace(), False),  # IPython at a terminal: a shell without a kernel
        (shell({"content": {"allow_stdin": True}}), True),  # JupyterLab
        (shell({"content": {"allow_stdin": False}}), False),  # papermill, nbconvert
        (shell({}), False),
        (shell(None), False),
    ],
)
def test_only_a_front_end_with_a_person(
    found: Any, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched, "_shell", lambda: found)
    assert is_watched() is expected


def test_a_terminal_is_where_messages_go_and_no_kernel_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr(watched, "_shell", lambda: None)
    assert is_terminal()
    monkeypatch.setattr(watched, "_shell", lambda: shell(None))
    assert not is_terminal()
    monkeypatch.setattr(sys, "stderr", SimpleNamespace(isatty=lambda: False))
    monkeypatch.setattr(watched, "_shell", lambda: None)
    assert not is_terminal()
