"""Downloads against a server that drops, lies, or is not there."""

from __future__ import annotations

import hashlib
import multiprocessing
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lib.data.base import DataError
from lib.data.download import check_md5, fetch

BODY = np.random.default_rng(0).bytes(3_000_000)
MD5 = hashlib.md5(BODY).hexdigest()


def get(url: str, path: Path, **options: Any) -> None:
    fetch(url, path, MD5, pause=0, progress=False, **options)


def leftovers(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if not p.name.endswith(".lock"))


def test_a_good_download_arrives_once(server: Any, tmp_path: Path) -> None:
    server.files["a.npz"] = BODY
    path = tmp_path / "new" / "a.npz"
    get(f"{server.url}/a.npz", path)
    get(f"{server.url}/a.npz", path)
    assert path.read_bytes() == BODY
    assert leftovers(path.parent) == ["a.npz"]
    assert server.log == [""]


def test_a_dropped_connection_is_resumed(server: Any, tmp_path: Path) -> None:
    server.files["a.npz"], server.drops = BODY, 1
    get(f"{server.url}/a.npz", tmp_path / "a.npz")
    assert (tmp_path / "a.npz").read_bytes() == BODY
    assert len(server.log) == 2
    have = int(server.log[1].removeprefix("bytes=").removesuffix("-"))
    assert 0 < have <= len(BODY) // 2
    assert leftovers(tmp_path) == ["a.npz"]


def test_a_server_without_ranges_starts_again(server: Any, tmp_path: Path) -> None:
    server.files["a.npz"], server.drops, server.ranges = BODY, 2, False
    get(f"{server.url}/a.npz", tmp_path / "a.npz")
    assert (tmp_path / "a.npz").read_bytes() == BODY
    assert len(server.log) == 3


def test_a_connection_that_always_drops_leaves_no_file(server: Any, tmp_path: Path) -> None:
    server.files["a.npz"], server.drops, server.ranges = BODY, 99, False
    with pytest.raises(DataError, match="the connection broke off") as error:
        get(f"{server.url}/a.npz", tmp_path / "a.npz")
    assert not (tmp_path / "a.npz").exists()
    assert "\n" not in str(error.value)
    server.drops, server.ranges = 0, True  # later the line is mended: the rest is fetched
    get(f"{server.url}/a.npz", tmp_path / "a.npz")
    assert (tmp_path / "a.npz").read_bytes() == BODY
    assert server.log[-1].startswith("bytes=")


def test_garbage_of_the_right_length_leaves_nothing(server: Any, tmp_path: Path) -> None:
    server.files["a.npz"] = bytes(len(BODY))
    with pytest.raises(DataError, match=f"does not have the MD5 {MD5}"):
        get(f"{server.url}/a.npz", tmp_path / "a.npz", attempts=2)
    assert leftovers(tmp_path) == []
    assert server.log == ["", ""]


def test_a_stale_part_of_another_file_is_thrown_away(server: Any, tmp_path: Path) -> None:
    server.files["a.npz"] = BODY
    for stale in (b"x" * 1000, b"x" * (len(BODY) + 1)):
        (tmp_path / "a.npz").unlink(missing_ok=True)
        (tmp_path / ".a.npz.part").write_bytes(stale)
        get(f"{server.url}/a.npz", tmp_path / "a.npz")
        assert (tmp_path / "a.npz").read_bytes() == BODY


def test_offline_says_what_where_and_how_to_go_on(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    path = tmp_path / "a.npz"
    with pytest.raises(DataError, match="connection refused") as error:
        get(f"http://127.0.0.1:{port}/a.npz", path, attempts=2)
    message = str(error.value)
    assert str(path) in message
    assert "dataset: phantom" in message
    assert MD5 in message
    assert "\n" not in message
    assert leftovers(tmp_path) == []


def test_an_absent_file_is_reported(server: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="404"):
        get(f"{server.url}/a.npz", tmp_path / "a.npz", attempts=1)


def test_two_processes_download_once(server: Any, tmp_path: Path) -> None:
    server.files["a.npz"] = BODY
    context = multiprocessing.get_context("spawn")
    args = (f"{server.url}/a.npz", tmp_path / "a.npz")
    processes = [context.Process(target=get, args=args) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert (tmp_path / "a.npz").read_bytes() == BODY
    assert server.log == [""]
    assert leftovers(tmp_path) == ["a.npz"]


def test_a_wrong_file_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(b"something else")
    with pytest.raises(DataError, match=r"MD5 .* official one is"):
        check_md5(path, MD5, tmp_path / "cache")
    assert path.read_bytes() == b"something else"


def test_a_checked_file_is_not_hashed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(BODY)
    check_md5(path, MD5, tmp_path / "cache")
    monkeypatch.setattr("lib.data.cache.file_hash", lambda *_: pytest.fail("hashed again"))
    check_md5(path, MD5, tmp_path / "cache")
    monkeypatch.undo()
    path.write_bytes(BODY[:-1])
    with pytest.raises(DataError, match="MD5"):
        check_md5(path, MD5, tmp_path / "cache")
