"""Reading and writing prototxt files: nets and solvers as text, with errors that name file, line and remedy."""

from __future__ import annotations

import os
import re
from bisect import bisect_right
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from ..errors import ParseError, nearest
from ..files import atomic_write, describe_file
from . import blobs, caffe_pb2, forks, schema
from .upgrade import upgrade_net, upgrade_solver

MAX_DEPTH = 100
"""Deepest nesting of messages accepted (protobuf's own limit for binary files)."""
MAX_BYTES = 64 << 20
"""Largest text accepted; weights belong in binary files."""

# The closing quote is optional so that the search takes linear time: a string that is never closed is the
# parser's to report.
_TOKEN = re.compile(
    r"""\#[^\n]* | "(?:\\.|[^"\\\n])*+"? | '(?:\\.|[^'\\\n])*+'? | (?P<open>[{<]) | (?P<close>[}>])
    | (?P<punctuation>[\[\],;:]) | (?P<word>[A-Za-z_][\w.]*)""",
    re.VERBOSE,
)
_NO_FIELD = re.compile(r'Message type "caffe\.(\w+)" has no field named "([^"]+)"')
_NO_VALUE = re.compile(r'Enum type "caffe\.([\w.]+)" has no value (?:named|with number) "?([^".]+)"?')


@dataclass
class ParsedNet:
    """A net read from text: `param` (a `NetParameter`), `file` (None when it came as a string), and for each
    `param.layer` the line its block starts on in `lines` (None for a layer that an upgrade inserted)."""

    param: Any
    file: str | None = None
    lines: list[int | None] = field(default_factory=list)


def load_net(source: str | os.PathLike[str]) -> ParsedNet:
    """Read a net prototxt (a path, or the text itself) and upgrade it to the current format.

    Raises `ParseError` for text that cannot be read and `NetError` for old formats that cannot be upgraded.
    """
    text, file = _source(source)
    param = parse_text(text, caffe_pb2.NetParameter(), file)
    lines: list[int | None] = list(layer_lines(text))
    upgrade_net(param, file=file, lines=lines)
    return ParsedNet(param, file, lines)


def read_net_prototxt(source: str | os.PathLike[str]) -> Any:
    """The `NetParameter` in a prototxt (a path, or the text itself), as written: not upgraded.

    A string with a line break or a brace is taken for the text.  Raises `ParseError`.
    """
    text, file = _source(source)
    return parse_text(text, caffe_pb2.NetParameter(), file)


def load_solver(path: str | os.PathLike[str]) -> Any:
    """Read a solver prototxt, upgrade it, and fill in `snapshot_prefix` as Caffe does.  Raises `ParseError`."""
    param = read_solver_prototxt(path)
    upgrade_solver(param, file=str(path))
    return param


def read_solver_prototxt(path: str | os.PathLike[str]) -> Any:
    """The `SolverParameter` in a prototxt file, as written.  Raises `ParseError`."""
    return parse_text(_read_text(path), caffe_pb2.SolverParameter(), str(path))


def read_caffemodel(path: str | os.PathLike[str]) -> Any:
    """The net in a caffemodel in the current format: a raw `NetParameter` (see `proto.blobs`).

    Raises `WeightsError` saying what the file is instead and what to do.
    """
    net = blobs.read_net(path)
    upgrade_net(net, file=str(path))
    return net


def write_prototxt(message: Any, path: str | os.PathLike[str]) -> None:
    """Write a message as text, whole or not at all.  Raises `CaffeError` when the file cannot be written."""
    atomic_write(path, text_format.MessageToString(message))


def layer_lines(text: str) -> list[int]:
    """The line (from 1) on which each top-level `layer` or `layers` block starts, in order."""
    return _scan(text)[0]


def _scan(text: str, file: str | None = None) -> tuple[list[int], int | None]:
    """Start lines of the top-level layer blocks, and the line of the innermost block that is never closed.

    Raises `ParseError` when the nesting is deeper than `MAX_DEPTH`.
    """
    starts = [0, *(match.end() for match in re.finditer("\n", text))]
    lines: list[int] = []
    opened: list[int] = []
    word, word_at = "", 0
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup
        if kind == "open":
            if not opened and word in ("layer", "layers"):
                # In `layer: [{...}, {...}]` only the first block has the word in front of it.
                lines.append(bisect_right(starts, match.start() if word_at < 0 else word_at))
                word_at = -1
            opened.append(match.start())
            if len(opened) > MAX_DEPTH:
                raise ParseError(
                    "messages are nested too deeply", file=file, line=bisect_right(starts, match.start()),
                    found=f"more than {MAX_DEPTH} levels", help="no Caffe net needs this: is it a prototxt?",
                )
        elif kind == "close":
            if opened:  # one `}` too many is the parser's to report
                opened.pop()
        elif kind == "word" and not opened:
            word, word_at = match["word"], match.start()
    return lines, bisect_right(starts, opened[-1]) if opened else None


