"""references.bib: whole, and cited by what a study used."""

from __future__ import annotations

import re

import medmnist
import pytest

from lib.pages.references import FILE, bibliography, read_references, words_of
from lib.params import NOTEBOOKS

ENTRIES = read_references()


def test_every_entry_is_read() -> None:
    text = FILE.read_text(encoding="utf-8")
    assert len(ENTRIES) == len(re.findall(r"^@", text, re.MULTILINE)) >= 20


@pytest.mark.parametrize("key", ENTRIES)
def test_an_entry_is_bibtex_with_what_a_reader_needs(key: str) -> None:
    entry, used = ENTRIES[key]
    assert entry.count("{") == entry.count("}")
    fields = dict(re.findall(r"^  (\w+) = \{(.*)\},?$", entry, re.MULTILINE))
    assert {"author", "title", "year"} <= set(fields)
    assert {"journal", "booktitle", "howpublished"} & set(fields)
    assert re.fullmatch(r"(19|20)\d\d", fields["year"])
    assert "used" not in fields and used
    # The last field has no comma, every other has one.
    lines = entry.splitlines()[1:-1]
    assert [line.endswith(",") for line in lines] == [True] * (len(lines) - 1) + [False]


def test_every_medmnist_set_cites_medmnist_and_its_source() -> None:
    names = [n for n in medmnist.INFO if not n.endswith("3d")]
    assert len(names) == 12
    for name in names:
        cited = re.findall(r"^@\w+\{([^,]+)", bibliography([name]), re.MULTILINE)
        assert cited[0] == "yang2023medmnist" and len(cited) >= 2, name


def test_words_name_notebooks_that_exist() -> None:
    words = {word for _, used in ENTRIES.values() for word in used}
    for word in words:
        if re.match(r"\d\d_", word):
            assert (NOTEBOOKS / f"{word}.ipynb").exists()


def test_only_what_was_used_is_cited() -> None:
    text = bibliography(["simclr", *words_of("csv:dermatoscopy/labels.csv")])
    assert "chen2020simclr" in text and "tschandl2018ham10000" in text
    assert "khosla" not in text and "yang2023" not in text
    assert bibliography(["nothing known"]) == ""
    assert words_of("npz:a/b.npz") == {"npz:a/b.npz", "a"}
    assert words_of("bloodmnist") == {"bloodmnist"}
