"""Fetch one file: resumed or restarted, checked by MD5, under its final name complete or not."""

from __future__ import annotations

import contextlib
import logging
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lib.bars import Bar
from lib.data.base import DataError
from lib.data.cache import file_hashes, locked

BLOCK = 2**18
TIMEOUT = 30  # seconds without a byte


def fetch(
    url: str,
    path: Path,
    md5: str,
    *,
    attempts: int = 4,
    pause: float = 1.0,
    progress: bool = True,
) -> None:
    """Download `url` to `path`, unless it is there already.

    A dropped connection is resumed from where it broke (also by a later call, from the `.part`
    file) if the server can, else restarted. A body with another MD5 is thrown away. Two processes
    that want the same file take turns: the second finds it. Raises DataError, in one line, when
    every attempt failed: what is missing, where to put it, how to run the embedded data set.
    """
    import pooch
    import requests

    if path.exists():
        return
    with locked(path):
        if path.exists():
            return
        part = path.with_name(f".{path.name}.part")
        reason = ""
        for attempt in range(attempts):
            time.sleep(pause * attempt)
            downloader = _Resuming(part, path.name, progress)
            try:
                with _quiet(pooch.get_logger()):
                    pooch.retrieve(url, f"md5:{md5}", path.name, path.parent, downloader=downloader)
                return
            except requests.RequestException as error:
                reason = _reason(error)
            except ValueError:  # pooch: the hash does not match, and the file is gone
                reason = f"what was sent does not have the MD5 {md5}"
            except OSError as error:
                reason = f"{error.strerror or error}"
                break
    raise DataError(
        f"{path} is missing and cannot be downloaded from {url} ({reason}); put the file there "
        f"by hand (MD5 {md5}), or run the embedded data set: `dataset: phantom`"
    )


class _Resuming:
    """A pooch downloader that keeps what it has got in `part` and asks for the rest."""

    def __init__(self, part: Path, label: str, progress: bool) -> None:
        self.part, self.label, self.progress = part, label, progress

    def __call__(self, url: str, output_file: str, _: Any) -> None:
        import requests

        have = self.part.stat().st_size if self.part.exists() else 0
        headers = {"Range": f"bytes={have}-"} if have else {}
        # "identity": a Content-Length must count the bytes that are written here
        headers["Accept-Encoding"] = "identity"
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
            if response.status_code == 416:  # nothing is left to send: complete, or another file
                self.part.replace(output_file)
                return
            response.raise_for_status()
            resumed = response.status_code == 206
            if resumed and not _continues(response.headers.get("Content-Range", ""), have):
                self.part.unlink()
                raise requests.ConnectionError("the server sent another range than was asked for")
            start = have if resumed else 0
            left = response.headers.get("Content-Length")
            with (
                self.part.open("ab" if resumed else "wb") as file,
                Bar(
                    self.label,
                    start + int(left) if left else None,
                    "B",
                    show=self.progress,
                    start=start,
                ) as bar,
            ):
                received = 0
                for block in response.iter_content(BLOCK):
                    file.write(block)
                    received += len(block)
                    bar.update(len(block))
            if left and received < int(left):
                raise requests.ConnectionError("the connection broke off")
        shutil.move(self.part, output_file)


def _continues(content_range: str, have: int) -> bool:
    return content_range.removeprefix("bytes").strip().startswith(f"{have}-")


def _reason(error: Exception) -> str:
    """One line out of an exception whose text may nest five others."""
    text = str(error)
    known = {
        "refused": "connection refused",
        "resolve": "no network: the address cannot be resolved",
        "unreachable": "no network",
        "timed out": "timed out",
        "ncomplete": "the connection broke off",
        "broken": "the connection broke off",
        "aborted": "the connection broke off",
    }
    return next(
        (plain for mark, plain in known.items() if mark in text),
        (text.splitlines() or [type(error).__name__])[0],
    )


@contextlib.contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    """Keep pooch's log lines off the screen; there is a progress bar."""
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def check_md5(path: Path, md5: str, cache: Path, *, remember: bool = True) -> None:
    """Raise DataError unless `path` has this MD5; a second look costs a `stat`."""
    [found] = file_hashes([path], cache, "md5", remember=remember)
    if found != md5:
        raise DataError(
            f"{path}: its MD5 is {found}, the official one is {md5}: the file is damaged or "
            "another version; it is left as it is: move it away and it will be downloaded again, "
            f"or use it as `dataset: npz:{path}`"
        )
