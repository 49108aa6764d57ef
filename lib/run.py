"""A notebook's own side of a run: its checked parameters, its folder, and what it leaves there."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

from lib.checks import ParameterError
from lib.data import DataSet, cut_for_run, describe_dataset, load_dataset
from lib.device import check_devices, choose_device, choose_numbers, describe_device
from lib.files import write_json, write_text
from lib.identity import (
    DATASETS,
    RANDOM,
    Origin,
    absolute_dataset,
    code_fingerprint,
    column_name,
    combined_mark,
    commit,
    module_fingerprints,
    run_name,
    short_name,
)
from lib.origins import check_split, describe_origin, file_digest, find_encoder, trained_with
from lib.params import ROOT, check_fold, check_value, notebook_defaults
from lib.watched import is_terminal, is_watched

# The runner tells a notebook which run it is, and what its data are, by these variables.
PLANNED = "CONTRASTIVE_RUN"
PLANNED_DATA = "CONTRASTIVE_DATA"
# The study of runs for which nobody named one, and the published study that a report without any
# is about.
INTERACTIVE = "interactive"
EXAMPLE = ROOT / "results" / "evening" / "summary.csv"
# One row of summary.csv; the columns users rely on (CONTRACT: results).
COLUMNS = (
    "study", "run", "notebook", "dataset", "size", "method", "augment", "encoder", "protocol",
    "labels", "fold", "seed", "split", "metric", "value", "low", "high", "commit",
)  # fmt: skip


@dataclass
class Run:
    """One run of one notebook.

    params: the checked parameters by name. folder: where its files go. origin: the encoder it
    starts from. interactive: true when a person is watching, so progress bars may move.
    """

    name: str
    notebook: str
    params: SimpleNamespace
    folder: Path
    origin: Origin
    device: str
    precision: str
    interactive: bool
    layout: str = "channels_last"
    speeds: dict[str, float] = field(default_factory=dict)
    started: float = field(default_factory=time.time)

    @property
    def numbers(self) -> str:
        """Number format and memory layout of the encoder's work, and what was timed for it."""
        from lib.models.trial import NumberFormat

        return str(NumberFormat(self.precision, self.layout, self.speeds))

    def describe_devices(self) -> str:
        """The device in words, with `2 × ` before it where two work together."""
        count = getattr(self.params, "devices", 1) * getattr(self.params, "num_nodes", 1)
        return (f"{count} × " if count > 1 else "") + describe_device(self.device)

    def load_data(self) -> DataSet:
        """The data set that the parameters name."""
        return self.load_at(self.params.size)

    def load_at(self, size: int) -> DataSet:
        """The same data set with images of another size; the splits are the same."""
        p = self.params
        return cut_for_run(
            self._load(p.dataset, size),
            cap_per_class=p.cap_per_class,
            folds=p.folds,
            fold=p.fold,
            folds_of=p.folds_of,
            split_seed=p.split_seed,
        )

    def load_queries(self) -> DataSet | None:
        """The data set whose images are asked about, where `queries` names one."""
        p = self.params
        return self._load(p.queries, p.size) if p.queries else None

    def _load(self, dataset: str, size: int) -> DataSet:
        p = self.params
        return load_dataset(
            dataset,
            size,
            p.data_root or None,
            split_seed=p.split_seed,
            max_unreadable=p.max_unreadable,
            preprocess=getattr(p, "preprocess", "none"),
            progress=self.interactive,
        )

    @property
    def method(self) -> str:
        """What summary.csv calls the run's encoder: its method, and where it comes from."""
        return self.origin.method_on(self.params.dataset)

    def row(self, metric: str, value: float, **columns: Any) -> dict[str, Any]:
        """One row of results: what the run knows of itself, and the columns given."""
        p = self.params
        unknown = set(columns) - set(COLUMNS)
        if unknown:
            raise KeyError(f"no such column in summary.csv: {', '.join(sorted(unknown))}")
        known = {
            "study": p.study,
            "run": self.name,
            "notebook": self.notebook,
            "dataset": column_name(vars(p)),
            "size": getattr(p, "size", ""),
            "method": self.method if hasattr(p, "dataset") else "",
            "augment": getattr(p, "augment", self.origin.augment),
            "fold": p.fold if getattr(p, "folds", 0) else "",
            "seed": getattr(p, "seed", ""),
            "commit": commit(),
        }
        blank: dict[str, Any] = dict.fromkeys(COLUMNS, "")
        return {**blank, **known, "metric": metric, "value": float(value), **columns}

    def finish(self, rows: Sequence[Mapping[str, Any]], **extra: Any) -> Path:
        """Write metrics.json, the last file of a run: its rows, its duration, and any extras."""
        path = self.folder / "metrics.json"
        content = {
            "run": self.name,
            "notebook": self.notebook,
            "seconds": round(time.time() - self.started, 2),
            "device": self.describe_devices(),
            "precision": self.precision,
            "layout": self.layout,
            "speeds": self.speeds,
            "versions": versions(),
            # Which part of the code made a later run differ from this one (`lib.batch.why`).
            "code": module_fingerprints(self.notebook),
            **extra,
            "rows": [dict(row) for row in rows],
        }
        write_json(path, content)
        return path


