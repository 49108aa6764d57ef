"""Running one function in several processes that train together, from a notebook or anywhere.

The process that asks takes no part: it starts `python -m lib.training.launch` once for each device,
waits and reads what the first one returns. So it does not matter what the asking process has
imported or started (a kernel's threads, CUDA, which does not survive a fork), nor what its main
module is.
Lightning's `ddp_notebook` forks the kernel and its `ddp` runs `sys.argv` again; both assume more.
"""

from __future__ import annotations

import mmap
import os
import pickle
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from lib.checks import ParameterError
from lib.params import ROOT

if TYPE_CHECKING:
    from lib.training.ranks import Crew

# Arrays from this size on are not pickled but mapped from a file, which all processes share.
LARGE = 2**16
JOB, RESULT = "job.pickle", "result.pickle"
Watch = Callable[[], None]
T = TypeVar("T")


def launch(task: Callable[[], T], crew: Crew, folder: Path, watch: Watch = lambda: None) -> T:
    """Call `task` in a process for each of this machine's devices; return what the first returns.

    task: something pickle can take, such as a `functools.partial` of a function of this project.
    folder: for the hand-over and for `rank-N.log`, what each process printed. watch: called now
    and then while they run. With several machines this is called on each of them, with
    MASTER_ADDR, MASTER_PORT and NODE_RANK in the environment (ParameterError without).
    Raises RuntimeError with the last line of a process that failed, and ends the others.
    """
    where = meeting_place(crew)
    folder.mkdir(parents=True, exist_ok=True)
    job = Path(tempfile.mkdtemp(prefix="ranks-", dir=folder))
    processes: list[subprocess.Popen[bytes]] = []
    # What a process says stays beside the checkpoints, as long as these are kept.
    logs = [folder / f"rank-{int(where['NODE_RANK']) * crew.devices + i}.log"
            for i in range(crew.devices)]  # fmt: skip
    try:
        with (job / JOB).open("wb") as file:
            Pickler(file, job).dump(task)
        for i, log in enumerate(logs):
            processes.append(start(job, log, {**where, "LOCAL_RANK": str(i)}, crew.devices))
        wait_for(processes, logs, watch)
        with (job / RESULT).open("rb") as file:
            result: T = pickle.load(file)
        return result
    finally:
        for process in processes:
            process.kill()
            process.wait()
        shutil.rmtree(job, ignore_errors=True)


def meeting_place(crew: Crew) -> dict[str, str]:
    """The environment by which the processes of a crew find each other."""
    if crew.num_nodes == 1:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        return {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "NODE_RANK": "0"}
    names = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK")
    missing = [name for name in names if not os.environ.get(name)]
    if missing:
        raise ParameterError(
            f"num_nodes: {crew.num_nodes} needs {', '.join(missing)} in the environment: the "
            "address and a free port of the first machine, and which machine this is, from 0"
        )
    return {name: os.environ[name] for name in names}


def start(
    job: Path, log: Path, environment: dict[str, str], devices: int
) -> subprocess.Popen[bytes]:
    """Start one process; it ends with the pipe to its standard input, and so with this process."""
    threads = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
    environment = {**os.environ, **environment, "OMP_NUM_THREADS": str(max(1, threads // devices))}
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment["PYTHONPATH"] = os.pathsep.join(paths)
    command = [sys.executable, "-m", "lib.training.launch", str(job)]
    with log.open("wb") as stream:
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=stream, stderr=stream, env=environment
        )


def wait_for(processes: list[subprocess.Popen[bytes]], logs: list[Path], watch: Watch) -> None:
    """Wait until all have ended well; RuntimeError as soon as one has not."""
    while True:
        states = [process.poll() for process in processes]
        failed = [log for log, state in zip(logs, states, strict=True) if state]
        if failed:
            # The others fail for want of the first.
            log = min(failed, key=lambda path: path.stat().st_mtime)
            lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
            reason = next((line for line in reversed(lines) if line.strip()), "no output")
            raise RuntimeError(f"{log.stem} failed: {reason} (see {log})")
        watch()
        if all(state == 0 for state in states):
            return
        time.sleep(0.1)


class Pickler(pickle.Pickler):
    """Pickles for another process of this machine: large arrays as files that it maps.

    An array that is mapped already is named by its file and place there, and not copied.
    """

    def __init__(self, file: Any, folder: Path) -> None:
        super().__init__(file, protocol=5)
        self.folder, self.count = folder, 0

    def reducer_override(self, value: Any) -> Any:
        """How to rebuild a large array; everything else as usual."""
        if not isinstance(value, np.ndarray) or value.dtype.hasobject or value.nbytes < LARGE:
            return NotImplemented
        place = place_in_file(value)
        if place is not None:
            return np.memmap, place
        self.count += 1
        path = self.folder / f"{self.count}.npy"
        np.save(path, value)
        return np.load, (path, "r")


def place_in_file(array: np.ndarray[Any, Any]) -> tuple[Any, ...] | None:
    """What np.memmap maps an array with again, read-only; None where it is no map, or has gaps."""
    mapped = getattr(array, "_mmap", None)
    if not isinstance(array, np.memmap) or mapped is None or not array.flags.c_contiguous:
        return None
    # `offset` is that of the whole map, of which this may be a part.
    begins = array.offset - array.offset % mmap.ALLOCATIONGRANULARITY
    first = np.frombuffer(mapped, np.uint8).ctypes.data
    offset = begins + array.ctypes.data - first
    return str(array.filename), array.dtype, "r", offset, array.shape


def end_with_parent() -> None:
    """End this process when the other end of its standard input is closed."""
    while os.read(0, 1):  # not sys.stdin, whose lock would outlive the interpreter
        pass
    os._exit(1)


def main(job: Path) -> None:
    """Do the job as one of its processes; the first of the machine leaves the result."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    with (job / JOB).open("rb") as file:
        task = pickle.load(file)
    try:
        result = task()
    except Exception:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)  # what libraries print at their end would come after the reason
    if os.environ["LOCAL_RANK"] == "0":
        with (job / RESULT).open("wb") as file:
            pickle.dump(result, file, protocol=5)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
