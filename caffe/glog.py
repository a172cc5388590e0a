"""The log: Python's `logging` under the name "caffe", in the line format of Caffe's own logger (glog).

Caffe's log parsers (parse_log.py, extract_seconds.py) read these lines. Without `init_log` and without
GLOG_minloglevel the solver's lines show (`display` asked for them), of the rest warnings and errors.
A program that configures `logging` itself gets the records there and nothing else is printed.
"""
from __future__ import annotations

import logging
import os
import socket
import sys
import threading
import time
from pathlib import Path

from . import state
from .errors import CaffeError

logger = logging.getLogger("caffe")
solver_logger = logging.getLogger("caffe.solver")   # what a solver says of its progress

# glog's severities: 0 INFO, 1 WARNING, 2 ERROR, 3 FATAL; below 0 everything
_LEVELS = {0: logging.INFO, 1: logging.WARNING, 2: logging.ERROR, 3: logging.CRITICAL}
_LETTERS = {logging.WARNING: "W", logging.ERROR: "E", logging.CRITICAL: "F"}


class GlogFormatter(logging.Formatter):
    """`I1122 17:20:01.123456  1234 solver.py:239] message`, without blank lines: parsers trip over them."""

    def format(self, record: logging.LogRecord) -> str:
        when = time.localtime(record.created)
        micros = int(record.created % 1 * 1e6)
        head = (f"{_LETTERS.get(record.levelno, 'I')}{time.strftime('%m%d %H:%M:%S', when)}.{micros:06d} "
                f"{threading.get_native_id():5d} {record.filename}:{record.lineno}] ")
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return head + "\n".join(line for line in text.split("\n") if line.strip())


class _StderrHandler(logging.StreamHandler):
    """Writes to whatever sys.stderr is now; installed only where nobody else handles the records."""

    def __init__(self, always: bool) -> None:
        super().__init__(sys.stderr)
        self.always = always
        self.setFormatter(GlogFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        if not self.always and logging.getLogger().handlers:
            return   # the program configured logging after all: its handlers have the record
        self.stream = sys.stderr
        super().emit(record)


def init_log(level: int | None = None, stderr: bool = True) -> None:
    """Write the log to stderr from `level` on: 0 everything, 1 warnings, 2 errors, 3 only fatal errors.

    Without `level`, GLOG_minloglevel decides (0 when that is not set either). `stderr=False` leaves printing
    to the handlers of the program. Calling it again changes the level.
    """
    _install(always=True, stderr=stderr)
    _set_level(_environment_level() if level is None else level)


def log(message: str) -> None:
    """Write one INFO line, as pycaffe's `caffe.log`."""
    logger.info(message, stacklevel=2, extra={"of_any_rank": True})


def log_to_folder(folder: str | os.PathLike[str]) -> Path:
    """Also write the log to a file in `folder`, and point `folder`/caffe.INFO at it, as glog's -log_dir does.

    Returns the file's path; raises CaffeError when it cannot be written.
    """
    stamp = time.strftime("%Y%m%d-%H%M%S")
    path = Path(folder) / f"caffe.{socket.gethostname()}.log.INFO.{stamp}.{os.getpid()}"
    try:
        handler = logging.FileHandler(path, encoding="utf-8")
    except OSError as problem:
        raise CaffeError(f"cannot write the log: {problem.strerror}", file=path,
                         help="create the folder of -log_dir, or choose another") from problem
    handler.setFormatter(GlogFormatter())
    logger.addHandler(handler)
    link = Path(folder) / "caffe.INFO"
    try:
        link.unlink(missing_ok=True)
        link.symlink_to(path.name)
    except OSError as problem:   # a file system without links: the file itself is there
        logger.warning("cannot make the link %s: %s", link, problem)
    return path


def _install(always: bool, stderr: bool = True) -> None:
    for handler in list(logger.handlers):
        if isinstance(handler, _StderrHandler):
            logger.removeHandler(handler)
    if stderr:
        logger.addHandler(_StderrHandler(always))


def _set_level(level: int) -> None:
    value = logging.DEBUG if level < 0 else _LEVELS[min(level, 3)]
    logger.setLevel(value)
    solver_logger.setLevel(value)


def _environment_level() -> int:
    try:
        return int(os.environ.get("GLOG_minloglevel", 0))
    except ValueError:
        return 0


def _of_the_root(record: logging.LogRecord) -> bool:
    """Of several processes that train together one logs; the others would say the same."""
    return state.solver_rank() == 0 or record.levelno >= logging.ERROR or hasattr(record, "of_any_rank")


logger.addFilter(_of_the_root)
solver_logger.addFilter(_of_the_root)
_install(always=False)
if "GLOG_minloglevel" in os.environ:
    _set_level(_environment_level())
elif logger.level == logging.NOTSET:   # else the program chose before the import
    logger.setLevel(logging.WARNING)
    if solver_logger.level == logging.NOTSET:
        solver_logger.setLevel(logging.INFO)
