"""Ctrl-C and SIGTERM during a run: take a note, so that the run finishes its step and writes a snapshot."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

from tools.errors import Stopped

_NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}


class StopRequest:
    """Context manager in which the first Ctrl-C or SIGTERM only sets `code`, the exit status to end with.

    A second one interrupts at once.  For the main thread only; the handlers from before come back at the end.
    """

    def __init__(self) -> None:
        self.code = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        for number in _NAMES:
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def check(self) -> None:
        """Raise Stopped if a stop was asked for: for places where nothing has to be saved first."""
        if self.code:
            raise Stopped("stopped", self.code)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.code:
            raise KeyboardInterrupt
        self.code = 128 + number
        name = _NAMES[signal.Signals(number)]
        print(f"\n{name}: stopping after this step (again: at once, without a snapshot)", file=sys.stderr)


@contextmanager
def says_how_to_go_on(words: Sequence[str], out: str | os.PathLike[str]) -> Iterator[None]:
    """Adds the command that goes on, after `words`, the arguments that were typed, to a Stopped that passes."""
    try:
        yield
    except Stopped as stopped:
        again = ["python", sys.argv[0], *(word for word in words if word != "--resume"), "--resume"]
        if not any(word == "--out" or word.startswith("--out=") for word in words):
            again += ["--out", str(out)]
        raise Stopped(f"{stopped}\nto go on: {shlex.join(again)}", stopped.code) from None
