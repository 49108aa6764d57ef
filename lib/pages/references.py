"""BibTeX entries of the data sets and methods that a study used, from references.bib."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("references.bib")
USED = re.compile(r",\n  used = \{([^}]*)\}")


@cache
def read_references() -> dict[str, tuple[str, frozenset[str]]]:
    """Key → the entry as BibTeX without its `used` field, and the words in that field.

    ValueError for an entry without one: nothing would ever cite it.
    """
    text = FILE.read_text(encoding="utf-8")
    found = {}
    for entry in re.findall(r"^@.*?^\}$", text, re.MULTILINE | re.DOTALL):
        [key] = re.findall(r"^@\w+\{([^,]+),", entry)
        words = USED.search(entry)
        if words is None:
            raise ValueError(f"{FILE.name}: {key} has no field used; say which words call for it")
        found[key] = (USED.sub("", entry), frozenset(words[1].split(", ")))
    return found


def bibliography(words: Iterable[str]) -> str:
    """The entries that any of the words calls for, in the file's order: a BibTeX file's text.

    words: of a study, such as its data sets, methods, encoders and notebooks.
    """
    wanted = set(words)
    entries = [entry for entry, used in read_references().values() if used & wanted]
    return "\n\n".join(entries) + "\n" if entries else ""


def words_of(dataset: str) -> set[str]:
    """The words a data set is known by: its name, or the folder that holds its table.

    `csv:dermatoscopy/labels.csv` → csv:dermatoscopy/labels.csv, dermatoscopy.
    """
    folder = dataset.partition(":")[2].rpartition("/")[0].rpartition("/")[2]
    return {dataset, folder} - {""}
