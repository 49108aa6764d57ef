"""Fixtures shared by all tests."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# What is started in the background of a script ignores Ctrl-C, and so do its children: the tests
# that press it would wait in vain.
with contextlib.suppress(ValueError):  # not in the main thread
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of the real data (medmnist, dermatoscopy, retinopathy), or a skip that says so."""
    candidates = [ROOT.parent / "shared" / "data"]
    if "MEDMNIST_ROOT" in os.environ:
        candidates.insert(0, Path(os.environ["MEDMNIST_ROOT"]).parent)
    for folder in candidates:
        if (folder / "medmnist" / "breastmnist.npz").exists():
            return folder
    pytest.skip("no real data: neither MEDMNIST_ROOT nor ../shared/data holds breastmnist.npz")
