"""Reading a params file: a study and its experiments, checked whole before anything starts."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lib.params import ParameterError, check_value, notebook_defaults, unknown

STUDY_KEYS = ("study", "title", "question", "defaults", "experiments")
EXPERIMENT_KEYS = ("notebook", "set", "matrix", "cases")
# Parameters that the runner gives itself: where things go is not for a params file to say.
RUNNER_SETS = ("results", "study", "out")


class StudyError(Exception):
    """A params file is refused; `mistakes` holds one line each, with the file and the key."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


@dataclass(frozen=True)
class Experiment:
    """One notebook and the parameter sets it is run with.

    settings: each the parameters named in the file, defaults included; a notebook's own defaults
    fill the rest. explicit: names set by this experiment itself rather than by `defaults`.
    """

    name: str
    notebook: str
    settings: list[dict[str, Any]]
    explicit: frozenset[str]


@dataclass(frozen=True)
class Study:
    """A params file as read: what it asks, and its experiments in order."""

    name: str
    title: str
    question: str
    experiments: list[Experiment] = field(default_factory=list)


class Loader(yaml.SafeLoader):
    """YAML as people write it: `1e-3` is a number, and a key given twice is a mistake."""


Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def unique_mapping(loader: Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    """Build a mapping, refusing a key that stands twice."""
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node)
        if key in seen:
            line = key_node.start_mark.line + 1
            raise yaml.constructor.ConstructorError(None, None, f"{key}: given twice, line {line}")
        seen.add(key)
    loader.flatten_mapping(node)
    return dict(loader.construct_pairs(node))


Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, unique_mapping)


def read_yaml(path: Path) -> Any:
    """Read one YAML file; StudyError when it is missing or is not YAML."""
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader)
    except OSError as error:
        raise StudyError([f"{path}: {error.strerror or error}"]) from None
    except yaml.YAMLError as error:
        what = " ".join(str(error).split())
        raise StudyError([f"{path}: not valid YAML: {what}"]) from None


def parse_override(text: str) -> tuple[str, Any]:
    """Split `--set KEY=VALUE`; the value is read as YAML. Raises ParameterError without a `=`."""
    key, equals, value = text.partition("=")
    if not equals:
        raise ParameterError(f"{text}: expected KEY=VALUE")
    return key.strip(), yaml.load(value, Loader)


def read_study(path: Path, overrides: Mapping[str, Any] | None = None) -> Study:
    """Read and check a params file.

    overrides: parameter → value (`epochs`) or experiment.parameter → value (`pretrain.epochs`);
    they win over everything in the file. Raises StudyError with every mistake found.
    """
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise StudyError([f"{path}: expected keys {', '.join(STUDY_KEYS)}"])
    mistakes = [
        f"{path}: {unknown(str(k), list(STUDY_KEYS))}" for k in set(content) - set(STUDY_KEYS)
    ]
    name = content.get("study")
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        mistakes.append(f"{path}: study: expected a name of letters, digits, _ . -, found {name!r}")
    experiments = content.get("experiments")
    if not isinstance(experiments, dict) or not experiments:
        raise StudyError([*mistakes, f"{path}: experiments: expected at least one"])
    reader = _Reader(path, content.get("defaults") or {}, dict(overrides or {}), mistakes)
    found = [reader.experiment(str(key), value) for key, value in experiments.items()]
    reader.check_used()
    if reader.mistakes:
        raise StudyError(reader.mistakes)
    title = str(content.get("title") or name)
    return Study(str(name), title, str(content.get("question") or ""), [e for e in found if e])


class _Reader:
    """Collects mistakes while it turns the experiments of one file into settings."""

    def __init__(
        self, path: Path, defaults: Any, overrides: dict[str, Any], mistakes: list[str]
    ) -> None:
        self.path, self.mistakes, self.overrides = path, mistakes, overrides
        self.defaults = self.mapping("defaults", defaults)
        self.used: set[str] = set()
        self.names: set[str] = set()

    def mapping(self, where: str, value: Any) -> dict[str, Any]:
        """The mapping under a key, or an empty one and a mistake."""
        if isinstance(value, dict):
            return {str(k): v for k, v in value.items()}
        self.mistakes.append(f"{self.path}: {where}: expected keys and values, found {value!r}")
        return {}

    def experiment(self, name: str, value: Any) -> Experiment | None:
        """One experiment, or None when its notebook is unknown."""
        self.names.add(name)
        where = f"experiments.{name}"
        body = self.mapping(where, value)
        for key in set(body) - set(EXPERIMENT_KEYS):
            self.mistakes.append(f"{self.path}: {where}.{unknown(key, list(EXPERIMENT_KEYS))}")
        notebook = str(body.get("notebook"))
        try:
            known = notebook_defaults(notebook)
        except ParameterError as error:
            self.mistakes.append(f"{self.path}: {where}.{error}")
            return None
        explicit: set[str] = set()
        forced = self.forced(name, known)
        fixed = self.mapping(f"{where}.set", body.get("set") or {})
        matrix = self.mapping(f"{where}.matrix", body.get("matrix") or {})
        cases = body.get("cases") or [{}]
        if not isinstance(cases, list) or not all(isinstance(case, dict) for case in cases):
            self.mistakes.append(f"{self.path}: {where}.cases: expected a list of keys and values")
            cases = [{}]
        for key, values in matrix.items():
            if not isinstance(values, list) or not values:
                self.mistakes.append(f"{self.path}: {where}.matrix.{key}: expected a list")
                matrix[key] = []
        explicit |= {*fixed, *matrix, *forced, *itertools.chain.from_iterable(cases)}
        usable = {k: v for k, v in self.defaults.items() if k in known}
        self.used |= set(usable)
        settings: list[dict[str, Any]] = []
        for case, *point in itertools.product(cases, *matrix.values()):
            merged = {**usable, **fixed, **case, **dict(zip(matrix, point, strict=True)), **forced}
            checked = self.check(where, known, merged)
            if checked not in settings:
                settings.append(checked)
        return Experiment(name, notebook, settings, frozenset(explicit))

    def forced(self, name: str, known: Mapping[str, Any]) -> dict[str, Any]:
        """The `--set` values that this experiment takes."""
        forced = {}
        for key, value in self.overrides.items():
            experiment, dot, parameter = key.rpartition(".")
            if (not dot and key in known) or (dot and experiment == name):
                forced[parameter] = value
                self.used.add(key)
        return forced

    def check(self, where: str, known: Mapping[str, Any], values: dict[str, Any]) -> dict[str, Any]:
        """Values in their proper types; each mistake is noted once."""
        clean = {}
        for key, value in values.items():
            try:
                if key in RUNNER_SETS:
                    raise ParameterError(f"{key}: set by the runner, not by a params file")
                if key not in known:
                    raise ParameterError(unknown(key, [k for k in known if k not in RUNNER_SETS]))
                clean[key] = check_value(key, value)
            except ParameterError as error:
                line = f"{self.path}: {where}.{error}"
                if line not in self.mistakes:
                    self.mistakes.append(line)
        return clean

    def check_used(self) -> None:
        """A default or an override that no notebook takes is a misspelling."""
        for key, value in self.defaults.items():
            if key not in self.used:
                self.mistakes.append(f"{self.path}: defaults.{key}: no experiment takes it")
                continue
            try:
                check_value(key, value)
            except ParameterError as error:
                self.mistakes.append(f"{self.path}: defaults.{error}")
        for key in set(self.overrides) - self.used:
            self.mistakes.append(f"--set {key}: no experiment takes it")
