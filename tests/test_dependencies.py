"""What is installed beside this project: pinned, hashed, from an index, under known licences."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError, distribution

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import ROOT

LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PINNED = re.compile(r"[a-z0-9][a-z0-9.-]*(\[[a-z0-9,-]+\])?==[^\s;@]+( ; [^\\]+)?")
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")

# Licences under which anybody may use, change and pass on; MPL asks for changes to its own files.
ALLOWED = {
    "0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "ISC",
    "LLVM-exception", "MIT", "MIT-0", "MIT-CMU", "MPL-2.0", "PSF-2.0", "Zlib",
}  # fmt: skip
# What metadata older than SPDX expressions calls them.
OLDER_NAMES = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD": "BSD-3-Clause",
    "BSD 3-Clause": "BSD-3-Clause",
    "BSD License": "BSD-3-Clause",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
# Packages whose metadata says something else, or nothing.
CUDA = (
    "NVIDIA's CUDA libraries, which torch's own wheels for Linux need; free to use, not free code"
)
EXCEPTIONS = {
    "umap-learn": "its classifier says `OSI Approved` alone; its LICENSE.txt is BSD-3-Clause",
    "cuda-toolkit": "no metadata; a list of the nvidia packages that torch needs, without files",
}


def locked_blocks() -> list[str]:
    """The lock, a package at a time, without comments."""
    lines = [line for line in LOCK.splitlines() if line and not line.lstrip().startswith("#")]
    return re.split(r"\n(?=\S)", "\n".join(lines))


def test_every_package_is_pinned_and_hashed_and_comes_from_the_index() -> None:
    blocks = locked_blocks()
    assert len(blocks) > 150
    for block in blocks:
        requirement, *hashes = [part.strip() for part in block.split("\\\n")]
        assert PINNED.fullmatch(requirement), requirement
        assert hashes, requirement
        assert all(HASH.fullmatch(part) for part in hashes), requirement


def test_no_dependency_comes_from_an_address() -> None:
    # No option of the installer in the lock either: an index, a link or an editable folder.
    assert not re.search(r"^\s*-(?!-hash=)", LOCK, re.MULTILINE)
    assert not re.search(r"://|\bgit\+|\bhg\+|\bsvn\+|\bfile:", re.sub(r"#.*", "", LOCK))
    groups = PROJECT["dependency-groups"].values()
    for text in [*PROJECT["project"]["dependencies"], *(t for group in groups for t in group)]:
        assert Requirement(text).url is None, text


def licence(name: str) -> str:
    """What a package's metadata says of its licence: expression, classifiers, or free text."""
    about = distribution(name).metadata
    if about.get("License-Expression"):
        return str(about["License-Expression"])
    classifiers = [c for c in about.get_all("Classifier") or [] if c.startswith("License ::")]
    if classifiers:
        return " AND ".join(
            OLDER_NAMES.get(n, n) for n in (c.split(" :: ")[-1] for c in classifiers)
        )
    text = str(about.get("License") or "").strip()
    return OLDER_NAMES.get(text, text)


def is_allowed(expression: str) -> bool:
    """Whether a licence expression can be met by allowed licences alone."""
    either = re.split(r"\s+OR\s+", expression.strip("() "))
    parts = [re.split(r"\s+(?:AND|WITH)\s+", choice.strip("() ")) for choice in either]
    return any(all(part.strip("() ") in ALLOWED for part in choice) for choice in parts)


def runtime() -> list[str]:
    """The packages that the project needs to run, and what these need, as far as installed here."""
    queue = [Requirement(text) for text in PROJECT["project"]["dependencies"]]
    found: set[str] = set()
    asked: set[tuple[str, frozenset[str]]] = set()
    while queue:
        requirement = queue.pop()
        name = canonicalize_name(requirement.name)
        key = name, frozenset(requirement.extras)
        if key in asked:
            continue
        asked.add(key)
        try:
            needs = distribution(name).requires or []
        except PackageNotFoundError:  # of another system
            continue
        found.add(name)
        extras = requirement.extras | {""}
        for need in map(Requirement, needs):
            if need.marker is None or any(need.marker.evaluate({"extra": e}) for e in extras):
                queue.append(need)
    return sorted(found)


def test_licences_of_what_runs_are_allowed_or_an_exception_with_a_reason() -> None:
    packages = runtime()
    assert {"torch", "numpy", "dask", "jupyterlab"} <= set(packages)
    refused = {}
    for name in packages:
        said = licence(name)
        cuda = name.startswith("nvidia-") and "NVIDIA" in said  # torch's own wheels need them
        if not is_allowed(said) and name not in EXCEPTIONS and not cuda:
            refused[name] = said
    assert not refused


def test_every_exception_is_still_one() -> None:
    installed = set(runtime())
    assert all(not is_allowed(licence(name)) for name in EXCEPTIONS if name in installed)
    assert all(len(reason.split()) > 5 for reason in EXCEPTIONS.values())


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("MIT", True),
        ("GPL-3.0-only OR MIT", True),
        ("Apache-2.0 WITH LLVM-exception AND BSD-2-Clause", True),
        ("(MIT OR Apache-2.0)", True),
        ("MIT AND GPL-3.0-only", False),
        ("GPL-3.0-only", False),
        ("OSI Approved", False),
        ("", False),
    ],
)
def test_an_expression_is_read_as_it_is_meant(expression: str, allowed: bool) -> None:
    assert is_allowed(expression) is allowed
