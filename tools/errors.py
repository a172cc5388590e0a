"""The errors of the tools: the engine's family where it has one, else stand-ins of the same shape."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING

from data.errors import DataError as DataError

if TYPE_CHECKING:
    from caffe.errors import CaffeError as CaffeError
else:
    try:
        from caffe import CaffeError
    except ImportError:  # BVLC Caffe 1.0, whose own failures end the process
        CaffeError = DataError


class RunError(CaffeError):
    """A run cannot start, go on or be resumed: its folder, its settings or its loss."""


class Stopped(Exception):
    """The user asked a run to stop (Ctrl-C, SIGTERM); its snapshot is written. `code` is the exit status."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def report(error: Exception) -> None:
    """Print an error as a command ends with it: message and notes, with its traceback if CAFFE_TRACEBACK is set."""
    if os.environ.get("CAFFE_TRACEBACK"):
        traceback.print_exception(error)
    else:
        print("\n".join([f"error: {error}", *getattr(error, "__notes__", [])]), file=sys.stderr)


def exit_status(work: Callable[[], int | None]) -> int:
    """The exit status of a command: what `work` returns (None: 0), 1 after a printed error, 130 after Ctrl-C,
    and that of a run that was stopped."""
    try:
        return work() or 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        return stopped.code
    except CaffeError as error:
        report(error)
        return 1


__all__ = ["CaffeError", "DataError", "RunError", "Stopped", "exit_status", "report"]
