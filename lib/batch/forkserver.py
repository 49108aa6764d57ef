"""Processes for runs that begin with everything imported.

Starting a run imports papermill, nbconvert, torch, Lightning and the notebooks' own modules twice,
in the process that executes the notebook and in its kernel: longer than many a notebook computes.
`ForkServer` is a process that has imported all of it and does nothing else; each run is a fork of
it, and its kernel another, made before the run's own threads and sockets exist. Pages that no run
writes to are shared by all of them. Runs and kernels die with whoever asked for them.

On Linux only: elsewhere system libraries do not survive a fork. CUDA does not either once it is
used, so the server never uses it, and asks NVML alone whether there is a GPU. On an H100 one
of more than fifty runs that were forks lost its kernel as it began, for reasons unknown; so where
there is a GPU, runs are forks only if CONTRASTIVE_FORK is 1. Where it is 0 they never are.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

# What takes long to import in a run or its kernel; umap only where it is used: it starts threads.
IMPORTS = (
    "papermill", "nbconvert", "ipykernel.kernelapp", "IPython", "matplotlib.pyplot", "pandas",
    "scipy.stats", "sklearn.linear_model", "torch", "torchvision", "pytorch_lightning",
    "pytorch_lightning.loggers", "lib.pages.render", "lib.run", "lib.training.pretrain",
    "lib.evaluation.evaluate", "lib.training.finetune", "lib.pages.page",
)  # fmt: skip
INLINE = "module://matplotlib_inline.backend_inline"
DIED = -1
MESSAGE = 2**20  # bytes; a request is an environment and two paths


def can_fork() -> bool:
    """Whether runs here are forks: on Linux without a GPU, or as CONTRASTIVE_FORK says."""
    asked = os.environ.get("CONTRASTIVE_FORK", "")
    wanted = asked == "1" or (asked != "0" and not Path("/dev/nvidiactl").exists())
    return sys.platform == "linux" and wanted


class ForkServer:
    """The process that forks runs; it ends when this object's process does.

    environment: of the server. OMP_NUM_THREADS and PYTHONPATH must be those of its runs: they are
    read once, at import.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-m", "lib.batch.forkserver", str(theirs.fileno())]
        self.process = subprocess.Popen(
            command,
            pass_fds=[theirs.fileno()],
            env={"MPLBACKEND": INLINE, **environment},
            stdin=subprocess.DEVNULL,
        )
        theirs.close()
        self.lock = threading.Lock()

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None

    def run(
        self,
        task: Path,
        log: Path,
        environment: Mapping[str, str],
        started: Callable[[Callable[[], None]], object] = lambda end: None,
    ) -> int:
        """Execute a spec file (`lib.batch.execute`) in a fork and wait for its exit status.

        log: what the run prints is added to it. started: is given what ends the run before its
        time. Returns DIED where the run ended without a status. Raises OSError where the server is
        gone.
        """
        ours, theirs = socket.socketpair()

        def hang_up() -> None:
            with suppress(OSError):
                ours.shutdown(socket.SHUT_RDWR)

        with ours:
            request = {"task": str(task), "log": str(log), "environment": dict(environment)}
            with theirs, self.lock:
                socket.send_fds(self.control, [json.dumps(request).encode()], [theirs.fileno()])
            started(hang_up)
            answer = ours.recv(16)
        return int(answer) if answer else DIED

    def close(self) -> None:
        """End the server, and with it the runs it has not finished."""
        self.control.close()
        self.process.wait()


class ForkedKernel:
    """A fork that waits to be told which kernel to be, then stands in for its Popen object."""

    stdin = stdout = stderr = None

    def __init__(self, close: list[int]) -> None:
        reading, self.writing = os.pipe()
        ready, say_ready = os.pipe()
        self.args: list[str] = []
        self.returncode: int | None = None
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            for descriptor in (self.writing, ready, *close):
                os.close(descriptor)
            # A group of its own, before anyone may send signals to its group.
            os.setsid()
            die_with_parent(parent)
            os.write(say_ready, b"1")
            be_a_kernel(reading)
        for descriptor in (reading, say_ready):
            os.close(descriptor)
        os.read(ready, 1)
        os.close(ready)

    def launch(self, cmd: list[str], **options: Any) -> ForkedKernel:
        """What `jupyter_client.launcher.launch_kernel` does: start `cmd`, with its `env`, `cwd`."""
        self.args = cmd
        environment = dict(options.get("env") or os.environ)
        order = {"arguments": cmd[cmd.index("-f") :], "environment": environment}
        order["cwd"] = str(options.get("cwd") or Path.cwd())
        with os.fdopen(self.writing, "w") as stream:
            json.dump(order, stream)
        return self

    def poll(self) -> int | None:
        """The exit status, None while it runs."""
        if self.returncode is None:
            with suppress(ChildProcessError):
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                if pid:
                    self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; subprocess.TimeoutExpired after `timeout` seconds."""
        end = None if timeout is None else time.monotonic() + timeout
        while (status := self.poll()) is None:
            if end is not None and time.monotonic() > end:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            time.sleep(0.02)
        return status

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)


def die_with_parent(parent: int) -> None:
    """Have the kernel of this system kill this process when its parent, a process id, ends."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # 1: PR_SET_PDEATHSIG
    if os.getppid() != parent:  # it ended before it could be asked for
        os._exit(1)


def be_a_kernel(reading: int) -> NoReturn:
    """Wait for an order and become that Jupyter kernel; never return."""
    status = 1
    try:
        with os.fdopen(reading) as stream:
            text = stream.read()
        if text:
            import numpy as np
            from ipykernel import kernelapp

            order = json.loads(text)
            os.environ.clear()
            os.environ.update(order["environment"], JPY_PARENT_PID=str(os.getppid()))
            os.chdir(order["cwd"])
            np.random.seed()  # noqa: NPY002 - a fresh process has a seed of its own
            sys.argv = ["ipykernel_launcher", *order["arguments"]]
            kernelapp.launch_new_instance(argv=order["arguments"])
        status = 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def serve(control: socket.socket) -> NoReturn:
    """Import, then fork for each request until the other side is closed."""
    # Whoever asked decides on Ctrl-C; ended children need no one to wait for them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    # Asked otherwise, `torch.cuda.is_available` would start CUDA here, which no fork could use.
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
    for name in IMPORTS:
        importlib.import_module(name)
    server = os.getpid()
    while True:
        message, descriptors, *_ = socket.recv_fds(control, MESSAGE, 1)
        if not message:
            os._exit(0)  # at once: the runs end with it, and whoever asked for them is gone
        connection = socket.socket(fileno=descriptors[0])
        if os.fork() == 0:
            control.close()
            die_with_parent(server)
            be_a_run(json.loads(message), connection)
        connection.close()


def be_a_run(request: dict[str, Any], connection: socket.socket) -> NoReturn:
    """Execute the request's spec, answer with the exit status and end."""
    from jupyter_client.provisioning import local_provisioner

    from lib.batch.execute import execute_task
    from lib.batch.lifeline import end_with, lock_folder

    status = 1
    try:
        # Ctrl-C stays ignored: whoever asked for the run hears it too, and ends the run.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.environ.clear()
        os.environ.update(request["environment"])
        log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
        # Kept until this process and its kernel, which inherits it, have ended.
        lock_folder(Path(request["task"]).parent)
        kernel = ForkedKernel(close=[connection.fileno()])
        end_with(connection.fileno())
        setattr(local_provisioner, "launch_kernel", kernel.launch)  # noqa: B010
        status = execute_task(Path(request["task"]))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        connection.sendall(str(status).encode())
        os._exit(status)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
