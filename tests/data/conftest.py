"""What the data tests share: private folders, no proxy, a web server that misbehaves on request."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def private_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the user's data root or cache."""
    monkeypatch.setenv("MEDMNIST_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("CONTRASTIVE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MEDMNIST_URL", raising=False)
    monkeypatch.setenv("NO_PROXY", "*")


class FakeServer:
    """Serves `files` (name -> bytes) on this machine.

    drops: how many of the next answers break off in the middle; ranges: answers `Range`;
    log: the Range header of each request, or "".
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.drops = 0
        self.ranges = True
        self.log: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = outer.files.get(self.path.strip("/"))
                asked = self.headers.get("Range", "")
                outer.log.append(asked)
                if body is None:
                    self.send_error(404)
                    return
                start = int(asked[6:-1]) if asked and outer.ranges else 0
                if asked and outer.ranges and start >= len(body):
                    self.send_error(416)
                    return
                self.send_response(206 if asked and outer.ranges else 200)
                if asked and outer.ranges:
                    whole = f"{start}-{len(body) - 1}/{len(body)}"
                    self.send_header("Content-Range", f"bytes {whole}")
                rest = body[start:]
                self.send_header("Content-Length", str(len(rest)))
                self.end_headers()
                if outer.drops:
                    outer.drops -= 1
                    rest = rest[: len(rest) // 2]
                self.wfile.write(rest)

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        self.thread = threading.Thread(target=self.http.serve_forever, daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture
def server() -> Iterator[FakeServer]:
    fake = FakeServer()
    yield fake
    fake.close()