def _source(source: str | os.PathLike[str]) -> tuple[str, str | None]:
    if isinstance(source, str) and ("\n" in source or "{" in source):
        return source, None
    return _read_text(source), str(source)


def _read_text(path: str | os.PathLike[str]) -> str:
    if not str(path):
        raise ParseError("no file name is given", help="give the path of a prototxt")
    with blobs.reading(path, ParseError):
        _check_size(Path(path).stat().st_size, "bytes", str(path))
        data = Path(path).read_bytes()
    looks = describe_file(data[:512]) if data else None
    if looks is not None:
        raise ParseError("is not a prototxt", file=path, found=looks,
                         help="the download saved a web page: fetch the raw file" if "HTML" in looks
                         else "give the .prototxt file")
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise ParseError("is not UTF-8 text", file=path, found="UTF-16", help="save the file as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        binary = b"\0" in data[:4096]
        raise ParseError(
            "is not UTF-8 text", file=path, line=None if binary else data.count(b"\n", 0, problem.start) + 1,
            found="binary data" if binary else f"byte 0x{data[problem.start]:02x}",
            help="give the prototxt, not the weights" if binary else "save the file as UTF-8",
        ) from problem
    if "\0" in text:
        raise ParseError("is not text", file=path, found="binary data",
                         help="give the prototxt, not the weights")
    return text


def _check_size(size: int, unit: str, file: str | None) -> None:
    if size > MAX_BYTES:
        raise ParseError("is too large for a prototxt", file=file, found=f"{size} {unit}",
                         expected=f"at most {MAX_BYTES}", help="give the prototxt, not the weights")


def parse_text(text: str, message: Any, file: str | None = None) -> Any:
    """Parse text into `message` and return it.  Raises `ParseError` with file, line and the nearest names."""
    _check_size(len(text), "characters", file)
    _, open_line = _scan(text, file)
    try:
        text_format.Parse(text, message)
    except text_format.ParseError as problem:
        raise _explain(problem, message, file, open_line) from None
    if not message.IsInitialized():
        missing = message.FindInitializationErrors()
        raise ParseError("a required field is missing", file=file, expected=", ".join(missing),
                         help="set it: it has no default")
    return message


def _explain(problem: text_format.ParseError, message: Any, file: str | None, open_line: int | None) -> ParseError:
    line = problem.GetLine()
    reason = re.sub(r"^\d+(:\d+)? : ", "", str(problem)).strip()
    if match := _NO_FIELD.search(reason):
        owner, name = match.groups()
        return ParseError(f"{owner} has no field '{name}'", file=file, line=line,
                          help=_field_help(owner, name, message.DESCRIPTOR.name))
    if match := _NO_VALUE.search(reason):
        path, name = match.groups()
        values = [value.name for value in schema.DESCRIPTOR.pool.FindEnumTypeByName(f"caffe.{path}").values]
        close = nearest(name, values)
        return ParseError(f"{path} has no value '{name.strip()}'", file=file, line=line, expected=" or ".join(values),
                          help=f"did you mean {close[0]}?" if close else "use one of these values")
    if open_line is not None and re.match(r"""Expected "[}>]".""", reason):
        return ParseError(f"the block opened here is never closed; line {line}: {reason}", file=file,
                          line=open_line, help="close it with }, or close the one inside it")
    return ParseError(reason.replace("caffe.", ""), file=file, line=line, help="correct the file at this line")


def _field_help(owner: str, name: str, root: str) -> str:
    unused = forks.NO_EFFECT.keys() | forks.REFUSED.keys()   # known, but nothing to advise
    fields = [f for f in schema.MESSAGES[owner].DESCRIPTOR.fields if f"{owner}.{f.name}" not in unused]
    close = nearest(name, (f.name for f in fields))
    if close:
        fork = " (docs/forks.md lists what of Caffe's forks is here)" if name.endswith("_param") else ""
        return "did you mean " + " or ".join(close) + "?" + fork
    other = {"NetParameter": "SolverParameter", "SolverParameter": "NetParameter"}.get(root)
    if owner == root and other and name in schema.MESSAGES[other].DESCRIPTOR.fields_by_name:
        kinds = ("solver", "net") if other == "SolverParameter" else ("net", "solver")
        return f"this looks like the prototxt of a {kinds[0]}, where that of a {kinds[1]} is wanted"
    inside = [f.name for f in fields if f.message_type and name in f.message_type.fields_by_name]
    if inside:
        return f"'{name}' belongs inside " + " or ".join(inside)
    plain = sorted(f.name for f in fields if not f.name.endswith("_param"))
    more = ", and one *_param for each kind of layer" if len(plain) < len(fields) - 5 else ""
    return f"the fields of {owner} are " + ", ".join(plain or sorted(f.name for f in fields)) + more
