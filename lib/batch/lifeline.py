"""Processes that end when the one that started them does, also where that was killed.

A lifeline is a pipe whose writing end only the starter holds. However the starter ends, `kill -9`
included, the system closes it, and whoever reads finds the end of the file and ends too. Forks of
`lib.batch.forkserver` have a socket for that; this is for processes started anew.

`python -m lib.batch.lifeline MODULE …` runs a module, a Jupyter kernel's for one, on a lifeline.
"""

from __future__ import annotations

import contextlib
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Thread
from typing import Any

# Names the descriptor to a process that was started on a lifeline.
VARIABLE = "CONTRASTIVE_LIFELINE"


def start_on_lifeline(
    command: Sequence[str], env: Mapping[str, str], hold: Sequence[int] = (), **options: Any
) -> subprocess.Popen[bytes]:
    """Start a process that calls `watch_lifeline`; it ends with this one, or when it is let go.

    hold: descriptors it shall have too. The writing end is the process object's `lifeline`, which
    nobody needs to close: it goes with the object.
    """
    reading, writing = os.pipe()
    try:
        process = subprocess.Popen(
            list(command),
            env={**env, VARIABLE: str(reading)},
            pass_fds=[reading, *hold],
            **options,
        )
    except BaseException:
        os.close(writing)
        raise
    finally:
        os.close(reading)
    setattr(process, "lifeline", os.fdopen(writing, "wb", buffering=0))  # noqa: B010
    return process


def watch_lifeline() -> None:
    """End this process as soon as its starter has, where it was started on a lifeline."""
    descriptor = os.environ.pop(VARIABLE, "")
    if descriptor:
        end_with(int(descriptor))


def end_with(descriptor: int) -> None:
    """Have a thread kill this process when the other side of `descriptor` is closed."""

    def wait() -> None:
        with contextlib.suppress(OSError):
            while os.read(descriptor, 1):
                pass
        os.kill(os.getpid(), signal.SIGKILL)

    Thread(target=wait, name="lifeline", daemon=True).start()


def lock_folder(folder: Path) -> int | None:
    """Wait until no process of an earlier try is at work in a folder, and keep it from then on.

    The system's lock (flock) belongs to this process and those that inherit the descriptor it
    returns, and ends with the last of them. None where the file system knows no such locks.
    """
    try:
        import fcntl

        descriptor = os.open(folder, os.O_RDONLY)
    except (ImportError, OSError):
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def kernel_launcher(hold: Sequence[int]) -> Any:
    """A stand-in for jupyter_client's `launch_kernel` that puts the kernel on a lifeline.

    hold: descriptors that the kernel shall have too.
    """
    from jupyter_client.launcher import launch_kernel as plain

    def launch(cmd: list[str], **options: Any) -> Any:
        if "-m" not in cmd:  # not started as a Python module: ipykernel's own watch must do
            return plain(cmd, **options)
        at = cmd.index("-m") + 1
        environment = dict(options.get("env") or os.environ)
        environment["JPY_PARENT_PID"] = str(os.getpid())
        return start_on_lifeline(
            [*cmd[:at], "lib.batch.lifeline", *cmd[at:]],
            environment,
            hold,
            cwd=options.get("cwd"),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    return launch


if __name__ == "__main__":
    watch_lifeline()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
