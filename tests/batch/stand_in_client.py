"""`python stand_in_client.py ADDRESS FOLDER NAME…`: as much of run_all.py as cluster tests need.

ADDRESS is a scheduler's, or `--jobs=N` for runs of this process.
"""

from __future__ import annotations

import sys
from pathlib import Path

from lib.batch.engine import open_engine
from lib.batch.plan import PlannedRun
from lib.batch.runner import run_plan
from lib.batch.stop import Stop
from lib.batch.study import StudyError
from lib.identity import RANDOM


def planned(name: str, *needs: str, device: str = "cpu") -> PlannedRun:
    """A run that `stand_in_worker` can do."""
    params = {"dataset": "cells", "device": device}
    return PlannedRun(name, name, "02_probe", params, needs, 0.0, RANDOM)


def main(address: str, folder: Path, names: list[str]) -> int:
    """Exit status as run_all.py's."""
    (folder / "work").mkdir(parents=True, exist_ok=True)

    def say(line: str) -> None:
        print(line, flush=True)

    jobs = 1
    if address.startswith("--jobs="):
        import stand_in_worker

        stand_in_worker.dask_setup(None)
        jobs, scheduler = int(address.removeprefix("--jobs=")), None
    else:
        scheduler = address
    with Stop() as stop:
        try:
            with open_engine(jobs, scheduler, folder=folder, say=say, stop=stop.asked) as engine:
                runs = [planned(name) for name in names]
                report = run_plan(runs, "tiny", folder, engine, show=say, stop=stop.asked)
        except StudyError as error:
            print(error, file=sys.stderr)
            return 2
    print("report", len(report.outcomes), report.elsewhere, report.stopped, report.trouble)
    return 130 if stop.asked() else 0 if report.ok else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:]))
