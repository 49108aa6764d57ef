"""From experiments to settings: in which order, and once for each run whose encoder they take."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.batch.study import Experiment, Setting, StudyError
from lib.identity import absolute_dataset
from lib.params import notebook_defaults

if TYPE_CHECKING:
    from lib.batch.plan import PlannedRun

    Expanded = Iterable[tuple[dict[str, Any], PlannedRun | None]]

# What a run takes over from the run whose encoder it uses, unless its experiment says otherwise.
INHERITED = (
    "dataset", "size", "split_seed", "folds", "folds_of", "fold", "cap_per_class", "max_unreadable",
    "preprocess",
    "data_root", "seed", "precision",
)  # fmt: skip


def in_order(experiments: list[Experiment], path: Path) -> list[Experiment]:
    """Experiments sorted so that each comes after those whose encoders it uses."""
    left = {e.name: e for e in experiments}
    ordered: list[Experiment] = []
    while left:
        ready = [e for e in left.values() if not wants(e) & set(left)]
        if not ready:
            raise StudyError([f"{path}: experiments.{circle(left)}: a circle, none can be first"])
        ordered += ready
        for experiment in ready:
            del left[experiment.name]
    return ordered


def wants(experiment: Experiment) -> set[str]:
    """The `init` values of an experiment."""
    return {str(s.values["init"]) for s in experiment.settings if "init" in s.values}


def circle(left: Mapping[str, Experiment]) -> str:
    """A circle among experiments that all wait for one of themselves: `a.init: b; b.init: a`."""
    seen = [next(iter(left))]
    while seen[-1] not in seen[:-1]:
        seen.append(min(wants(left[seen[-1]]) & set(left)))
    ring = seen[seen.index(seen[-1]) :]
    return "; ".join(f"{a}.init: {b}" for a, b in itertools.pairwise(ring))


def expand(
    experiment: Experiment, setting: Setting, planned: Mapping[str, list[PlannedRun]]
) -> Expanded:
    """The full parameters of a setting, once for each run of the experiment its `init` names.

    Of these runs, `where` picks those with the parameters it names.
    """
    defaults = notebook_defaults(experiment.notebook)
    sources = planned.get(str(setting.values.get("init")))
    if sources is None:
        yield {**defaults, **setting.values}, None
        return
    for source in sources:
        if not picked(experiment, source):
            continue
        taken = {
            key: source.params[key]
            for key in INHERITED
            if key in defaults and key in source.params and key not in setting.explicit
        }
        yield {**defaults, **setting.values, **taken, "init": source.name}, source


def picked(experiment: Experiment, source: PlannedRun) -> bool:
    """Whether a run is among those that an experiment's `where` names."""

    def fits(key: str, values: tuple[Any, ...]) -> bool:
        known = [absolute_dataset(v) for v in values] if key == "dataset" else values
        return source.params.get(key) in known

    return all(fits(key, values) for key, values in experiment.where.items())


def check_where(experiment: Experiment, planned: Mapping[str, list[PlannedRun]]) -> list[str]:
    """What is wrong with an experiment's `where`: nothing to pick from, or nothing picked."""
    inits = {str(s.values.get("init")) for s in experiment.settings}
    mistakes = []
    for init in sorted(inits) if experiment.where else []:
        if init not in planned:
            mistakes.append("where: picks runs of the experiment that init names; it names none")
        elif planned[init] and not any(picked(experiment, source) for source in planned[init]):
            mistakes.append(f"where: none of the {len(planned[init])} runs of {init} fits")
    return mistakes
