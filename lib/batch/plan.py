"""From a study to its runs: each with a name, its parameters, and the runs it needs first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.batch.expand import check_where, expand, in_order
from lib.batch.passes import count_work
from lib.batch.study import Experiment, Setting, Study, StudyError
from lib.checks import ParameterError
from lib.data.embedded import EMBEDDED
from lib.data.folds import fold_counts
from lib.identity import (
    DATASETS,
    Origin,
    absolute_dataset,
    combined_mark,
    digest,
    finetuned_name,
    run_name,
)
from lib.params import notebook_defaults

if TYPE_CHECKING:
    from lib.data.describe import DataInfo

ENCODER_NOTEBOOKS = ("01_pretrain", "03_finetune")
# Notebooks that read the study's summary: they run last, after everything else.
REPORT_NOTEBOOKS = ("09_report",)
NO_ORDER = "its classes have no order, so they are no grades"
# What a notebook cannot do with a kind of task, and why.
REFUSED = {
    ("04_imbalance", "multi-label"): "an image with several labels belongs to rare and common "
    "classes at once, so it can be neither left out nor repeated for one of them",
    ("10_retinopathy", "multi-class"): NO_ORDER,
    ("10_retinopathy", "multi-label"): NO_ORDER,
}


@dataclass(frozen=True)
class PlannedRun:
    """One run of a study.

    params: all of the notebook's parameters. needs: names of the runs that must be done first.
    work: how much computing it is (`lib.batch.passes.count_work`), for the estimate of what is
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
        text = file.read_text(encoding="utf-8")
        synthetic = any(f",{name}," in text for name in EMBEDDED)
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


def plan_run(
    experiment: Experiment,
    params: dict[str, Any],
    upstream: PlannedRun | None,
    results: Path,
) -> PlannedRun:
    """One run; ParameterError when its data or its encoder cannot be had."""
    from lib.encoder import EncoderError
    from lib.run import describe_origin, find_encoder

    if upstream is not None and upstream.notebook not in ENCODER_NOTEBOOKS:
        made = f"{upstream.experiment} runs {upstream.notebook}, which makes no encoder"
        raise ParameterError(
            f"init: {made}; name an experiment of {' or '.join(ENCODER_NOTEBOOKS)}"
        )
    named = [key for key in DATASETS if params.get(key)]
    params = {**params, **{key: absolute_dataset(params[key]) for key in named}}
    described = {key: describe(params, key) for key in named}
    dataset, info = params["dataset"], described["dataset"]
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
        except EncoderError as error:
            raise ParameterError(f"init: {error}") from None
        params = {**params, "init": found}
    reason = REFUSED.get((experiment.notebook, info.task))
    if reason:
        raise ParameterError(f"dataset: {dataset} is {info.task}: {reason}")
    if params.get("balanced_batches") and info.task == "multi-label":
        raise ParameterError(f"balanced_batches: images of {dataset} have several labels")
    mark = combined_mark([found.fingerprint for found in described.values()])
    run = PlannedRun(
        run_name(experiment.notebook, params, origin, mark),
        experiment.name,
        experiment.notebook,
        params,
        (upstream.name,) if upstream else (),
        0.0,
        origin,
        mark,
        count_images(info, params),
        info.channels or 3,
        len(info.classes),
        info.synthetic,
    )
    return replace(run, work=count_work(run))


def describe(params: Mapping[str, Any], key: str) -> DataInfo:
    """What the data set is that a parameter names; ParameterError where it cannot be had."""
    where = params[key], params["size"], params["data_root"] or None
    preprocess = params.get("preprocess", "none")  # a notebook may do without
    mistakes = cached_check(*where, params["max_unreadable"], preprocess)
    if mistakes:
        named = ("dataset: ", "size: ", "preprocess: ")
        lines = [m if m.startswith(named) else f"{key}: {m}" for m in mistakes]
        raise ParameterError("\n".join(lines))
    try:
        return cached_describe(*where, params["split_seed"], preprocess)
    except Exception as error:
        raise ParameterError(f"{key}: {' '.join(str(error).split())}") from error


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
) -> DataInfo:
    """`describe_dataset`, asked once for each data set."""
    from lib.data import describe_dataset

    return describe_dataset(
        dataset, size, root, split_seed=split_seed, preprocess=preprocess, progress=True
    )
