"""`run_all.py clean PARAMS.yaml`: runs that are not in the plan any more, listed or removed."""

from __future__ import annotations

from pathlib import Path

from lib.batch.done import discard
from lib.batch.earlier import abandoned, superseded, users
from lib.batch.locks import hold
from lib.batch.plan import PlannedRun
from lib.batch.sizes import folder_bytes, size_in_words
from lib.batch.study import Study


def clean_study(study: Study, runs: list[PlannedRun], study_folder: Path, *, yes: bool) -> int:
    """List the superseded and abandoned runs of a study and how large they are; remove them if yes.

    runs: the whole plan. Kept are runs whose encoder a planned run or another study starts from,
    and runs that a process is at. Returns the exit status, 0.
    """
    listed: list[tuple[Path, int]] = []
    print(f"{study.name}: {study.title}")
    for kind, names, why in (
        ("runs", superseded(study_folder, runs), "not in the plan"),
        ("work", abandoned(study_folder, runs), "unfinished, not in the plan"),
    ):
        for name in names:
            folder = study_folder / kind / name
            size = folder_bytes(folder)
            needed = users(name, study_folder, runs) if kind == "runs" else []
            if needed:
                print(f"  kept    {name}  {size_in_words(size)}  {needed[0]} starts from it")
                continue
            print(f"  {'removed' if yes else 'to go  '} {name}  {size_in_words(size)}  {why}")
            listed.append((folder, size))
    removed = [size for folder, size in listed if yes and remove(study_folder, folder)]
    total = size_in_words(sum(size for _, size in listed))
    if not listed:
        print("nothing to remove")
    elif yes:
        print(f"{len(removed)} of {len(listed)} removed, {size_in_words(sum(removed))}")
    else:
        print(f"{len(listed)} to remove, {total}; the same with --yes removes them")
    return 0


def remove(study_folder: Path, folder: Path) -> bool:
    """Remove one run's folder; False where a process is at the run."""
    with hold(study_folder, folder.name) as other:
        if other is not None:
            print(f"  left    {folder.name}: {other} is at it")
            return False
        # Not a run any more before the rest goes: half a folder must not pass for a whole one.
        (folder / "metrics.json").unlink(missing_ok=True)
        discard(folder)
    return not folder.exists()


def say_superseded(study_folder: Path, runs: list[PlannedRun], params: Path) -> list[str]:
    """Lines on the runs that the plan does not have any more; none where there are none."""
    names = superseded(study_folder, runs)
    if not names:
        return []
    total = size_in_words(sum(folder_bytes(study_folder / "runs" / name) for name in names))
    lines = [f"{len(names)} earlier run(s) are not in this plan, {total}:"]
    lines += [f"  earlier  {name}" for name in names[:20]]
    lines += [f"  … and {len(names) - 20} more"] if len(names) > 20 else []
    return [*lines, f"they stay; `python run_all.py clean {params}` lists what it would remove"]
