"""Progress: a bar that moves while someone watches, and one line that stays."""

from __future__ import annotations

import html
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from lib.watched import current_cell, is_watched

SECONDS_BETWEEN = 0.25  # a browser redraws the bar at most that often


@dataclass
class Line:
    """What a notebook's cell says of one kind of work: one output, however many pieces it has."""

    what: str
    unit: str
    pieces: int = 0
    done: int = 0
    began: float = field(default_factory=time.monotonic)
    shown: Any = None

    def say(self) -> str:
        """The line that stays: `Pretraining: 20 epochs in 41 s`."""
        text = f"{self.what}: {say_amount(self.done, self.unit)}"
        text += f" in {self.pieces} parts," if self.pieces > 1 else " in"
        return f"{text} {say_time(time.monotonic() - self.began)}"

    def show(self, text: str, bar: str = "") -> None:
        """Put a text in the place of what the line said before."""
        from IPython.display import display

        data = {"text/plain": text, "text/html": f"<div>{bar}{html.escape(text)}</div>"}
        if self.shown is None:
            self.shown = display(data, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self.shown.update(data, raw=True)


# The lines of the cell that is running, and that cell.
_lines: dict[str, Line] = {}
_cell: list[str] = [""]


def line_of_cell(cell: str, what: str, unit: str) -> Line:
    """The running cell's line for this kind of work; those of earlier cells stay as they are."""
    if _cell[0] != cell:
        _lines.clear()
        _cell[0] = cell
    return _lines.setdefault(what, Line(what, unit))


class Bar:
    """One piece of work, `with Bar("Pretraining", 20, "epoch") as bar: bar.update(1, "loss 4.1")`.

    total: None where it is not known. show: whether it moves; in JupyterLab as a bar that one line
    of text replaces when it is done, at a terminal as tqdm draws it. kept: whether that line
    also stands in a notebook that nobody watched, as a report is.
    """

    def __init__(
        self,
        what: str,
        total: int | None,
        unit: str,
        *,
        show: bool,
        kept: bool = False,
        start: int = 0,
    ) -> None:
        self.what, self.total, self.unit, self.n = what, total, unit, start
        self.cell = current_cell()
        self.moves = show and (self.cell is None or is_watched())
        self.kept = self.cell is not None and (kept or self.moves)
        self.before = 0.0
        self.start, self.began = start, time.monotonic()
        self.terminal: Any = None
        if self.cell is None and show:
            from tqdm import tqdm

            # `disable=None`: a bar is for a terminal, not for a log.
            about: dict[str, Any] = {
                "desc": what,
                "unit": unit,
                "unit_scale": unit == "B",
                "disable": None,
            }
            self.terminal = tqdm(total=total, initial=start, **about)

    def __enter__(self) -> Self:
        return self

    def update(self, n: int = 1, note: str = "") -> None:
        """Say that n more are done; note: what else is known by now."""
        self.n += n
        if self.terminal is not None:
            self.terminal.set_postfix_str(note, refresh=False)
            self.terminal.update(n)
        elif self.moves and self.cell is not None:
            now = time.monotonic()
            if now - self.before >= SECONDS_BETWEEN:
                self.before = now
                line = line_of_cell(self.cell, self.what, self.unit)
                line.show(self.say_so_far(now - self.began, note), self.draw())

    def draw(self) -> str:
        """The bar itself, in HTML; without a total it only says that something is going on."""
        if self.total is None:
            return "<progress></progress> "
        return f'<progress value="{self.n}" max="{self.total}"></progress> '

    def say_so_far(self, seconds: float, note: str = "") -> str:
        """How far it is, and how long the rest takes at this pace."""
        if self.total is None:
            text = f"{self.what}: {say_amount(self.n, self.unit)}"
        else:
            done = say_amount(self.n, self.unit).partition(" ")[0]
            text = f"{self.what}: {done} of {say_amount(self.total, self.unit)}"
            fresh = self.n - self.start
            if fresh > 0 and self.n < self.total:
                text += f", {say_time(seconds / fresh * (self.total - self.n))} left"
        return text + (f" · {note}" if note else "")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop moving, and leave the line that stays."""
        if self.terminal is not None:
            self.terminal.close()
        elif self.kept and self.cell is not None:
            line = line_of_cell(self.cell, self.what, self.unit)
            line.began = min(line.began, self.began)
            line.pieces += 1
            line.done += self.n - self.start
            line.show(line.say())


def say_amount(n: int, unit: str) -> str:
    """`1 epoch`, `20 epochs`, `3.1 MB`."""
    if unit == "B":
        return f"{n / 1e6:,.1f} MB"
    return f"{n:,} {unit}{'' if n == 1 else 's'}"


def say_time(seconds: float) -> str:
    """`41 s`, `2 min 05 s`, `1 h 02 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
