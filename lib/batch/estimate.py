"""What runs will cost, before they run: image passes times what this machine was timed at."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lib.batch.passes import Passes, count_passes
from lib.batch.plan import PlannedRun
from lib.batch.progress import BESIDE, STARTUP, Speed
from lib.checks import ParameterError

if TYPE_CHECKING:
    from lib.batch.throughput import Throughput, Workload


class Estimates:
    """Expected seconds of runs, with `threads` threads each.

    A run's image passes (`lib.batch.passes`) are multiplied by what a few steps of its encoder
    take here; runs of the same notebook that the study has finished on such a device correct this.

    seconds: by run; a run has none where its device is not on this machine or its encoder cannot
    be read, and `missing` says why. timed: what was measured for it. corrected: notebooks whose
    estimate is corrected by finished runs.
    """

    def __init__(self, runs: Sequence[PlannedRun], threads: int, study_folder: Path) -> None:
        self.by_name = {run.name: run for run in runs}
        self.threads = threads
        self.timed: dict[Workload, Throughput] = {}
        self.missing: list[str] = []
        expected: list[PlannedRun] = []
        for run in runs:
            try:
                expected.append(replace(run, work=self.computing(run)))
            except (ParameterError, OSError, ValueError) as error:
                line = f"{run.experiment}: {' '.join(str(error).split())}"
                self.missing += [line] if line not in self.missing else []
        devices = {run.name: self.device_of(run) for run in expected}
        speed = Speed.from_results(expected, study_folder, devices)
        self.corrected = sorted(speed.seen)
        self.seconds = {}
        for run in expected:
            learnt = speed.estimate(run)
            self.seconds[run.name] = STARTUP + run.work if learnt is None else learnt

    def computing(self, run: PlannedRun) -> float:
        """Seconds that a run computes and draws."""
        encoder = sum(self.time_passes(run, passes) for passes in count_passes(run))
        return BESIDE[run.notebook] + encoder

    def time_passes(self, run: PlannedRun, passes: Passes) -> float:
        """Seconds of some of a run's passes."""
        from lib.batch.throughput import Workload, measure_augment, measure_throughput
        from lib.device import choose_device, choose_precision

        p = run.params
        device, precision = choose_device(p), str(p["precision"])
        if precision == "auto":
            precision = choose_precision(device)
        size = passes.size or int(p["size"])
        frozen = int(p.get("freeze_stages", 0)) if passes.trained else 0
        architecture, stem, channels = self.encoder_of(run)
        work = Workload(architecture, stem, size, channels, precision, device, frozen)
        speed = self.timed.setdefault(work, measure_throughput(work, self.threads))
        seconds = passes.trained * speed.train + passes.steps * speed.step
        seconds += passes.embedded * speed.embed
        if passes.augmented:
            view = measure_augment(passes.augment, size, run.channels, device, self.threads)
            seconds += passes.augmented * view
        return seconds

    def device_of(self, run: PlannedRun) -> str:
        """The device of a run as metrics.json names it."""
        from lib.device import choose_device, describe_device

        device = choose_device(run.params)
        return describe_device(device) if device != "cpu" else f"CPU, {self.threads} thread(s)"

    def encoder_of(self, run: PlannedRun) -> tuple[str, str, int]:
        """Architecture, stem and channels of a run's encoder: the one named, or what made it."""
        from lib.models.weights import load_init

        init = str(run.params.get("init", "scratch"))
        if init in self.by_name:
            return self.encoder_of(self.by_name[init])
        if init in ("scratch", "imagenet"):
            return run.params["encoder"], run.params["stem"], run.channels
        encoder, _ = load_init(init, None, None, None, seed=0)
        return encoder.architecture, encoder.stem, encoder.channels

    def total(self, runs: Sequence[PlannedRun], slots: int) -> float | None:
        """Seconds for these runs, so many at a time; None where one has no estimate."""
        if any(run.name not in self.seconds for run in runs):
            return None
        return time_in_slots(runs, self.seconds, slots)


def time_in_slots(runs: Sequence[PlannedRun], seconds: Mapping[str, float], slots: int) -> float:
    """Seconds until all runs have ended, `slots` at a time, each started as soon as it can be.

    Needs that are not among `runs` are taken as done.
    """
    waiting = {run.name: run for run in runs}
    running: list[tuple[float, str]] = []
    now = 0.0
    while waiting or running:
        for run in list(waiting.values()):
            undone = {*waiting, *(name for _, name in running)}
            if len(running) < slots and not undone.intersection(run.needs):
                heapq.heappush(running, (now + seconds[run.name], run.name))
                del waiting[run.name]
        now, _ = heapq.heappop(running)
    return now
