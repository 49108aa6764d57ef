"""JupyterLab as `make lab` starts it, over a copy of the notebooks, and a browser to drive it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

SHOTS = "LAB_SCREENSHOTS"  # a folder that gets a picture of each step
# Nothing is rendered on a GPU, and the browser has no errands of its own.
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find_chromium() -> str:
    """An installed Chromium, or a skip that says why there is none."""
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is installed")
    return str(found)


def copy_notebooks(folder: Path) -> None:
    """The notebooks and what JupyterLab is told, since JupyterLab saves what it has open."""
    shutil.copytree(ROOT / "notebooks", folder / "notebooks")
    shutil.copy(ROOT / "README.md", folder)


def set_parameters(notebook: Path, **params: object) -> None:
    """Other values in a copied notebook's parameters cell, as a reader types them."""
    content = json.loads(notebook.read_text(encoding="utf-8"))
    cell = next(c for c in content["cells"] if "parameters" in c["metadata"].get("tags", []))
    for i, line in enumerate(cell["source"]):
        name = line.partition(" = ")[0]
        if name in params:
            cell["source"][i] = f"{name} = {params.pop(name)!r}\n"
    assert not params
    notebook.write_text(json.dumps(content), encoding="utf-8")


def lab_command(folder: Path) -> str:
    """The command of `make lab`, from this Python and for another folder than the repository."""
    shown = subprocess.run(
        ["make", "--dry-run", "--always-make", "--no-print-directory", "lab"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    # Under `make test` a make says more than the commands.
    commands = shown.replace("\\\n", " ").splitlines()
    [command] = [line.strip() for line in commands if ".venv/bin/jupyter lab" in line]
    command = command.replace(str(ROOT), str(folder))
    return command.replace(".venv/bin/jupyter", f"exec {sys.executable} -m jupyter")


@contextlib.contextmanager
def running_lab(folder: Path, home: Path) -> Iterator[dict[str, Any]]:
    """A server on `folder`, until the block ends: its url and token. home: for its own files."""
    runtime = home / "runtime"
    environment = {
        **os.environ,
        "HOME": str(home),
        "JUPYTER_RUNTIME_DIR": str(runtime),
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "OMP_NUM_THREADS": "1",
    }
    environment.pop("JUPYTER_CONFIG_PATH", None)
    log = home / "server.log"
    with log.open("w") as stream:
        server = subprocess.Popen(
            f"{lab_command(folder)} --no-browser --port=0 --LabApp.expose_app_in_browser=True",
            shell=True, cwd=folder, env=environment, stdout=stream, stderr=stream,
            start_new_session=True,
        )  # fmt: skip
    try:
        until = time.monotonic() + 180
        while not (found := list(runtime.glob("jpserver-*.json"))):
            assert server.poll() is None, log.read_text()[-2000:]
            assert time.monotonic() < until, log.read_text()[-2000:]
            time.sleep(0.2)
        yield json.loads(found[0].read_text(encoding="utf-8"))
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(20)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)


@contextlib.contextmanager
def open_page(executable: str) -> Iterator[tuple[Any, list[str]]]:
    """A page of a fresh browser, and the requests it makes that leave this machine."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1440, "height": 960})
        page.set_default_timeout(120_000)
        outside: list[str] = []
        local = ("http://localhost", "http://127.0.0.1", "data:", "blob:", "ws://")

        def note(request: Any) -> None:
            if not request.url.startswith(local):
                outside.append(request.url)

        page.on("request", note)
        yield page, outside
        browser.close()


def wait_for_kernel(page: Any) -> None:
    """Until the notebook in front is connected to its kernel: run before, it asks for one."""
    page.wait_for_function(
        "() => window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel"
        "?.connectionStatus === 'connected'"
    )


def run_all_cells(page: Any) -> None:
    """Run → Run All Cells, by the menu."""
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()


def shoot(page: Any, name: str) -> None:
    """A picture of what the browser shows, where someone asked for one."""
    folder = os.environ.get(SHOTS)
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=str(Path(folder) / f"{name}.png"))
