"""Who is at a run: a lock file for each, which several processes and machines can judge.

`work/RUN.lock` says host, process and time, and is touched every few seconds while its holder
lives. On the same machine a holder is dead when its process is. Of another machine nobody can ask
for processes, and clocks differ: there a holder is dead when its file has not been touched for
STALE seconds of the watcher's own clock.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from threading import Event, Thread

import psutil

from lib.files import write_text

BEAT = 5.0
# Longer than a machine that swaps or a file server that hangs keeps a thread from touching a file.
STALE = 90.0


@dataclass(frozen=True)
class Holder:
    """Who holds a lock. place: its machine since it was started; born: of the process."""

    host: str
    place: str
    pid: int
    born: float
    since: str
    token: str

    @classmethod
    def me(cls) -> Holder:
        """This process, as the holder of one lock."""
        born = psutil.Process().create_time()
        since = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
        return cls(platform.node(), place(), os.getpid(), born, since, uuid.uuid4().hex)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since}"


@cache
def place() -> str:
    """Where process numbers mean what they mean here: a machine, its start, its namespace."""
    parts = [platform.node()]
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        parts += [boot.strip(), str(Path("/proc/self/ns/pid").readlink())]
    return " ".join(parts)


def runs_here(holder: Holder) -> bool:
    """Whether the holder's process, of this machine, still runs."""
    try:
        process = psutil.Process(holder.pid)
        # Another process may have its number since; the clock may have been set meanwhile.
        same = abs(process.create_time() - holder.born) < 2.0
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Watch:
    """What one process has seen of the locks of other machines: when each last changed."""

    def __init__(self) -> None:
        self.seen: dict[Path, tuple[str, int, float]] = {}

    def holder(self, path: Path) -> Holder | None:
        """Who holds a lock; None where nobody does, or only one who is dead."""
        try:
            with path.open(encoding="utf-8") as file:  # opened anew: a file server's latest
                holder = Holder(**json.load(file))
                touched = os.fstat(file.fileno()).st_mtime_ns
        except (OSError, ValueError, TypeError):
            self.seen.pop(path, None)
            return None
        if holder.place == place():
            return holder if runs_here(holder) else None
        token, last, since = self.seen.get(path, ("", 0, 0.0))
        if (token, last) != (holder.token, touched):
            since = time.monotonic()
            self.seen[path] = (holder.token, touched, since)
        return holder if time.monotonic() - since < STALE else None


WATCH = Watch()


def lock_path(study_folder: Path, name: str) -> Path:
    """Where the lock of a run is."""
    return study_folder / "work" / f"{name}.lock"


@contextlib.contextmanager
def guard(study_folder: Path, what: str) -> Iterator[None]:
    """Let one process at a time look and write: a lock of the system, held for moments.

    what: `locks`, or `summary` for what is written about the whole study. On file systems without
    such locks it is not held; a lock file is created in one step all the same.
    """
    from filelock import FileLock

    path = study_folder / "work" / f".{what}"
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(NotImplementedError):
            stack.enter_context(FileLock(path))
        yield


@contextlib.contextmanager
def hold(
    study_folder: Path, name: str, on_lost: Callable[[], None] = lambda: None, watch: Watch = WATCH
) -> Iterator[Holder | None]:
    """Hold a run's lock for a block; gives None, or who holds it where another does.

    on_lost is called when the lock turns out to have been taken over: this process slept so long
    that others thought it dead, and must leave the run to them.
    """
    path, me = lock_path(study_folder, name), Holder.me()
    with guard(study_folder, "locks"):
        other = watch.holder(path)
        if other is None:
            write_text(path, json.dumps(asdict(me)) + "\n")
    if other is not None:
        yield other
        return
    ended = Event()
    beat = Thread(target=keep_touching, args=(path, me, ended, on_lost), daemon=True)
    beat.start()
    try:
        yield None
    finally:
        ended.set()
        beat.join()
        with guard(study_folder, "locks"):
            if token_of(path) == me.token:
                path.unlink(missing_ok=True)


def keep_touching(path: Path, me: Holder, ended: Event, on_lost: Callable[[], None]) -> None:
    """Touch a lock until told that it has ended, or until it is another's."""
    while not ended.wait(BEAT):
        if token_of(path) not in (me.token, None):
            on_lost()
            return
        with contextlib.suppress(OSError):
            os.utime(path)


def token_of(path: Path) -> str | None:
    """The token in a lock file; None where it cannot be read just now."""
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["token"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
