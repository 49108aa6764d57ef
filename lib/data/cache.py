"""Where derived files live, how they come to be there complete, and which hashes are remembered."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import stat
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lib.bars import Bar
from lib.data.base import DataError

HASH_BLOCK = 2**20
COPY_ROWS = 256
IN_MEMORY = 2 * 2**30  # bytes; larger arrays stay on disk as memory maps


def data_folder(data_root: str | Path | None) -> Path:
    """The data root: as given, else the environment's MEDMNIST_ROOT, else ~/.medmnist."""
    return Path(data_root or os.environ.get("MEDMNIST_ROOT") or "~/.medmnist").expanduser()


def cache_folder(data_root: str | Path | None, cache_root: str | Path | None = None) -> Path:
    """The cache: as given, or CONTRASTIVE_CACHE, or DATA_ROOT/cache, whichever comes first.

    Where the data root cannot be written, ~/.cache/contrastive-medmnist. Creates nothing.
    """
    chosen = cache_root or os.environ.get("CONTRASTIVE_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    beside = data_folder(data_root) / "cache"
    return beside if _writable(beside) else Path("~/.cache/contrastive-medmnist").expanduser()


def _writable(folder: Path) -> bool:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    # root may write everywhere; a folder without any write bit is nevertheless meant to be kept
    bits = folder.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH)
    return bool(bits) and os.access(folder, os.W_OK)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock that belongs to `path`: one process builds it, the others wait and find it.

    The system drops the lock when its holder dies. Raises DataError where nothing can be written.
    """
    from filelock import FileLock

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path.with_name(f".{path.name}.lock"))
        lock.acquire()
    except OSError as error:
        raise DataError(
            f"{path.parent}: cannot be written ({error.strerror or error}); choose another folder "
            "with data_root (or CONTRASTIVE_CACHE for derived files)"
        ) from error
    try:
        yield
    finally:
        lock.release()


def write_complete(path: Path, build: Callable[[Path], None]) -> None:
    """Have `build` write to a temporary name beside `path`, then move it there in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex}{path.suffix}")
    try:
        build(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def cached(path: Path, build: Callable[[Path], None]) -> Path:
    """Return `path`, built first if it is not there; processes that want the same wait for it."""
    if not path.exists():
        with locked(path):
            if not path.exists():
                for abandoned in path.parent.glob(f".{path.stem}.*{path.suffix}"):
                    abandoned.unlink(missing_ok=True)  # nobody else holds this lock
                write_complete(path, build)
    return path


def open_array(path: Path, limit: int = IN_MEMORY) -> npt.NDArray[np.uint8]:
    """A cached .npy array: in memory up to `limit` bytes, else a read-only memory map."""
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    return np.array(array) if array.nbytes <= limit else array


def take_rows(
    array: npt.NDArray[np.uint8], rows: npt.NDArray[np.int64], path: Path, limit: int = IN_MEMORY
) -> npt.NDArray[np.uint8]:
    """`array[rows]`: in memory up to `limit` bytes, else copied chunk by chunk to `path`, mapped.

    `path` must name the array and the rows: an existing file is taken as it is.
    """
    shape = (len(rows), *array.shape[1:])
    if math.prod(shape) <= limit:
        return np.asarray(array[rows])

    def build(out: Path) -> None:
        target = np.lib.format.open_memmap(out, mode="w+", dtype=np.uint8, shape=shape)
        for start in range(0, len(rows), COPY_ROWS):
            target[start : start + COPY_ROWS] = array[rows[start : start + COPY_ROWS]]
        target.flush()

    return open_array(cached(path, build), limit)


def file_hash(path: Path, algorithm: str) -> str:
    """Hex digest of a file's bytes: `md5`, or `blake2b` at 128 bits."""
    md5 = algorithm == "md5"
    digest = hashlib.md5(usedforsecurity=False) if md5 else hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(HASH_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def combined_hash(parts: object) -> str:
    """128-bit hex digest of anything that JSON can write."""
    text = json.dumps(parts, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def file_hashes(
    paths: Sequence[Path | None],
    cache: Path,
    algorithm: str = "blake2b",
    *,
    workers: int | None = None,
    progress: bool = False,
    remember: bool = True,
) -> list[str]:
    """One digest per file, hashed in threads; "missing" for None, "unreadable" where it fails.

    Digests are remembered by path, size and modification time in one JSON file a folder, so a
    second look costs a `stat` a file.
    """
    known_paths = [str(p.absolute()) for p in paths if p is not None]
    if not known_paths:
        return ["missing"] * len(paths)
    scope = os.path.commonpath([str(Path(p).parent) for p in known_paths])
    memory_file = cache / "digests" / f"{combined_hash(scope)}.json"
    held = _held.get()
    memory = {**_read_memory(memory_file), **(held or {}).get(memory_file, {})}
    found: dict[str, list[object]] = {}

    def look(path: Path | None) -> str:
        if path is None:
            return "missing"
        key = str(path.absolute())
        try:
            status = path.stat()
            stamp = [status.st_size, status.st_mtime_ns, algorithm]
            entry = memory.get(key)
            if entry is None or entry[:3] != stamp:
                entry = [*stamp, file_hash(path, algorithm)]
                found[key] = entry
        except OSError:
            return "unreadable"
        return str(entry[3])

    workers = workers or os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        digests = pool.map(look, paths, chunksize=64)
        result = []
        moves = progress and len(paths) > 1 and not memory
        with Bar("Hashing", len(paths), "file", show=moves) as bar:
            for digest in digests:
                result.append(digest)
                bar.update()
    if found and remember:
        if held is None:
            _remember(memory_file, found)
        else:
            held.setdefault(memory_file, {}).update(found)
    return result


_held: ContextVar[dict[Path, dict[str, list[object]]] | None] = ContextVar("held", default=None)


@contextlib.contextmanager
def holding_digests() -> Iterator[None]:
    """Write the digests found inside only when the block ends without an exception.

    A plan hashes data before it can know of its last mistake, and a refused one leaves nothing.
    """
    token = _held.set({})
    try:
        yield
        for memory_file, found in (_held.get() or {}).items():
            _remember(memory_file, found)
    finally:
        _held.reset(token)


def _remember(memory_file: Path, found: dict[str, list[object]]) -> None:
    with contextlib.suppress(OSError, DataError), locked(memory_file):
        merged = json.dumps({**_read_memory(memory_file), **found})
        write_text(memory_file, merged)


def _read_memory(path: Path) -> dict[str, list[object]]:
    try:
        memory = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return memory if isinstance(memory, dict) else {}


def write_text(path: Path, text: str) -> None:
    """Write a small text file, complete or not at all."""

    def build(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    write_complete(path, build)
