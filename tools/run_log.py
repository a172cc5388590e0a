"""The log of a run: everything the engine says goes to log.txt, its warnings also to the terminal."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

import caffe
from tools.errors import RunError

try:  # the line format that Caffe's log parsers read
    from caffe.glog import GlogFormatter
except ImportError:  # BVLC Caffe logs past Python, to stderr; what comes here are the tools' own lines
    GlogFormatter = logging.Formatter  # type: ignore[assignment,misc]

class _Terminal(logging.Handler):
    """Warnings on stderr, above a progress bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(f"{record.levelname.lower()}: {record.getMessage()}", file=sys.stderr)


@contextmanager
def logged_to(path: str | os.PathLike[str]) -> Iterator[None]:
    """Context in which the engine's log is appended to `path`.  Raises RunError when it cannot be written."""
    try:
        to_file = logging.FileHandler(path, encoding="utf-8")
    except OSError as problem:
        raise RunError(f"cannot write the log: {problem.strerror}", file=path,
                       help="choose another --out, or mend the permissions of the folder") from problem
    to_file.setFormatter(GlogFormatter())
    to_terminal = _Terminal(logging.WARNING)
    loggers = [logging.getLogger(name) for name in ("caffe", "caffe.solver")]
    before = [(logger, logger.level, list(logger.handlers)) for logger in loggers]
    if hasattr(caffe, "init_log"):
        caffe.init_log(0, False)
    for handler in (to_file, to_terminal):
        loggers[0].addHandler(handler)
    try:
        yield
    finally:
        for logger, level, handlers in before:
            logger.setLevel(level)
            logger.handlers[:] = handlers
        to_file.close()


def say(message: str) -> None:
    """Print a message and put it into the log."""
    tqdm.write(message)
    logging.getLogger("caffe").info("%s", message)
