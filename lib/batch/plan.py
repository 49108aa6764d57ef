"""From a study to its runs: each with a name, its parameters, and the runs it needs first."""

from __future__ import annotations

import fnmatch
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.batch.passes import count_work
from lib.batch.study import Experiment, Setting, Study, StudyError
from lib.data.folds import fold_counts
from lib.identity import Origin, absolute_dataset, digest, finetuned_name, run_name
from lib.params import ParameterError, notebook_defaults

if TYPE_CHECKING:
    from lib.data.describe import DataInfo

# What a run takes over from the run whose encoder it uses, unless its experiment says otherwise.
INHERITED = (
    "dataset", "size", "split_seed", "folds", "fold", "cap_per_class", "max_unreadable",
    "preprocess",
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
    work: how much computing it is (`lib.batch.estimate.count_work`), for the estimate of what is
    left. origin: of the encoder it starts from. data: what identifies its data. images: how many
    in each split, about; channels, classes: of the data set. synthetic: whether it shows drawn
    images, or numbers from them.
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
    classes: int = 0
    synthetic: bool = False


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
        mistakes += [f"{where}.{line}" for line in check_where(experiment, by_experiment)]
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
    planned = [run for runs in by_experiment.values() for run in runs]
    for experiment in reports:
        for setting in experiment.settings:
            try:
                by_experiment.setdefault(experiment.name, []).append(
                    plan_report(experiment, setting, planned, study)
                )
            except ParameterError as error:
                mistakes.append(f"{path}: experiments.{experiment.name}.{error}")
    if mistakes:
        raise StudyError(list(dict.fromkeys(mistakes)))
    return [run for runs in by_experiment.values() for run in runs]


def plan_report(
    experiment: Experiment, setting: Setting, planned: list[PlannedRun], study: Study
) -> PlannedRun:
    """A run that reads summary.csv: it needs all others, and is known by their names.

    With a `summary` of its own it needs no run, and is known by that file. ParameterError where
    the file is missing.
    """
    from lib.run import file_digest, summary_file

    params = {**notebook_defaults(experiment.notebook), **setting.values, "study": study.name}
    if params["summary"]:
        file = summary_file(params, Path()).resolve()
        params["summary"] = str(file)
        needs: tuple[str, ...] = ()
        data = file_digest(file)
        synthetic = ",phantom," in file.read_text(encoding="utf-8")
    else:
        needs = tuple(dict.fromkeys(run.name for run in planned))
        data = digest(sorted(needs))
        synthetic = any(run.synthetic for run in planned)
    origin = Origin("", "", "")
    name = run_name(experiment.notebook, params, origin, data)
    return PlannedRun(
        name, experiment.name, experiment.notebook, params, needs, 0, origin, data,
        synthetic=synthetic,
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


Expanded = Iterable[tuple[dict[str, Any], PlannedRun | None]]


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
        elif not any(picked(experiment, source) for source in planned[init]):
            mistakes.append(f"where: none of the {len(planned[init])} runs of {init} fits")
    return mistakes


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
    preprocess = params.get("preprocess", "none")
    mistakes = cached_check(dataset, size, root, params["max_unreadable"], preprocess)
    if mistakes:
        named = ("dataset: ", "size: ", "preprocess: ")
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
        info = cached_describe(dataset, size, root, params["split_seed"], preprocess)
    except Exception as error:
        raise ParameterError(f"dataset: {' '.join(str(error).split())}") from error
    reason = REFUSED.get((experiment.notebook, info.task))
    if reason:
        raise ParameterError(f"dataset: {dataset} is {info.task}: {reason}")
    if params.get("balanced_batches") and info.task == "multi-label":
        raise ParameterError(f"balanced_batches: images of {dataset} have several labels")
    run = PlannedRun(
        run_name(experiment.notebook, params, origin, info.fingerprint),
        experiment.name,
        experiment.notebook,
        params,
        (upstream.name,) if upstream else (),
        0.0,
        origin,
        info.fingerprint,
        count_images(info, params),
        info.channels or 3,
        len(info.classes),
        info.synthetic,
    )
    return replace(run, work=count_work(run))


def count_images(info: DataInfo, params: Mapping[str, Any]) -> dict[str, int]:
    """About how many images each split of a run has: as described, capped, and split in folds."""
    counts, cap = dict(info.counts), params.get("cap_per_class", 0)
    most = cap * len(info.classes) / max(1, sum(counts.values()))
    if cap and most < 1:
        counts = {name: round(most * n) for name, n in counts.items()}
    folds = params.get("folds", 0)
    return fold_counts(counts, folds) if folds else counts


def made_by(run: PlannedRun) -> Origin:
    """The origin of the encoder that a planned run will make."""
    p = run.params
    method, augment = str(p.get("method", "")), str(p.get("augment", run.origin.augment))
    if run.notebook == "03_finetune":
        method = finetuned_name(run.origin.method)
    return run.origin.trained_on(p["dataset"], method, augment, run.name, p.get("variant", ""))


@cache
def cached_check(
    dataset: str, size: int, root: str | None, share: float, preprocess: str
) -> list[str]:
    """`check_dataset`, asked once for each data set."""
    from lib.data import check_dataset

    return list(check_dataset(dataset, size, root, max_unreadable=share, preprocess=preprocess))


@cache
def cached_describe(
    dataset: str, size: int, root: str | None, split_seed: int, preprocess: str
) -> Any:
    """`describe_dataset`, asked once for each data set."""
    from lib.data import describe_dataset

    return describe_dataset(
        dataset, size, root, split_seed=split_seed, preprocess=preprocess, progress=True
    )


def fitting(runs: list[PlannedRun], pattern: str | None) -> frozenset[str]:
    """Names of the runs whose name or experiment fits a shell pattern; all without a pattern.

    A pattern without wildcards fits anywhere in the name.
    """
    if not pattern:
        return frozenset(run.name for run in runs)
    loose = pattern if any(sign in pattern for sign in "*?[") else f"*{pattern}*"
    return frozenset(
        run.name
        for run in runs
        if fnmatch.fnmatch(run.name, loose) or fnmatch.fnmatch(run.experiment, pattern)
    )


def select(runs: list[PlannedRun], pattern: str | None) -> list[PlannedRun]:
    """The runs that fit a pattern (see `fitting`), and all that these need."""
    chosen = set(fitting(runs, pattern))
    by_name = {run.name: run for run in runs}
    queue = list(chosen)
    while queue:
        for need in by_name[queue.pop()].needs:
            if need not in chosen:
                chosen.add(need)
                queue.append(need)
    return [run for run in runs if run.name in chosen]
