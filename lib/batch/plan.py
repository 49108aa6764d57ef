"""From a study to its runs: each with a name, its parameters, and the runs it needs first."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lib.batch.expand import check_where, expand, in_order
from lib.batch.feasible import (
    check_augment,
    check_encoder,
    check_encoder_split,
    check_folds,
    check_labels,
    check_task,
    count_images,
    describe,
)
from lib.batch.owner import check_owner
from lib.batch.passes import count_work
from lib.batch.study import Experiment, Setting, Study, StudyError
from lib.checks import ParameterError
from lib.data.cache import holding_digests
from lib.data.embedded import EMBEDDED
from lib.identity import (
    DATASETS,
    TRAINVAL,
    Origin,
    absolute_dataset,
    combined_mark,
    digest,
    finetuned_name,
    run_name,
)
from lib.params import check_fold, notebook_defaults

ENCODER_NOTEBOOKS = ("01_pretrain", "03_finetune")
# Notebooks that read the study's summary: they run last, after everything else.
REPORT_NOTEBOOKS = ("09_report",)


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


@holding_digests()
def plan_study(study: Study, path: Path, results: Path) -> list[PlannedRun]:
    """Every run of `study`, in an order in which each comes after what it needs.

    A run that two experiments share is listed under both; it has one name and is done once.
    results: where finished runs may already hold an encoder that `init` names. Raises StudyError
    with one line for each data set that cannot be read and each encoder that neither exists nor
    is planned.
    """
    by_experiment: dict[str, list[PlannedRun]] = {}
    mistakes = [f"{path}: {line}" for line in check_owner(study.name, path, results)]
    names = [experiment.name for experiment in study.experiments]
    first: dict[str, PlannedRun] = {}  # of each id
    reports = [e for e in study.experiments if e.notebook in REPORT_NOTEBOOKS]
    for experiment in in_order([e for e in study.experiments if e not in reports], path):
        where = f"{path}: experiments.{experiment.name}"
        runs: list[PlannedRun] = []
        mistakes += [f"{where}.{line}" for line in check_where(experiment, by_experiment)]
        for setting in experiment.settings:
            for params, upstream in expand(experiment, setting, by_experiment):
                try:
                    run = plan_run(experiment, params, upstream, results, names)
                    check_same(run, first.setdefault(run.name, run))
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
    from lib.origins import file_digest
    from lib.run import summary_file

    params = {**notebook_defaults(experiment.notebook), **setting.values, "study": study.name}
    if params["summary"]:
        file = summary_file(params, Path()).resolve()
        params["summary"] = str(file)
        needs: tuple[str, ...] = ()
        data = file_digest(file)
        text = read_text(file)
        synthetic = any(f",{name}{of}," in text for name in EMBEDDED for of in ("", TRAINVAL))
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


def read_text(summary: Path) -> str:
    """The text of a summary.csv; ParameterError where it is none."""
    try:
        text = summary.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        text = ""
    if not {"study", "run", "dataset", "metric", "value"} <= set(
        text.partition("\n")[0].split(",")
    ):
        raise ParameterError(f"summary: {summary} is no summary.csv of a study")
    return text


def plan_run(
    experiment: Experiment,
    params: dict[str, Any],
    upstream: PlannedRun | None,
    results: Path,
    names: Sequence[str] = (),
) -> PlannedRun:
    """One run; ParameterError when its data or its encoder cannot be had, or do not fit.

    names: of all experiments, one of which a misspelt `init` may mean.
    """
    from lib.models.encoder import EncoderError
    from lib.origins import describe_origin, find_encoder

    if upstream is not None and upstream.notebook not in ENCODER_NOTEBOOKS:
        made = f"{upstream.experiment} runs {upstream.notebook}, which makes no encoder"
        raise ParameterError(
            f"init: {made}; name an experiment of {' or '.join(ENCODER_NOTEBOOKS)}"
        )
    if not params["dataset"].strip():
        raise ParameterError("dataset: empty; give a MedMNIST name, phantom, or own data")
    named = [key for key in DATASETS if params.get(key)]
    params = {**params, **{key: absolute_dataset(params[key]) for key in named}}
    described = {key: describe(params, key) for key in named}
    info = described["dataset"]
    check_fold(params)
    if upstream is not None:
        origin = made_by(upstream)
    elif "init" not in params:
        origin = Origin("", "", "")
    else:
        try:
            found = find_encoder(params["init"], results)
        except ParameterError as error:
            close = difflib.get_close_matches(params["init"], names, 1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise ParameterError(f"{error}{hint}") from None
        try:
            check_encoder(experiment.notebook, params, found)
            origin = describe_origin(found)
        except EncoderError as error:
            raise ParameterError(f"init: {str(error).removeprefix('init: ')}") from None
        params = {**params, "init": found}
    check_encoder_split(params, origin.trail, upstream.params if upstream else None)
    check_task(experiment.notebook, params, info)
    check_labels(experiment.notebook, params, info)
    check_folds(params, info)
    check_augment(params)
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


def check_same(run: PlannedRun, other: PlannedRun) -> None:
    """ParameterError where `other`, planned before under the same id, has other parameters.

    Of the two only one would be done: an id leaves out what no number depends on (`pictures`), and
    where data and encoder lie.
    """
    differing = [k for k in run.params if k != "init" and run.params[k] != other.params[k]]
    if differing:
        key = differing[0]
        raise ParameterError(
            f"{key}: {run.params[key]} here and {other.params[key]} in experiments."
            f"{other.experiment} make one run, {run.name}, which is done once; leave one out"
        )


def made_by(run: PlannedRun) -> Origin:
    """The origin of the encoder that a planned run will make."""
    p = run.params
    method, augment = str(p.get("method", "")), str(p.get("augment", run.origin.augment))
    if run.notebook == "03_finetune":
        method = finetuned_name(run.origin.method)
    return run.origin.trained_on(p["dataset"], method, augment, run.name, p.get("variant", ""))
