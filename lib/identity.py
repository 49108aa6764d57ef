"""What makes a run the same run: its parameters, its data and the code it goes through."""

from __future__ import annotations

import ast
import hashlib
import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from lib.params import NOTEBOOKS, PARAMETERS, ROOT

# Modules that only draw, phrase or carry results: a changed figure does not change a number, so
# it must not throw away hours of finished runs (`--force` redoes their reports).
PRESENTATION = (
    "lib.figures", "lib.findings", "lib.names", "lib.preview", "lib.pages",
    "lib.widgets", "lib.watched", "lib.bars", "lib.run", "lib.origins", "lib.device",
    "lib.models.trial", "lib.identity", "lib.files", "lib.params", "lib.checks",
)  # fmt: skip
# Of these, what lies behind them counts all the same: the data, and the augmentations on show.
PASSED_THROUGH = ("lib.run", "lib.origins", "lib.device", "lib.preview")
# Parameters that name a data set; not every notebook has both, and the second may be empty.
DATASETS = ("dataset", "queries")


@dataclass(frozen=True)
class Origin:
    """Where an encoder comes from: how it was pretrained, and what identifies it.

    trail: what it was trained on, in order (`("pathmnist", "dermamnist")`); `imagenet` is one.
    variant: the name its run gave to its setting.
    """

    method: str
    augment: str
    identity: str
    trail: tuple[str, ...] = ()
    variant: str = ""

    def method_on(self, dataset: str) -> str:
        """The method as summary.csv names it, when the encoder is used on `dataset`.

        `simclr` where it was pretrained on these images alone, else `simclr from pathmnist`, or
        `simclr from pathmnist>dermamnist`; a variant follows in brackets.
        """
        foreign = self.trail not in ((), (short_name(dataset),))
        source = f" from {'>'.join(self.trail)}" if foreign else ""
        return f"{self.method}{source}" + (f" ({self.variant})" if self.variant else "")

    def trained_on(
        self, dataset: str, method: str, augment: str, identity: str, variant: str = ""
    ) -> Origin:
        """The origin of an encoder that started from this one and was trained on `dataset`."""
        before = ("imagenet",) if self.method == "imagenet" else self.trail
        return Origin(method, augment, identity, (*before, short_name(dataset)), variant)


def finetuned_name(method: str) -> str:
    """What an encoder is called after finetuning on labels, by what it started from."""
    return "supervised" if method in ("random", "imagenet") else f"{method}+finetune"


RANDOM = Origin("random", "", "scratch")


