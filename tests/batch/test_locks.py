"""Locks of runs: one holder at a time, the dead are recognised, the sleeping are not overtaken."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from lib.batch import locks
from lib.batch.locks import Holder, Watch, guard, hold, lock_path

NAME = "probe-a"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "results" / "tiny"


def write_lock(folder: Path, **changes: Any) -> Path:
    """A lock of this process, or with other facts."""
    path = lock_path(folder, NAME)
    path.parent.mkdir(parents=True, exist_ok=True)
    holder = dataclasses.replace(Holder.me(), **changes)
    path.write_text(json.dumps(dataclasses.asdict(holder)), encoding="utf-8")
    return path


def fork(act: Callable[[], object]) -> int:
    """Do something in a process of its own; exit status 0 where it worked."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        act()
        status = 0
    finally:
        os._exit(status)


def ended(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_second_holder_is_told_who_the_first_is(folder: Path) -> None:
    with hold(folder, NAME) as other:
        assert other is None
        with hold(folder, NAME) as first:
            assert first is not None
            assert (first.pid, first.host) == (os.getpid(), locks.platform.node())
            assert f"process {os.getpid()} on " in str(first)
        with hold(folder, "probe-b") as unrelated:
            assert unrelated is None
        assert lock_path(folder, NAME).exists()  # the second did not take it along
    assert not lock_path(folder, NAME).exists()


def test_the_lock_of_a_killed_process_is_free_at_once(folder: Path) -> None:
    held = folder / "held"

    def hold_for_ever() -> None:
        with hold(folder, NAME):
            held.touch()
            time.sleep(600)

    pid = fork(hold_for_ever)
    while not held.exists():
        time.sleep(0.01)
    assert Watch().holder(lock_path(folder, NAME)) is not None
    os.kill(pid, signal.SIGKILL)
    while Watch().holder(lock_path(folder, NAME)) is not None:  # a zombie counts as dead
        time.sleep(0.01)
    ended(pid)
    with hold(folder, NAME) as other:
        assert other is None


def test_another_process_with_the_number_of_a_dead_one_holds_nothing(folder: Path) -> None:
    path = write_lock(folder, born=Holder.me().born - 60)
    assert Watch().holder(path) is None
    path = write_lock(folder, pid=2**22 + 1)
    assert Watch().holder(path) is None
    assert Watch().holder(write_lock(folder)) is not None


def test_a_holder_on_another_machine_lives_as_long_as_its_file_is_touched(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(locks.time, "monotonic", lambda: now[0])
    # Its clock is an hour slow: nothing is made of the time itself.
    path = write_lock(folder, host="elsewhere", place="elsewhere")
    watch, hour_ago = Watch(), time.time() - 3600
    for beat in range(5):
        os.utime(path, (hour_ago + beat, hour_ago + beat))
        assert watch.holder(path) is not None
        now[0] += locks.STALE - 1
        assert watch.holder(path) is not None
    now[0] += 1
    assert watch.holder(path) is None
    with hold(folder, NAME, watch=watch) as other:
        assert other is None
    # Who has just come has seen nothing yet, and waits.
    assert Watch().holder(write_lock(folder, place="elsewhere")) is not None


def test_a_lock_that_cannot_be_read_holds_nothing(folder: Path) -> None:
    path = write_lock(folder)
    for text in ("", "{", "[]", '{"host": "a"}'):
        path.write_text(text, encoding="utf-8")
        assert Watch().holder(path) is None


def test_the_holder_touches_its_lock_and_hears_when_it_is_another_s(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "BEAT", 0.02)
    lost = Event()
    with hold(folder, NAME, lost.set):
        path = lock_path(folder, NAME)
        os.utime(path, (1, 1))
        while path.stat().st_mtime == 1:
            time.sleep(0.01)
        assert not lost.is_set()
        theirs = write_lock(folder).read_text(encoding="utf-8")
        assert lost.wait(30)
    assert path.read_text(encoding="utf-8") == theirs


def test_many_processes_are_at_a_run_one_at_a_time(folder: Path) -> None:
    """Each adds one to a number in a file, reading and writing apart: an overlap loses one."""
    counter = folder.parent / "counter"
    counter.parent.mkdir(parents=True)
    counter.write_text("0", encoding="utf-8")
    write_lock(folder, pid=2**22 + 1)  # of a dead process: who breaks it must not be two

    def add() -> None:
        done = 0
        while done < 5:
            with hold(folder, NAME) as other:
                if other is None:
                    number = int(counter.read_text(encoding="utf-8"))
                    time.sleep(0.002)
                    counter.write_text(str(number + 1), encoding="utf-8")
                    done += 1
            time.sleep(0.001)

    pids = [fork(add) for _ in range(4)]
    assert [ended(pid) for pid in pids] == [0] * 4
    assert counter.read_text(encoding="utf-8") == "20"


def test_a_guard_lets_one_in_at_a_time_and_needs_no_locks_of_the_system(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import filelock

    def refuse(*_: object) -> None:
        raise NotImplementedError("FileSystem does not appear to support flock")

    with guard(folder, "locks"), guard(folder, "summary"):
        pass
    monkeypatch.setattr(filelock.FileLock, "_acquire", refuse)
    with hold(folder, NAME) as other:
        assert other is None
    assert not lock_path(folder, NAME).exists()
