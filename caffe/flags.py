"""The command line of `caffe`: actions, and flags as gflags takes them (`-x v`, `--x v`, `-x=v`, `--x=v`)."""
from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from .commands import COMMANDS
from .errors import CaffeError

ACTIONS = {
    "train": "train or finetune a model",
    "test": "score a model",
    "time": "benchmark model execution time",
    "device_query": "show the processor and the GPUs",
}
_ALL = tuple(ACTIONS)


@dataclass(frozen=True)
class Flag:
    """One flag: its value's type (str, int or bool), default, help, and the actions that use it."""

    name: str
    type: type
    default: Any
    help: str
    actions: tuple[str, ...]


FLAGS = (
    Flag("solver", str, "", "the solver prototxt", ("train",)),
    Flag("model", str, "", "the net prototxt", ("test", "time")),
    Flag("weights", str, "", "pretrained weights, several separated by ','; not together with -snapshot",
         ("train", "test")),
    Flag("snapshot", str, "", "the .solverstate to resume training from", ("train",)),
    Flag("gpu", str, "", "the CUDA device to compute on; of several ('0,1', or 'all'), train uses each with a process "
         "of its own", _ALL),
    Flag("iterations", int, 50, "the number of batches to run", ("test", "time")),
    Flag("phase", str, "TRAIN", "TRAIN or TEST", ("time",)),
    Flag("level", int, 0, "the net's level", ("train", "test", "time")),
    Flag("stage", str, "", "the net's stages (which are not its phase), separated by ','",
         ("train", "test", "time")),
    Flag("sigint_effect", str, "stop", "what Ctrl-C does: snapshot, stop or none; a second one ends at once",
         ("train",)),
    Flag("sighup_effect", str, "snapshot", "what SIGHUP does: snapshot, stop or none", ("train",)),
    Flag("json", str, "", "also write the times to this file", ("time",)),
    Flag("python_layers", str, "", "the modules that Python layers may come from, separated by ',', or none; "
         "in place of the environment variable CAFFE_PYTHON_LAYERS", ("train", "test", "time")),
    Flag("minloglevel", int, 0, "the least severe messages to log: 0 info, 1 warnings, 2 errors", _ALL),
    Flag("log_dir", str, "", "also write the log to a file in this folder, linked as caffe.INFO", _ALL),
    Flag("logtostderr", bool, True, "accepted for old scripts: the log always goes to stderr", _ALL),
    Flag("alsologtostderr", bool, True, "accepted for old scripts, likewise", _ALL),
    Flag("help", bool, False, "show this text", _ALL),
    Flag("version", bool, False, "show the version", _ALL),
)
_BY_NAME = {flag.name: flag for flag in FLAGS}


class CommandLine(SimpleNamespace):
    """What was asked for: an action ("" for none), every flag's value by its name, and the flags that were given."""

    action: str = ""

    def __init__(self) -> None:
        super().__init__(**{flag.name: flag.default for flag in FLAGS})
        self.given: list[str] = []

    @property
    def unused(self) -> list[str]:
        """Flags that were given and mean nothing to the action."""
        return [name for name in self.given if self.action and self.action not in _BY_NAME[name].actions]


def parse(arguments: Sequence[str]) -> CommandLine:
    """The action and flags of a command line, in any order. Raises CaffeError, with the nearest name."""
    line = CommandLine()
    words: list[str] = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word == "--":
            words += rest
            break
        if not word.startswith("-") or word == "-":
            words.append(word)
            continue
        name, equals, value = word.lstrip("-").partition("=")
        flag, negated = _find(name, word)
        if flag.type is bool:
            text = value if equals else "true"
        elif equals:
            text = value
        else:
            if not rest or _is_flag(rest[0]):
                raise CaffeError(f"{word} needs a value", found=rest[0] if rest else "the end of the line",
                                 help=f"{word} VALUE: {flag.help}")
            text = rest.pop(0)
        if negated and (equals or flag.type is not bool):
            raise CaffeError(f"flag {word} cannot be negated", help=f"the flag is -{flag.name}")
        setattr(line, flag.name, False if negated else _convert(flag, text))
        line.given.append(flag.name)
    if words and words[0] == "help":
        line.help = True
        words.pop(0)
    if len(words) > 1:
        raise CaffeError("one action at a time", found=" ".join(words), expected=" or ".join(ACTIONS),
                         help="flags begin with a dash: -solver solver.prototxt")
    if words:
        if words[0] in COMMANDS:
            raise CaffeError(f"caffe {words[0]} has options of its own", help=f"put it first: caffe {words[0]} ...")
        line.action = _one_of(words[0], {**ACTIONS, **COMMANDS}, "action")
    return line


def _find(name: str, word: str) -> tuple[Flag, bool]:
    """The flag of a name, and whether the name said no."""
    plain = {"h": "help", "helpshort": "help"}.get(name, name).replace("-", "_")
    if plain not in _BY_NAME and plain.startswith("no") and plain[2:] in _BY_NAME:
        return _BY_NAME[plain[2:]], True
    return _BY_NAME[_one_of(plain, _BY_NAME, "flag", shown=word.partition("=")[0])], False


def _one_of(name: str, known: Iterable[str], what: str, shown: str | None = None) -> str:
    names = list(known)
    if name not in names:
        near = difflib.get_close_matches(name, names, 1, 0.5)
        dash = "-" if what == "flag" else ""
        raise CaffeError(f"unknown {what}: {shown or name}", expected=None if near else ", ".join(names),
                         help=f"did you mean {dash}{near[0]}?" if near else "caffe -help lists them")
    return name


def _is_flag(word: str) -> bool:
    name = word.lstrip("-").partition("=")[0].replace("-", "_")
    return word.startswith("-") and name in _BY_NAME


def _convert(flag: Flag, text: str) -> Any:
    if flag.type is bool:
        answers = {"true": True, "t": True, "1": True, "yes": True, "y": True,
                   "false": False, "f": False, "0": False, "no": False, "n": False}
        if text.lower() not in answers:
            raise CaffeError(f"flag -{flag.name} takes true or false", found=text, help=flag.help)
        return answers[text.lower()]
    if flag.type is int:
        try:
            return int(text)
        except ValueError:
            raise CaffeError(f"flag -{flag.name} takes a whole number", found=text, help=flag.help) from None
    return text


def usage(action: str = "") -> str:
    """The help text: of one action, or of all."""
    lines = [f"usage: caffe {action or '<action>'} <flags>", ""]
    if action:
        lines[1:1] = ["", f"{action}: {ACTIONS[action]}"]
    else:
        known = {**ACTIONS, **COMMANDS}
        width = max(map(len, known)) + 2
        lines += ["actions:", *(f"  {name:<{width}}{text}" for name, text in known.items()), ""]
    lines.append("flags, as -name value or --name=value:")
    for flag in FLAGS:
        if not action or action in flag.actions:
            default = f" (default {flag.default})" if flag.default not in ("", True, False) else ""
            lines.append(f"  -{flag.name:<16}{flag.help}{default}")
    if not action:
        lines += ["", "caffe <action> -help shows the flags of one action"]
    return "\n".join(lines)
