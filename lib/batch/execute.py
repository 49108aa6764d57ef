"""Executing one planned run: papermill, the rendered report, and the move into place."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import sys
import sysconfig
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lib.batch.disk import CANNOT_WRITE, DISK
from lib.batch.done import place
from lib.batch.lifeline import kernel_launcher, lock_folder, watch_lifeline
from lib.batch.spec import LOG, Outcome, Spec
from lib.files import write_json, write_text
from lib.identity import DATASETS, commit, short_name
from lib.params import NOTEBOOKS, ROOT

__all__ = ["Outcome", "Spec", "execute", "execute_task", "forget_paths", "shorten_log"]

LOG_BYTES = 500_000  # of a log; of a longer one the newer part is kept


def shorten_log(log: Path, spec: Spec) -> None:
    """Keep the newer part of a long log, and take this machine's folders out of it."""
    if log.exists():
        text = log.read_bytes()[-LOG_BYTES:].decode("utf-8", errors="replace")
        write_text(log, without_folders(text, spec))


def execute(spec: Spec) -> Outcome:
    """Run the notebook of `spec`, render its report, move its folder into place if it worked."""
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    from lib.pages.render import render_notebook

    began = time.time()
    executed = spec.work / "notebook.ipynb"
    params = {**spec.params, "out": str(spec.work)}
    failure: tuple[int | None, str] | None = None
    format_ = "%(asctime)s %(message)s"
    logging.basicConfig(stream=sys.stdout, level=logging.WARNING, format=format_)
    logging.getLogger("papermill").setLevel(logging.INFO)  # when each cell begins and ends
    print(f"{spec.name} in process {os.getpid()} with code {commit()}", flush=True)
    try:
        papermill.execute_notebook(
            str(NOTEBOOKS / f"{spec.notebook}.ipynb"),
            str(executed),
            parameters=params,
            cwd=str(NOTEBOOKS),
            progress_bar=False,
            log_output=True,
            kernel_name="python3",
        )
        if not (spec.work / "metrics.json").exists():
            failure = (None, "the notebook ended without writing metrics.json")
    except DeadKernelError:
        failure = (None, f"the kernel died: killed, out of memory or a crash; see {LOG}")
    except PapermillExecutionError as error:
        failure = (error.exec_count, f"{error.ename}: {' '.join(str(error.evalue).split())}")
    forget_paths(executed, spec)
    footer = {"run": spec.name, "code": commit(), "made": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"}
    footer["log"] = f"{LOG} beside this page"
    report = spec.work / "report.html"
    render_notebook(executed, report, banner=spec.banner or None, footer=footer)
    seconds = time.time() - began
    if failure:
        return Outcome(spec.name, False, seconds, str(report), *failure)
    place(spec.work, spec.final, spec.drop)
    return Outcome(spec.name, True, seconds, str(spec.final / "report.html"))


def forget_paths(executed: Path, spec: Spec) -> None:
    """Take this machine's folders out of an executed notebook, which is kept and passed on."""
    notebook = json.loads(executed.read_text(encoding="utf-8"))
    notebook["metadata"].pop("papermill", None)
    for cell in notebook["cells"]:
        cell["metadata"].pop("papermill", None)
        cell["metadata"].pop("execution", None)
    told = in_strings(notebook, lambda text: without_folders(text, spec))
    write_text(executed, json.dumps(told, indent=1, ensure_ascii=False) + "\n")


def in_strings(value: Any, change: Callable[[str], str]) -> Any:
    """The same JSON with each string changed, but for pictures: letters there are no words."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [in_strings(part, change) for part in value]
    if isinstance(value, dict):
        return {
            key: part if key.startswith("image/") else in_strings(part, change)
            for key, part in value.items()
        }
    return value


def without_folders(text: str, spec: Spec) -> str:
    """Text with this machine's folders replaced by what they are to the study."""
    results = Path(spec.study_folder).parent
    known = {sysconfig.get_path(kind): "site-packages" for kind in ("purelib", "platlib")}
    known |= {str(spec.work): f"runs/{spec.name}", str(results): "results", str(ROOT): "."}
    for key in DATASETS:
        dataset = str(spec.params.get(key, ""))
        path, short = dataset.partition(":")[2], short_name(dataset).partition(":")[2]
        if path:
            known[path] = short
    for name in ("data_root", "init", "summary"):
        value = str(spec.params.get(name) or "")
        if Path(value).is_absolute():
            known.setdefault(value, f"{name}/{Path(value).name}")
    known[str(Path.home())] = "~"
    for folder, short in known.items():
        if folder != "/":  # the home of a user without one
            # A whole folder: `/rootfs` is not in `/root`, and letters of a picture are no folder.
            # A traceback's colour may stand right before one.
            whole = rf"(?:(?<![\w+])|(?<=\x1b\[\d\dm)|(?<=\x1b\[\dm)){re.escape(folder)}(?![\w-])"
            text = re.sub(whole, lambda _, s=short: s, text)  # type: ignore[misc]
    return text


def execute_task(task: Path) -> int:
    """Execute a spec file, leave the outcome beside it, and return the exit status."""
    spec = Spec.read(task)
    try:
        outcome = execute(spec)
        folder = spec.final if outcome.ok else spec.work
        write_json(folder / "outcome.json", asdict(outcome))
    except OSError as error:
        if error.errno not in DISK:
            raise
        print(DISK[error.errno], flush=True)
        return CANNOT_WRITE
    return 0 if outcome.ok else 1


def main(task: Path) -> int:
    """What `python -m lib.batch.execute` does: `execute_task` in a process started anew."""
    from jupyter_client.provisioning import local_provisioner

    watch_lifeline()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started this hears it too
    folder = lock_folder(task.parent)
    launch = kernel_launcher([] if folder is None else [folder])
    setattr(local_provisioner, "launch_kernel", launch)  # noqa: B010
    return execute_task(task)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
