"""Ctrl-C and other ways to ask a study to stop: it ends what runs, and says what is left."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from types import FrameType
from typing import Any

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


class Stop:
    """Within the block, a first signal asks to stop and a second ends the process at once.

    A signal that is ignored when the block begins stays so, as `nohup` has it with SIGHUP and a
    shell script with the SIGINT of what it starts in the background; SIGTERM stops all the same.
    """

    def __init__(self) -> None:
        self.signal = 0
        self.before: dict[int, Any] = {}

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if number == signal.SIGTERM or signal.getsignal(number) is not signal.SIG_IGN:
                    self.before[number] = signal.signal(number, self.hear)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def hear(self, number: int, _: FrameType | None) -> None:
        """Note a signal; at the second, end without more ado: what is on the disk is complete."""
        if self.signal:
            os._exit(130)
        self.signal = number
        name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        text = f"\n{name}: stopping; again to stop at once\n"
        with contextlib.suppress(OSError):  # a terminal that is gone
            os.write(2, text.encode())

    def asked(self) -> bool:
        """Whether a signal came."""
        return self.signal != 0
