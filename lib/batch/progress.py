"""What is running, what is left, and about how long it will take."""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from lib.batch.done import read_metrics
from lib.batch.plan import PlannedRun
from lib.batch.spec import Outcome

# Seconds of a run before and after its notebook computes: its fork, its kernel, the report. With
# two other runs on two cores 3 s; where runs cannot be forks (`lib.batch.forkserver`), 9 to 12 s.
STARTUP = 4.0
# Seconds that a notebook computes and draws without its encoder: resampling, logistic regression,
# maps, figures. 00 to 02 are medians of first_light, 10 of results/retinopathy; of the others, what
# tiny data took.
BESIDE = {
    "00_data": 10.0, "01_pretrain": 12.0, "02_probe": 15.0, "03_finetune": 15.0,
    "04_imbalance": 10.0, "05_transfer": 15.0, "06_downsampling": 15.0, "07_retrieval": 20.0,
    "08_features": 50.0, "09_report": 10.0, "10_retinopathy": 56.0,
    "11_selection": 10.0,
}  # fmt: skip


def seconds_in_words(seconds: float) -> str:
    """`42 s`, `12 min`, `3 h 05 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


class Speed:
    """Seconds a run takes, learnt from the runs that have ended.

    A run with work is taken to cost its start-up and then time in proportion to its work, any
    other the mean of its notebook's runs so far.
    """

    def __init__(self) -> None:
        self.seen: dict[str, list[tuple[float, float]]] = defaultdict(list)

    def learn(self, notebook: str, work: float, seconds: float) -> None:
        """Note that a run of `notebook` with so much work took so many seconds."""
        self.seen[notebook].append((work, seconds))

    def estimate(self, run: PlannedRun) -> float | None:
        """Expected seconds for `run`; None before any run of its notebook was measured."""
        seen = self.seen.get(run.notebook)
        if not seen:
            return None
        work = sum(w for w, _ in seen)
        if work == 0:
            return sum(s for _, s in seen) / len(seen)
        startup = min(STARTUP, *(s for _, s in seen))
        return startup + run.work * sum(s - startup for _, s in seen) / work

    def guess(self, run: PlannedRun) -> float | None:
        """As `estimate`; for a notebook of which none has ended, from the runs of the others.

        None where no run that computes has ended, unless this one computes nothing either.
        """
        learnt = self.estimate(run)
        if learnt is not None or run.notebook not in BESIDE:
            return learnt
        fixed = STARTUP + BESIDE[run.notebook]
        if run.work == 0:
            return fixed
        ended = [(w, s - STARTUP - BESIDE.get(n, 0)) for n in self.seen for w, s in self.seen[n]]
        work = sum(w for w, _ in ended)
        if work == 0:
            return None
        return fixed + run.work * sum(max(0.0, s) for w, s in ended if w > 0) / work

    @classmethod
    def from_results(
        cls,
        runs: Iterable[PlannedRun],
        study_folder: Path,
        devices: Mapping[str, str] | None = None,
    ) -> Speed:
        """What the finished runs of a study say of this machine's speed.

        devices: by run, what it would run on now; what was done on another says nothing.
        """
        speed = cls()
        for run in runs:
            done = read_metrics(study_folder, run.name)
            if done is None:
                continue
            if devices is None or done.get("device") == devices[run.name]:
                # A run's own clock starts with `lib.run.start`, when its kernel is ready.
                speed.learn(run.notebook, run.work, STARTUP + float(done.get("seconds", 0.0)))
        return speed


class Progress:
    """Live progress: a line for each run that ends, and on a terminal one moving line below."""

    def __init__(
        self,
        runs: list[PlannedRun],
        study_folder: Path,
        show: Callable[[str], None] = print,
        slots: int = 1,
    ) -> None:
        self.slots = slots  # runs at a time
        self.left = {run.name: run for run in runs}
        self.total = len(runs)
        self.running: dict[str, float] = {}
        self.folder, self.show, self.speed = study_folder, show, Speed()
        self.live = sys.stdout.isatty()
        self.began = self.last = time.time()

    def started(self, run: PlannedRun) -> None:
        """Note that a run has begun."""
        self.running[run.name] = time.time()
        self.line(f"      {run.name} …")

    def ended(self, run: PlannedRun, outcome: Outcome) -> None:
        """Say how a run ended and what is left."""
        self.running.pop(run.name, None)
        self.left.pop(run.name, None)
        if outcome.ok and not outcome.elsewhere:
            self.speed.learn(run.notebook, run.work, outcome.seconds)
        mark = "done" if outcome.ok else "FAILED"
        if outcome.elsewhere:
            self.line(f"[{self.total - len(self.left)}/{self.total}] done elsewhere {run.name}")
            return
        count = f"[{self.total - len(self.left)}/{self.total}]"
        took = seconds_in_words(outcome.seconds)
        self.line(f"{count} {mark} {run.name} in {took}{self.remaining()}")
        if not outcome.ok:
            where = f"cell {outcome.cell}: " if outcome.cell else ""
            self.line(f"      {where}{outcome.error}\n      see {outcome.report}")

    def busy(self, run: PlannedRun, who: str) -> None:
        """Say that a run is left to another process."""
        self.running.pop(run.name, None)
        self.line(f"      {run.name}: {who} is at it; waiting for that")

    def skipped(self, run: PlannedRun, need: str) -> None:
        """Say that a run cannot be done."""
        self.left.pop(run.name, None)
        self.line(f"      skipped {run.name}: it needs {need}")

    def remaining(self) -> str:
        """What is left, as ` · 12 left, about 8 min`."""
        if not self.left:
            return ""
        slots, now = min(self.slots, len(self.left)), time.time()
        seconds = 0.0
        for name, run in self.left.items():
            expected = self.speed.guess(run)
            if expected is None:
                return f" · {len(self.left)} left"
            # One that takes longer than expected does not make the others shorter.
            seconds += max(0.0, expected - (now - self.running.get(name, now)))
        return f" · {len(self.left)} left, about {seconds_in_words(max(seconds, 1.0) / slots)}"

    def tick(self) -> None:
        """On a terminal, refresh the moving line: each running run, its epoch, its time."""
        if not self.live:
            return
        parts = []
        for name, since in self.running.items():
            step = self.step_of(name)
            parts.append(f"{name}{step} {seconds_in_words(time.time() - since)}")
        text = " | ".join(parts) + self.remaining()
        sys.stdout.write("\r\x1b[2K" + text[:160])
        sys.stdout.flush()

    def step_of(self, name: str) -> str:
        """How far a run says it is, after a space; empty where it says nothing."""
        try:
            text = (self.folder / "work" / name / "progress").read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):  # not begun, or just moved into its place
            return ""
        return f" {text.strip()}"

    def line(self, text: str) -> None:
        """Print a line that stays."""
        if self.live:
            sys.stdout.write("\r\x1b[2K")
        self.show(text)

    def close(self) -> None:
        """Clear the moving line."""
        if self.live:
            sys.stdout.write("\r\x1b[2K")
            sys.stdout.flush()
