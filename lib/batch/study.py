"""Reading a params file: a study and its experiments, checked whole before anything starts."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib.batch.bounded_yaml import MOST_BYTES, YamlError, parse_yaml
from lib.batch.owner import label_of
from lib.batch.sizes import KEEP
from lib.checks import ParameterError, folder_name, has_control, one_line, shorten
from lib.params import PARAMETERS, check_value, notebook_defaults, unknown

STUDY_KEYS = ("study", "title", "question", "keep", "defaults", "experiments")
EXPERIMENT_KEYS = ("notebook", "set", "matrix", "cases", "where")
# Parameters that the runner gives itself: where things go is not for a params file to say.
RUNNER_SETS = ("results", "study", "out")
# `init: scratch` and `init: imagenet` mean weights, so no experiment can be called that.
RESERVED = ("scratch", "imagenet")


class StudyError(Exception):
    """A params file is refused; `mistakes` holds one line each, with the file and the key."""

    def __init__(self, mistakes: list[str]) -> None:
        self.mistakes = [one_line(mistake) for mistake in mistakes]
        super().__init__("\n".join(self.mistakes))


@dataclass(frozen=True)
class Setting:
    """One point of an experiment: the parameters named in the file, `defaults` included.

    A notebook's own defaults fill the rest. explicit: names set by the experiment itself (or by
    `--set`) rather than by `defaults`.
    """

    values: dict[str, Any]
    explicit: frozenset[str]


@dataclass(frozen=True)
class Experiment:
    """One notebook and the parameter sets it is run with.

    where: which runs of the experiment named by `init` are taken: parameter → its values; all
    where it is empty.
    """

    name: str
    notebook: str
    settings: list[Setting]
    where: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Study:
    """A params file as read: what it asks, and its experiments in order.

    keep: what stays of a finished run (`lib.batch.sizes.KEEP`).
    file: the params file's name and its folder's, as `lib.batch.owner` keeps it beside the results.
    """

    name: str
    title: str
    question: str
    experiments: list[Experiment] = field(default_factory=list)
    file: str = ""
    keep: str = "encoders"


def read_yaml(path: Path) -> Any:
    """Read one YAML file; StudyError when it is missing, too long, or not YAML."""
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise StudyError([f"{path}: longer than {MOST_BYTES // 2**20} MiB: no params file"])
        return parse_yaml(content.decode("utf-8"))
    except OSError as error:
        raise StudyError([f"{path}: {error.strerror or error}"]) from None
    except UnicodeDecodeError:
        raise StudyError([f"{path}: not text in UTF-8"]) from None
    except YamlError as error:
        raise StudyError([f"{path}: {error}"]) from None


def parse_override(text: str) -> tuple[str, Any]:
    """Split `--set KEY=VALUE`; the value is read as YAML. Raises ParameterError without a `=`."""
    key, equals, value = text.partition("=")
    if not equals:
        raise ParameterError(f"--set {shorten(text)}: expected KEY=VALUE")
    try:
        return key.strip(), parse_yaml(value)
    except YamlError as error:
        raise ParameterError(f"--set {shorten(text)}: {error}") from None


def read_study(path: Path, overrides: Mapping[str, Any] | None = None) -> Study:
    """Read and check a params file.

    overrides: parameter → value (`epochs`) or experiment.parameter → value (`pretrain.epochs`);
    they win over everything in the file. Raises StudyError with every mistake found.
    """
    content = read_yaml(path)
    if not isinstance(content, dict):
        keys = ", ".join(STUDY_KEYS)
        raise StudyError([f"{path}: expected keys {keys}; found {kind_of(content)}"])
    mistakes = [
        f"{path}: {unknown(str(k), list(STUDY_KEYS))}" for k in content if k not in STUDY_KEYS
    ]
    name = content.get("study")
    try:
        folder_name(name)
    except ParameterError as error:
        mistakes.append(f"{path}: study: {error}; found {shorten(repr(name))}")
    keep = content.get("keep", "encoders")
    if not isinstance(keep, str) or keep not in KEEP:
        found = shorten(repr(keep))
        mistakes.append(f"{path}: keep: expected one of {', '.join(KEEP)}, found {found}")
    for key in ("title", "question"):
        if isinstance(content.get(key), list | dict):
            mistakes.append(f"{path}: {key}: expected text, found {kind_of(content[key])}")
    experiments = content.get("experiments")
    if not isinstance(experiments, dict) or not experiments:
        found = shorten(repr(experiments)) if experiments else "none"
        text = (
            f"{path}: experiments: expected at least one, as NAME: {{notebook: …}}, found {found}"
        )
        raise StudyError([*mistakes, text])
    names = [str(key) for key in experiments]
    twice = [key for key in dict.fromkeys(names) if names.count(key) > 1]
    mistakes += [f"{path}: experiments.{key}: given twice" for key in twice]
    reader = _Reader(path, content.get("defaults") or {}, dict(overrides or {}), mistakes)
    read = [reader.experiment(str(key), value) for key, value in experiments.items()]
    if None not in read:  # a misspelt notebook takes nothing: that is its one mistake
        reader.check_used()
    if reader.mistakes:
        raise StudyError(reader.mistakes)
    title, question = str(content.get("title") or name), str(content.get("question") or "")
    planned = [e for e in read if e]
    return Study(str(name), title, question, planned, label_of(path), str(keep))


def kind_of(value: Any) -> str:
    """What was found where something else was expected."""
    if value is None:
        return "nothing"
    kinds = {dict: "keys and values", list: "a list", str: "text", bool: "a flag"}
    return kinds.get(type(value), f"a {type(value).__name__}")


class _Reader:
    """Collects mistakes while it turns the experiments of one file into settings."""

    def __init__(
        self, path: Path, defaults: Any, overrides: dict[str, Any], mistakes: list[str]
    ) -> None:
        self.path, self.mistakes = path, mistakes
        found = self.mapping("defaults", defaults)
        self.defaults = self.check(f"{path}: defaults.", found, list(PARAMETERS))
        self.overrides: dict[str, Any] = {}
        for key, value in overrides.items():
            experiment, dot, name = key.rpartition(".")
            checked = self.check(f"--set {experiment}{dot}", {name: value}, list(PARAMETERS))
            if checked:
                self.overrides[key] = checked[name]
        self.used: set[str] = set()

    def mapping(self, where: str, value: Any) -> dict[str, Any]:
        """The mapping under a key, or an empty one and a mistake."""
        if isinstance(value, dict):
            return {str(k): v for k, v in value.items()}
        self.mistakes.append(
            f"{self.path}: {where}: expected keys and values, found {shorten(repr(value))}"
        )
        return {}

    def experiment(self, name: str, value: Any) -> Experiment | None:
        """One experiment, or None when its notebook is unknown."""
        where = f"experiments.{name}"
        body = self.mapping(where, value)
        if not isinstance(value, dict):
            return None
        for key in body:
            if key not in EXPERIMENT_KEYS:
                self.mistakes.append(f"{self.path}: {where}.{unknown(key, list(EXPERIMENT_KEYS))}")
        if has_control(name) or name != name.strip() or not name:
            text = "a name without control characters, and no blanks around it"
            self.mistakes.append(f"{self.path}: experiments.{name}: expected {text}")
        if name in RESERVED:
            self.mistakes.append(f"{self.path}: {where}: `init: {name}` means weights; rename it")
        notebook = str(body.get("notebook", "notebook given"))
        try:
            known = notebook_defaults(notebook)
        except ParameterError as error:
            self.mistakes.append(f"{self.path}: {where}.{error}")
            return None
        forced = self.forced(name, known)
        fixed = self.mapping(f"{where}.set", body.get("set") or {})
        matrix = self.mapping(f"{where}.matrix", body.get("matrix") or {})
        cases = body.get("cases") or [{}]
        if not isinstance(cases, list) or not all(isinstance(case, dict) for case in cases):
            self.mistakes.append(f"{self.path}: {where}.cases: expected a list of keys and values")
            cases = [{}]
        for key, values in matrix.items():
            if not isinstance(values, list) or not values:
                found = shorten(repr(values))
                text = f"expected a list of values, found {found} (one value goes under set)"
                self.mistakes.append(f"{self.path}: {where}.matrix.{key}: {text}")
                continue
            twice = [v for i, v in enumerate(values) if v in values[:i]]
            if twice:
                text = f"{shorten(repr(twice[0]))}: given twice"
                self.mistakes.append(f"{self.path}: {where}.matrix.{key}: {text}")
        matrix = {k: v for k, v in matrix.items() if isinstance(v, list) and v}
        usable = {k: v for k, v in self.defaults.items() if k in known}
        self.used |= set(usable)
        settings: list[Setting] = []
        for case, *point in itertools.product(cases, *matrix.values()):
            own = {**fixed, **case, **dict(zip(matrix, point, strict=True))}
            own = {str(key): value for key, value in own.items() if key not in forced}
            checked = self.check(f"{self.path}: {where}.", own, list(known)) | forced
            setting = Setting({**usable, **checked}, frozenset(checked))
            if setting not in settings:
                settings.append(setting)
        return Experiment(name, notebook, settings, self.where(name, body.get("where") or {}))

    def where(self, name: str, value: Any) -> dict[str, tuple[Any, ...]]:
        """Which runs an experiment takes, each value in its proper type."""
        found: dict[str, tuple[Any, ...]] = {}
        for key, wanted in self.mapping(f"experiments.{name}.where", value).items():
            place = f"{self.path}: experiments.{name}.where."
            values = wanted if isinstance(wanted, list) else [wanted]
            checked = [self.check(place, {key: v}, list(PARAMETERS)) for v in values]
            found[key] = tuple(c[key] for c in checked if c)
        return found

    def forced(self, name: str, known: Mapping[str, Any]) -> dict[str, Any]:
        """The `--set` values that this experiment takes."""
        forced = {}
        for key, value in self.overrides.items():
            experiment, dot, parameter = key.rpartition(".")
            if (not dot or experiment == name) and parameter in known:
                # The one for this experiment alone wins, wherever it stands.
                if dot or f"{name}.{parameter}" not in self.overrides:
                    forced[parameter] = value
                self.used.add(key)
        return forced

    def check(self, where: str, values: dict[str, Any], known: list[str]) -> dict[str, Any]:
        """The values that are right, in their proper types; each mistake is noted once."""
        clean = {}
        for key, value in values.items():
            try:
                if key in RUNNER_SETS:
                    raise ParameterError(f"{key}: chosen by run_all.py, not to be set")
                if key not in known:
                    raise ParameterError(unknown(key, [k for k in known if k not in RUNNER_SETS]))
                clean[key] = check_value(key, value)
            except ParameterError as error:
                line = f"{where}{error}"
                if line not in self.mistakes:
                    self.mistakes.append(line)
        return clean

    def check_used(self) -> None:
        """A default or an override that no experiment takes would change nothing unnoticed."""
        for key in self.defaults:
            if key not in self.used:
                self.mistakes.append(f"{self.path}: defaults.{key}: no experiment takes it")
        for key in self.overrides:
            if key not in self.used:
                self.mistakes.append(f"--set {key}: no experiment takes it")
