"""DataError, the one error of this folder: the engine's where it has one, else a stand-in of the same shape.

The toolkit also runs on BVLC Caffe 1.0, whose `caffe` module has no errors of its own.
"""

from __future__ import annotations

from typing import Any

try:
    from caffe import DataError
except ImportError:

    class DataError(Exception):  # type: ignore[no-redef]
        """A data set, image or label is missing, unreadable or out of range."""

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
            self.message, self.file, self.line, self.layer = message, file, line, layer
            self.found, self.expected, self.help = found, expected, help
            where = "".join(f"{part}: " for part in (file, line, layer) if part is not None)
            details = [
                f"{word} {value}" for word, value in (("found", found), ("expected", expected)) if value
            ]
            text = where + message + (f" ({', '.join(details)})" if details else "")
            super().__init__(text + (f"\nhelp: {help}" if help else ""))


__all__ = ["DataError"]
