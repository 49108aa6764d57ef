"""From a study to its runs: each with a name, its parameters, and the runs it needs first."""

from __future__ import annotations

import fnmatch
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from lib.batch.study import Experiment, Setting, Study, StudyError
from lib.data.folds import fold_counts
from lib.identity import Origin, absolute_dataset, digest, finetuned_name, run_name
from lib.params import ParameterError, notebook_defaults

# What a run takes over from the run whose encoder it uses, unless its experiment says otherwise.
INHERITED = (
    "dataset", "size", "split_seed", "folds", "fold", "cap_per_class", "max_unreadable",
    "data_root", "seed", "precision",
)  # fmt: skip
ENCODER_NOTEBOOKS = ("01_pretrain", "03_finetune")
# Notebooks that read the study's summary: they run last, after everything else.
REPORT_NOTEBOOKS = ("09_report",)
# What a notebook cannot do with a kind of task, and why.
REFUSED = {
    ("04_imbalance", "multi-label"): "an image with several labels belongs to rare and common "
    "classes at once, so it can be neither left out nor repeated for one of them",
}


@dataclass(frozen=True)
class PlannedRun:
    """One run of a study.

    params: all of the notebook's parameters. needs: names of the runs that must be done first.
    work: how much computing it is, in image passes at 28 px (a pass being one image in one epoch),
    for the estimate of what is left; 0 where the notebook does not train. origin: of the encoder
    it starts from. data: what identifies its data. images: how many in each split.
    """

    name: str
    experiment: str
    notebook: str
    params: dict[str, Any]
    needs: tuple[str, ...]
    work: float
    origin: Origin
    data: str = ""
    images: Mapping[str, int] = field(default_factory=dict)
    channels: int = 3


def plan_study(study: Study, path: Path, results: Path) -> list[PlannedRun]:
    """Every run of `study`, in an order in which each comes after what it needs.

    A run that two experiments share is listed under both; it has one name and is done once.
    results: where finished runs may already hold an encoder that `init` names. Raises StudyError
    with one line for each data set that cannot be read and each encoder that neither exists nor
    is planned.
    """
    by_experiment: dict[str, list[PlannedRun]] = {}
    mistakes: list[str] = []
    reports = [e for e in study.experiments if e.notebook in REPORT_NOTEBOOKS]
    for experiment in in_order([e for e in study.experiments if e not in reports], path):
        where = f"{path}: experiments.{experiment.name}"
        runs: list[PlannedRun] = []
        for setting in experiment.settings:
            for params, upstream in expand(experiment, setting, by_experiment):
                try:
                    run = plan_run(experiment, params, upstream, results)
                except ParameterError as error:
                    mistakes += [f"{where}.{line}" for line in str(error).splitlines()]
                    continue
                if run.name not in {r.name for r in runs}:
                    runs.append(run)
        by_experiment[experiment.name] = runs
    if mistakes:
        raise StudyError(list(dict.fromkeys(mistakes)))
    planned = [run for runs in by_experiment.values() for run in runs]
    return planned + [plan_report(e, s, planned, study) for e in reports for s in e.settings]


def plan_report(
    experiment: Experiment, setting: Setting, planned: list[PlannedRun], study: Study
) -> PlannedRun:
    """A run that reads summary.csv: it needs all others, and is known by their names."""
    params = {**notebook_defaults(experiment.notebook), **setting.values, "study": study.name}
    needs = tuple(dict.fromkeys(run.name for run in planned))
    nothing = Origin("", "", "")
    data = digest(sorted(needs))
    name = run_name(experiment.notebook, params, nothing, data)
    return PlannedRun(name, experiment.name, experiment.notebook, params, needs, 0, nothing, data)


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


Expanded = Iterable[tuple[dict[str, Any], PlannedRun | None]]


def expand(
    experiment: Experiment, setting: Setting, planned: Mapping[str, list[PlannedRun]]
) -> Expanded:
    """The full parameters of a setting, once for each run of the experiment its `init` names."""
    defaults = notebook_defaults(experiment.notebook)
    sources = planned.get(str(setting.values.get("init")))
    if sources is None:
        yield {**defaults, **setting.values}, None
        return
    for source in sources:
        taken = {
            key: source.params[key]
            for key in INHERITED
            if key in defaults and key in source.params and key not in setting.explicit
        }
        yield {**defaults, **setting.values, **taken, "init": source.name}, source


