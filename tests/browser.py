"""A real headless Chromium for tests: pages opened from disk, and what was wrong with them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
# A phone, a tablet, a desktop: width and height in pixels.
WIDTHS = {"phone": (390, 844), "tablet": (820, 1180), "desktop": (1440, 900)}


def find_chromium() -> str:
    """The path of an installed Chromium, or a skip that says there is none."""
    found = next((path for path in map(shutil.which, NAMES) if path), None)
    if found is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is installed")
    return found


@contextmanager
def chromium() -> Iterator[Any]:
    """A running browser."""
    path = find_chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(OPTIONS))
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Opened:
    """A page in a browser. wrong: console errors, exceptions, and requests that left the disk."""

    page: Any
    wrong: list[str] = field(default_factory=list)


@contextmanager
def opened(browser: Any, file: Path, width: str = "desktop", **options: Any) -> Iterator[Opened]:
    """A file from disk in a window of its own. options: of the browser's context."""
    w, h = WIDTHS[width]
    context = browser.new_context(viewport={"width": w, "height": h}, **options)
    page = context.new_page()
    found = Opened(page)

    def heard(message: Any) -> None:
        if message.type in ("error", "warning"):
            found.wrong.append(f"console {message.type}: {message.text}")

    def asked(request: Any) -> None:
        if not request.url.startswith(("file:", "data:")):
            found.wrong.append(f"request to {request.url}")

    page.on("console", heard)
    page.on("pageerror", lambda error: found.wrong.append(f"exception: {error}"))
    page.on("request", asked)
    page.on("requestfailed", lambda request: found.wrong.append(f"failed: {request.url[:100]}"))
    try:
        page.goto(file.as_uri())
        yield found
    finally:
        context.close()
