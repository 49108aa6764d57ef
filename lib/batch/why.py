"""Why a run will run: never done, broken off, or not what an earlier one was, and in what."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from lib.batch.done import is_done
from lib.batch.earlier import Earlier, last_error, read_earlier, superseded
from lib.batch.locks import WATCH, lock_path
from lib.batch.plan import PlannedRun
from lib.identity import DATASETS, code_fingerprint, module_fingerprints, short_name
from lib.params import PARAMETERS

MOST = 4  # differences that are named one by one


class Reasons:
    """Says of each run of a plan why it will run.

    runs: the whole plan: a finished run outside of it may be what one of them was before a change.
    """

    def __init__(
        self, runs: Iterable[PlannedRun], study_folder: Path, forced: Collection[str] = ()
    ) -> None:
        runs = list(runs)
        self.folder, self.forced = study_folder, forced
        found = (read_earlier(study_folder, name) for name in superseded(study_folder, runs))
        self.earlier = [run for run in found if run is not None]

    def why(self, run: PlannedRun) -> str:
        """One phrase: `never run`, `broken off at epoch 3/40`, `code changed: … since …`."""
        work = self.folder / "work" / run.name
        holder = WATCH.holder(lock_path(self.folder, run.name))
        if holder is not None:
            return f"{holder} is at it"
        if is_done(self.folder, run.name):
            return "forced" if run.name in self.forced else "what it made is incomplete"
        if (self.folder / "runs" / run.name).is_dir():
            return "its metrics.json is missing or damaged"
        if work.is_dir():
            error = last_error(work)
            return f"failed: {error[:100]}" if error else f"broken off{how_far(work)}"
        nearest = self.nearest(run)
        if nearest is None:
            return "never run"
        changes = differences(run, nearest)
        named = "; ".join(changes[:MOST])
        named += f"; {len(changes) - MOST} more" if len(changes) > MOST else ""
        return f"{named} since {nearest.name}"

    def nearest(self, run: PlannedRun) -> Earlier | None:
        """The finished run outside of the plan that this one differs from in the least."""
        same = [e for e in self.earlier if e.notebook == run.notebook]
        return min(same, key=lambda e: (len(differences(run, e)), e.name), default=None)


def how_far(work: Path) -> str:
    """` at epoch 3/40`, as far as a run that was broken off had noted."""
    try:
        return f" at {(work / 'progress').read_text(encoding='utf-8').strip()}"
    except OSError:
        kept = any(work.rglob("*.ckpt"))
        return "; it goes on from its checkpoint" if kept else ""


def differences(run: PlannedRun, earlier: Earlier) -> list[str]:
    """What makes a planned run another one than an earlier run of its notebook."""
    found = []
    wanted = noted(run)
    relevant = {k: v for k, v in earlier.params.items() if k in PARAMETERS}
    for name in sorted(set(wanted) | {k for k in relevant if PARAMETERS[k].in_hash}):
        old, new = relevant.get(name, "nothing"), wanted.get(name, "nothing")
        if old == new:
            continue
        what = "the encoder it needs" if name == "init" else name
        found.append(f"{what} changed: {say(old)} → {say(new)}")
    if earlier.data != run.data:
        about = "the runs it is about" if "dataset" not in run.params else "the data"
        found.append(f"{about} changed")
    return found + code_changes(run.notebook, earlier)


def noted(run: PlannedRun) -> dict[str, Any]:
    """The parameters that a run's hash covers, as its params.yaml would note them."""
    values = {k: v for k, v in run.params.items() if PARAMETERS[k].in_hash}
    values |= {k: short_name(values[k]) for k in DATASETS if values.get(k)}
    if "init" in values:
        values["init"] = run.origin.identity
    return values


def code_changes(notebook: str, earlier: Earlier) -> list[str]:
    """Which parts of the code differ from those that an earlier run went through."""
    if earlier.code == code_fingerprint(notebook):
        return []
    if not earlier.parts:
        return ["the code changed (that run did not note in what)"]
    now = module_fingerprints(notebook)
    names = sorted(set(now) | set(earlier.parts))
    changed = [name for name in names if now.get(name) != earlier.parts.get(name)]
    found = ["the notebook changed"] if notebook in changed else []
    modules = [name for name in changed if name != notebook]
    if modules:
        more = f" and {len(modules) - MOST} more" if len(modules) > MOST else ""
        found.append(f"code changed: {', '.join(modules[:MOST])}{more}")
    return found


def say(value: Any) -> str:
    """A value in a line."""
    text = str(value) or '""'
    return text if len(text) <= 60 else f"{text[:57]}…"