def plan_run(
    experiment: Experiment,
    params: dict[str, Any],
    upstream: PlannedRun | None,
    results: Path,
) -> PlannedRun:
    """One run; ParameterError when its data or its encoder cannot be had."""
    from lib.run import describe_origin, find_encoder
    from lib.weights import WeightsError

    if upstream is not None and upstream.notebook not in ENCODER_NOTEBOOKS:
        made = f"{upstream.experiment} runs {upstream.notebook}, which makes no encoder"
        raise ParameterError(
            f"init: {made}; name an experiment of {' or '.join(ENCODER_NOTEBOOKS)}"
        )
    dataset, size, root = params["dataset"], params["size"], params["data_root"] or None
    dataset = absolute_dataset(dataset)
    params = {**params, "dataset": dataset}
    mistakes = cached_check(dataset, size, root, params["max_unreadable"])
    if mistakes:
        named = ("dataset: ", "size: ")
        lines = [m if m.startswith(named) else f"dataset: {m}" for m in mistakes]
        raise ParameterError("\n".join(lines))
    if params.get("folds", 0) and params["fold"] >= params["folds"]:
        raise ParameterError(f"fold: {params['fold']} of {params['folds']}; the first is 0")
    if upstream is not None:
        origin = made_by(upstream)
    elif "init" not in params:
        origin = Origin("", "", "")
    else:
        found = find_encoder(params["init"], results)
        try:
            origin = describe_origin(found)
        except WeightsError as error:
            raise ParameterError(f"init: {error}") from None
        params = {**params, "init": found}
    try:
        info = cached_describe(dataset, size, root, params["split_seed"])
    except Exception as error:
        raise ParameterError(f"dataset: {' '.join(str(error).split())}") from error
    reason = REFUSED.get((experiment.notebook, info.task))
    if reason:
        raise ParameterError(f"dataset: {dataset} is {info.task}: {reason}")
    name = run_name(experiment.notebook, params, origin, info.fingerprint)
    counts = fold_counts(info.counts, params["folds"]) if params.get("folds") else info.counts
    passes = counts.get("train", 5000) * params.get("epochs", 0) * (size / 28) ** 2
    needs = (upstream.name,) if upstream else ()
    return PlannedRun(
        name,
        experiment.name,
        experiment.notebook,
        params,
        needs,
        passes,
        origin,
        info.fingerprint,
        dict(counts),
        info.channels or 3,
    )


def made_by(run: PlannedRun) -> Origin:
    """The origin of the encoder that a planned run will make."""
    p = run.params
    method, augment = str(p.get("method", "")), str(p.get("augment", run.origin.augment))
    if run.notebook == "03_finetune":
        method = finetuned_name(run.origin.method)
    return run.origin.trained_on(p["dataset"], method, augment, run.name, p.get("variant", ""))


@cache
def cached_check(dataset: str, size: int, root: str | None, share: float) -> list[str]:
    """`check_dataset`, asked once for each data set."""
    from lib.data import check_dataset

    return list(check_dataset(dataset, size, root, max_unreadable=share))


@cache
def cached_describe(dataset: str, size: int, root: str | None, split_seed: int) -> Any:
    """`describe_dataset`, asked once for each data set."""
    from lib.data import describe_dataset

    return describe_dataset(dataset, size, root, split_seed=split_seed, progress=True)


def select(runs: list[PlannedRun], pattern: str | None) -> list[PlannedRun]:
    """The runs whose name or experiment fits a shell pattern, and all that these need.

    A pattern without wildcards fits anywhere in the name. Returns all runs without a pattern.
    """
    if not pattern:
        return runs
    loose = pattern if any(sign in pattern for sign in "*?[") else f"*{pattern}*"
    chosen = {
        run.name
        for run in runs
        if fnmatch.fnmatch(run.name, loose) or fnmatch.fnmatch(run.experiment, pattern)
    }
    by_name = {run.name: run for run in runs}
    queue = list(chosen)
    while queue:
        for need in by_name[queue.pop()].needs:
            if need not in chosen:
                chosen.add(need)
                queue.append(need)
    return [run for run in runs if run.name in chosen]