def start(notebook: str, variables: Mapping[str, Any]) -> Run:
    """Begin a run: check the notebook's parameters, choose its folder, write params.yaml.

    variables: the notebook's `globals()`; only the names of its parameters cell are read.
    Raises ParameterError for a value of the wrong type or out of range.
    """
    names = notebook_defaults(notebook)
    params = {name: check_value(name, variables[name]) for name in names}
    params["study"] = params["study"] or INTERACTIVE
    check_fold(params)
    named = [key for key in DATASETS if params.get(key)]
    params |= {key: absolute_dataset(params[key]) for key in named}
    results = Path(params["results"] or ROOT / "results").expanduser()
    origin = RANDOM
    if "init" in params:
        found = find_encoder(params["init"], results)
        origin = describe_origin(found)
        params["init"] = str(found)
    check_devices(params)
    device = choose_device(params)
    mark = data_fingerprint(params, results)
    if "init" in params:
        one = {**params, "queries": ""}
        check_split(
            params, origin.trail, trained_with(params["init"]),
            lambda name, seed: data_fingerprint(
                {**one, "dataset": name, "split_seed": seed}, results
            ),
        )  # fmt: skip
    name = run_name(notebook, params, origin, mark)
    planned = os.environ.get(PLANNED, name)
    if planned != name:
        raise RuntimeError(
            f"planned as {planned}, but this is {name}: code or data changed since; run again"
        )
    folder = Path(params["out"] or results / params["study"] / "runs" / name).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    # Runs are recorded by what they are, so the file reads the same wherever it was made.
    hidden = {"results": "", "out": "", "data_root": "", "summary": "", "device": device}
    used = {**params, **{key: value for key, value in hidden.items() if key in params}}
    used |= {key: short_name(params[key]) for key in named}
    if "init" in params:
        used["init"] = origin.identity
    heading = f"# {name}\n# notebook {notebook} · data {mark} · "
    heading += f"code {code_fingerprint(notebook)} · commit {commit()}\n"
    body = yaml.safe_dump(used, sort_keys=False, allow_unicode=True)
    write_text(folder / "params.yaml", heading + body)
    chosen = choose_numbers(params, device, folder)
    return Run(
        name,
        notebook,
        SimpleNamespace(**params),
        folder,
        origin,
        device,
        chosen.precision,
        interactive=PLANNED not in os.environ and (is_watched() or is_terminal()),
        layout=chosen.layout,
        speeds=chosen.speeds,
    )


def data_fingerprint(params: Mapping[str, Any], results: Path) -> str:
    """What identifies the data a run reads: a data set's images and split, or a summary's text.

    A report that is part of a plan is known by the runs it waits for (`lib.batch.plan`), since
    the summary does not exist when it is planned.
    """
    if "dataset" not in params:
        planned = os.environ.get(PLANNED_DATA)
        return planned or file_digest(summary_file(params, results))
    where = params["size"], params["data_root"] or None
    how = {"split_seed": params["split_seed"], "preprocess": params.get("preprocess", "none")}
    named = [params[key] for key in DATASETS if params.get(key)]
    return combined_mark([describe_dataset(name, *where, **how).fingerprint for name in named])


def summary_file(params: Mapping[str, Any], results: Path) -> Path:
    """The summary.csv that a report reads; ParameterError where there is none.

    Where neither a summary nor a study is named, it is that of the published study EXAMPLE: a
    report opened by itself then shows what a report is.
    """
    path = Path(params["summary"] or results / params["study"] / "summary.csv").expanduser()
    unnamed = not params["summary"] and params["study"] in ("", INTERACTIVE)
    if unnamed and not path.is_file() and EXAMPLE.is_file():
        return EXAMPLE
    if not path.is_file():
        raise ParameterError(f"summary: no {path}; run a study first, or name its summary.csv")
    return path


def versions() -> dict[str, str]:
    """Versions of the libraries that numbers can depend on."""
    from importlib.metadata import version

    names = ("torch", "torchvision", "pytorch-lightning", "scikit-learn", "numpy")
    return {name: version(name) for name in names}