@cache
def commit(folder: Path = ROOT) -> str:
    """The short commit of the code, with `+` when files differ from it, or `unknown`."""
    try:
        version = ["git", "-C", str(folder), "rev-parse", "--short=8", "HEAD"]
        head = subprocess.run(version, capture_output=True, text=True, check=True).stdout.strip()
        # What runs write is not code: only the code's own folders can make a version dirty.
        status = ["git", "-C", str(folder), "status", "--porcelain", "--", "lib", "notebooks"]
        changed = subprocess.run(status, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("+" if changed.strip() else "")


def without_docstrings(tree: ast.Module) -> str:
    """The code of a parsed module as canonical text: no comments, docstrings or formatting.

    The same under every version of Python that reads the code alike: `ast.unparse` writes f-strings
    otherwise in 3.12 than in 3.11, and newer versions have more fields, which are empty here.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = node.body[1:] or [ast.Pass()]
    return canonical(tree)


def canonical(node: Any) -> str:
    """A syntax tree as text; fields that hold nothing are left out."""
    if isinstance(node, ast.AST):
        held = ((name, value) for name, value in ast.iter_fields(node) if value not in (None, []))
        inside = ",".join(f"{name}={canonical(value)}" for name, value in held)
        return f"{type(node).__name__}({inside})"
    if isinstance(node, list):
        return f"[{','.join(map(canonical, node))}]"
    return repr(node)


def imported_modules(tree: ast.AST) -> set[str]:
    """Names of this project's modules that a parsed file imports, at any depth of its code."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in names if name == "lib" or name.startswith("lib.")}


def module_file(name: str) -> Path | None:
    """The file of one of this project's modules, or None where the name is no module."""
    base = ROOT / Path(*name.split("."))
    for candidate in (base.with_suffix(".py"), base / "__init__.py"):
        if candidate.exists():
            return candidate
    return None


def is_presentation(name: str) -> bool:
    """Whether a module is one of `PRESENTATION` or lies inside one."""
    return any(name == module or name.startswith(f"{module}.") for module in PRESENTATION)


@cache
def code_fingerprint(notebook: str, folder: Path = NOTEBOOKS) -> str:
    """A hash of a notebook's code and of every module of `lib` that it reaches by import."""
    return digest(code_parts(notebook, folder))


@cache
def module_fingerprints(notebook: str, folder: Path = NOTEBOOKS) -> dict[str, str]:
    """A hash of each part of `code_parts`, by its name: which one made two runs differ."""
    return {name: digest(text) for name, text in sorted(code_parts(notebook, folder).items())}


def code_parts(notebook: str, folder: Path = NOTEBOOKS) -> dict[str, str]:
    """A notebook's code and that of every module of `lib` that it reaches by import, by name.

    Comments, docstrings, formatting and the parameters cell do not count (the values used are
    hashed by themselves), nor do the modules in `PRESENTATION`.
    """
    cells = json.loads((folder / f"{notebook}.ipynb").read_text(encoding="utf-8"))["cells"]
    source = "\n".join(
        "".join(cell["source"])
        for cell in cells
        if cell["cell_type"] == "code"
        and "parameters" not in cell.get("metadata", {}).get("tags", [])
    )
    tree = ast.parse(source)
    parts = {notebook: without_docstrings(ast.parse(source))}
    queue, seen = sorted(imported_modules(tree)), {"lib"}
    while queue:
        name = queue.pop()
        path = module_file(name)
        if path is None or name in seen or (is_presentation(name) and name not in PASSED_THROUGH):
            continue
        seen.add(name)
        tree = ast.parse(path.read_text(encoding="utf-8"))
        queue += sorted(imported_modules(tree))
        # `lib.data.phantom` also executes `lib/data/__init__.py`.
        queue += [name.rsplit(".", 1)[0]]
        if not is_presentation(name):
            parts[name] = without_docstrings(tree)
    return parts


def digest(content: Any) -> str:
    """A short hash of anything JSON can hold."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def combined_mark(fingerprints: Sequence[str]) -> str:
    """What identifies the data of a run: a data set's fingerprint, or one of several together."""
    return fingerprints[0] if len(fingerprints) == 1 else digest(list(fingerprints))


def slug(value: str) -> str:
    """A data set's name as part of a file name: `csv:a/labels.csv` → `csv-labels`."""
    kind, colon, path = value.partition(":")
    if colon:
        p = Path(path)
        value = f"{kind}-{p.parent.name + '-' if kind == 'csv' else ''}{p.stem}"
    # A folder's name holds 255 bytes at most; what was cut off counts in the hash.
    return re.sub(r"[^a-z0-9]+", "-", value.lower()).strip("-")[:60]


def short_name(dataset: str) -> str:
    """A data set's name without this machine's folders: `csv:/a/b/c.csv` → `csv:b/c.csv`.

    What is printed, summarised and kept in params.yaml; the fingerprint says which data it was.
    """
    kind, colon, path = dataset.partition(":")
    return f"{kind}:{'/'.join(Path(path).parts[-2:])}" if colon else dataset


# After the name of a data set in tables, where folds are of train and val alone (`folds_of`): no
# number of the test split, and never to be taken for one.
TRAINVAL = " (trainval)"


def column_name(params: Mapping[str, Any]) -> str:
    """A run's data set as summary.csv names it, `breastmnist (trainval)` where test was put away.

    Numbers by which a recipe is chosen must never be taken for those of the test split.
    """
    name = short_name(str(params.get("dataset", "")))
    chosen = params.get("folds") and params.get("folds_of") == "trainval"
    return name + TRAINVAL if chosen else name


def absolute_dataset(dataset: str) -> str:
    """The same data set with its path made absolute, so that it is found from any folder.

    A relative path is looked for from the current folder, then from the repository.
    """
    kind, colon, path = dataset.partition(":")
    if not colon or Path(path).expanduser().is_absolute():
        return f"{kind}:{Path(path).expanduser()}" if colon else dataset
    here = Path(path).resolve()
    return f"{kind}:{here if here.exists() else (ROOT / path).resolve()}"


def run_name(notebook: str, params: Mapping[str, Any], origin: Origin, data: str) -> str:
    """The name of a run, readable and ending in the hash of its parameters, data and code.

    origin: of the encoder it starts from. data: the data set's fingerprint.
    """
    relevant = {k: v for k, v in params.items() if PARAMETERS[k].in_hash}
    if "init" in relevant:
        # The encoder counts by what it is, not by the path or pattern it was asked for with.
        relevant["init"] = origin.identity
    # A path names the data on this machine only; their fingerprint names them everywhere.
    for key in DATASETS:
        if params.get(key):
            relevant[key] = str(params[key]).partition(":")[0]
    content = {
        "notebook": notebook,
        "params": relevant,
        "data": data,
        "code": code_fingerprint(notebook),
    }
    method = params.get("method", origin.method if "init" in params else "")
    augment = params.get("augment", origin.augment if "init" in params else "")
    size = "" if params.get("size", 28) == 28 else f"{params['size']}px"
    words = [notebook.partition("_")[2], slug(str(params.get("dataset", ""))), size]
    # Of an augmentation the sequence: its settings would be most of the name. The hash has them.
    words += [slug(method), slug(augment.partition(" ")[0]), slug(str(params.get("variant", "")))]
    dev = "trainval-" if params.get("folds_of") == "trainval" else ""
    fold = f"{dev}f{params['fold']}" if params.get("folds") else ""
    seed = f"s{params['seed']}" if "seed" in params else ""
    return "-".join(str(word) for word in [*words, fold, seed, digest(content)] if word)
