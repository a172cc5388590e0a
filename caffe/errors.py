"""The one family of errors: every failure a user can cause is a `CaffeError`, says where, and what to do.

BVLC Caffe aborts the process; here the same conditions raise.  This module imports nothing else of the
package, so that every other module can import it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """The known names that `name` may be a slip of, best first, at most three; for the help of an error."""
    import difflib  # only when something is wrong

    by_lower = {item.lower(): item for item in known}
    matches = difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.6)
    return [by_lower[match] for match in matches]


class CaffeError(Exception):
    """Base of all errors that this package raises on purpose.

    `file` and `line` (1-based) say where the input is wrong, `layer` which layer, `found` and `expected` what
    was there and what should have been, `help` what to do.  All are optional and kept as attributes;
    `str(error)` is one readable text:

        net.prototxt:12: layer 'fc6': message (found 3 axes, expected 4)
        help: what to do
    """

    def __init__(
        self,
        message: str = "",
        *,
        file: Any = None,
        line: int | None = None,
        layer: str | None = None,
        found: Any = None,
        expected: Any = None,
        help: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.file = None if file is None else str(file)
        self.line = line
        self.layer = layer
        self.found = found
        self.expected = expected
        self.help = help

    def __str__(self) -> str:
        where = ""
        if self.file is not None:
            where += f"{self.file}:{self.line}: " if self.line is not None else f"{self.file}: "
        elif self.line is not None:
            where += f"line {self.line}: "
        if self.layer is not None:
            where += f"layer '{self.layer}': "
        details = []
        if self.found is not None:
            details.append(f"found {self.found}")
        if self.expected is not None:
            details.append(f"expected {self.expected}")
        text = where + self.message
        if details:
            text += f" ({', '.join(details)})"
        if self.help:
            text += f"\nhelp: {self.help}"
        return text


class ParseError(CaffeError):
    """A text input (prototxt, solver, list file) cannot be read: syntax, unknown field, wrong value,
    encoding."""


class NetError(CaffeError):
    """A net is inconsistent as a whole: unknown bottom, duplicate top, sharing conflict, no such layer or
    blob."""


class LayerError(CaffeError):
    """One layer cannot do what it is asked to: unknown type, bad parameter, or its own code raised."""


class PythonLayerError(LayerError, RuntimeError):
    """Code of a Python layer raised; the original exception, with its traceback, is `__cause__`."""


class ShapeError(LayerError):
    """Blobs or arrays have shapes that do not fit the layer, the net or the assignment."""


class WeightsError(CaffeError):
    """A weights file cannot be read or written, or its parameters do not fit the net."""


class DataError(CaffeError):
    """A data set, image, database, list or label is missing, unreadable or out of range."""


class SolverError(CaffeError):
    """A solver definition is wrong, or training cannot go on (for instance the loss is NaN)."""


class SnapshotError(CaffeError):
    """A snapshot cannot be written, read back, or does not belong to this solver."""


class DeviceError(CaffeError):
    """The device asked for does not exist, or the operation cannot run on it."""
