"""Checks of parameter values: each takes what was typed and returns it in its proper type."""

from __future__ import annotations

import difflib
import itertools
import math
import re
import unicodedata
from collections.abc import Callable
from typing import Any


class ParameterError(ValueError):
    """A parameter is unknown, of the wrong type or out of range; the message names it."""


Check = Callable[[Any], Any]
NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,98}[A-Za-z0-9_-])?")
# What Windows takes for a device, whatever follows after a dot.
DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
# Pixels of an image that any blur fits into; whether it fits into a study's is for its plan.
LARGE = 256
# Unicode's control characters, lone surrogates (of file names), line and paragraph separators.
CONTROL = ("Cc", "Cs", "Zl", "Zp")


def text(value: Any) -> str:
    """Accept a string without control characters."""
    if not isinstance(value, str):
        raise ParameterError("expected text")
    if has_control(value):
        raise ParameterError("expected text without control characters")
    return value


def short_text(most: int) -> Check:
    """Accept a string of at most `most` characters, none of them a control character."""

    def check(value: Any) -> str:
        if len(text(value)) > most:
            raise ParameterError(f"expected text of at most {most} characters")
        return str(value)

    return check


def has_control(text: str) -> bool:
    """Whether a text holds a control character, a line break, or a byte that is no UTF-8."""
    return any(unicodedata.category(c) in CONTROL for c in text)


def shorten(shown: str, most: int = 60) -> str:
    """A text as a message shows it: the beginning, where it is long."""
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"


def one_line(message: str) -> str:
    """A message as one line of what a terminal only shows: control characters are spelt out."""
    signs = (c.encode("unicode_escape").decode() if has_control(c) else c for c in message)
    return "".join(signs)


def folder_name(value: Any) -> str:
    """Accept what a folder may be called on any system, and nothing that leads out of one."""
    if not isinstance(value, str) or not NAME.fullmatch(value) or DEVICES.fullmatch(value):
        raise ParameterError(
            "expected a name of letters, digits, _ . -, at most 100, which a folder can have"
        )
    return value


def optional(check: Check) -> Check:
    """Accept an empty text, or what `check` accepts."""
    return lambda value: "" if value == "" else check(value)


def flag(value: Any) -> bool:
    """Accept true or false."""
    if not isinstance(value, bool):
        raise ParameterError("expected true or false")
    return value


def whole(low: int, high: int | None = None) -> Check:
    """Accept a whole number from `low` to `high`."""
    limits = f"from {low}" if high is None else f"from {low} to {high}"

    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ParameterError(f"expected a whole number {limits}")
        if not math.isfinite(value) or value != int(value):
            raise ParameterError(f"expected a whole number {limits}")
        if value < low or (high is not None and value > high):
            raise ParameterError(f"expected a whole number {limits}")
        return int(value)

    return check


def number(low: float, high: float = math.inf, *, open_low: bool = False) -> Check:
    """Accept a finite number from `low` (above it when `open_low`) to `high`."""
    limits = f"{'above' if open_low else 'from'} {low:g}"
    limits += "" if math.isinf(high) else f" to {high:g}"

    def check(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ParameterError(f"expected a number {limits}")
        if not math.isfinite(value) or value > high or value < low or (open_low and value <= low):
            raise ParameterError(f"expected a number {limits}")
        return float(value)

    return check


def one_of(*choices: str) -> Check:
    """Accept one of a few words."""

    def check(value: Any) -> str:
        if value not in choices:
            close = difflib.get_close_matches(str(value), choices, 1)
            hint = f" (did you mean {close[0]}?)" if close else ""
            raise ParameterError(f"expected one of {', '.join(choices)}{hint}")
        return str(value)

    return check


def augmentation(value: Any) -> str:
    """Accept an augmentation sequence (`lib.augment.SEQUENCES`), and what of it differs.

    `natural`, or `natural rotation=180 blur_p=0.5` (`lib.augment.written`).
    """
    from lib.augment import SEQUENCES, make_augment  # torch: only when a file is checked
    from lib.augment.written import read_augment, write_augment

    one_of(*SEQUENCES)((value.split() or [""])[0] if isinstance(value, str) else value)
    try:
        written = write_augment(*read_augment(text(value)))
        make_augment(written, LARGE, 3)
    except ValueError as error:
        raise ParameterError(str(error).removeprefix("augment ")) from None
    return written


def device_name(value: Any) -> str:
    """Accept `auto`, `cpu`, `cuda` or `cuda:N`."""
    if not isinstance(value, str) or not re.fullmatch(r"auto|cpu|cuda(:\d+)?", value):
        raise ParameterError("expected auto, cpu, cuda or cuda:N")
    return value


def label_budgets(value: Any) -> str:
    """Accept `all`, a count, or several of them as a list or as text: `[100, 250, all]`."""
    parts = value if isinstance(value, list) else str(value).split(",")
    clean: list[str] = []
    for part in parts:
        word = str(part).strip()
        if word != "all" and not (word.isdecimal() and int(word) >= 1):
            raise ParameterError("expected a count of labels, all, or a list of these")
        clean.append(word if word == "all" else str(int(word)))
    if not clean or len(set(clean)) < len(clean):
        raise ParameterError("expected one label budget or several different ones")
    return ",".join(clean)


def several(check: Check, what: str) -> Check:
    """Accept one value or several different ones, as a list or as text with commas.

    Returns text with commas, which papermill and YAML pass alike; `as_list` reads it.
    """

    def check_all(value: Any) -> str:
        parts = value if isinstance(value, list) else str(value).split(",")
        try:
            clean = [shortest(check(yaml_number(part))) for part in parts]
        except ParameterError as error:
            raise ParameterError(f"{error}, or several of these") from None
        if not clean or len(set(clean)) < len(clean):
            raise ParameterError(f"expected one {what} or several different ones")
        return ",".join(clean)

    return check_all


def shortest(value: float) -> str:
    """A number as text, without loss: `0.001`, `28`, `1234567`."""
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


def yaml_number(value: Any) -> Any:
    """The number that a word stands for; anything else as it is."""
    if not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        return value.strip()


def words(*choices: str) -> Check:
    """Accept one or several of a few words, as a list or as text with commas."""

    def check(value: Any) -> str:
        parts = value if isinstance(value, list) else str(value).split(",")
        clean = [one_of(*choices)(str(part).strip()) for part in parts]
        if not clean or len(set(clean)) < len(clean):
            raise ParameterError(f"expected some of {', '.join(choices)}, each once")
        return ",".join(clean)

    return check


def grade_scale(value: Any) -> str:
    """Accept nothing, or the new grade of each grade as a list or text: `0,1,2,3,3`."""
    parts = value if isinstance(value, list) else str(value).split(",")
    clean = [str(part).strip() for part in parts]
    if clean in ([], [""]):
        return ""
    if not all(word.isdecimal() for word in clean):
        raise ParameterError("expected a grade for each grade, as in 0,1,2,3,3, or nothing")
    grades = [int(word) for word in clean]
    if grades[0] != 0 or any(b - a not in (0, 1) for a, b in itertools.pairwise(grades)):
        raise ParameterError("expected grades that start at 0 and rise by 0 or 1: 0,1,2,3,3")
    return ",".join(map(str, grades))


def training_augmentation(value: Any) -> str:
    """Accept `none` or an augmentation sequence, and what of it differs."""
    return "none" if value == "none" else augmentation(value)
