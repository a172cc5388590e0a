"""What an experiment is: its name in the thesis, what it needs, the function that runs it, and what it found."""

from __future__ import annotations

import importlib
import os
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import caffe
from data.registry import open_dataset
from tools.errors import CaffeError, RunError
from tools.weights import download_of, find_weights


@dataclass(frozen=True)
class Need:
    """Something an experiment cannot do without: `kind` is "data", "weights" or "gpu"; `name` which."""

    kind: str
    name: str = ""

    def lacking(self, context: Context) -> str:
        """Why it cannot be used and where it comes from, in words; empty where it is there."""
        try:
            if self.kind == "gpu":
                _find_gpu(context.gpu)
            elif self.kind == "weights":
                context.weights_file(self.name)
            else:
                context.dataset(self.name)
        except CaffeError as error:
            source = {"data": error.help, "gpu": None, "weights": download_of(self.name)}[self.kind]
            return f"{error.message}; {source}" if source else error.message
        return ""

    def __str__(self) -> str:
        return f"{self.kind} {self.name}".strip()


def _find_gpu(number: int | None) -> None:
    """Raises DeviceError where there is no such GPU."""
    caffe.set_device(number or 0)


def set_in(folder: str) -> str:
    """Which data set a folder holds: the one that it is named as, or begins with: coco, coco-tiny."""
    return Path(folder).name.lower().split("-")[0]


@dataclass(frozen=True)
class Context:
    """Where an experiment works and with what: its folder, the small variant or the whole, data, weights, GPU.

    `iters`: of every stage that is trained, to try an experiment out (None: as many as it wants).
    """

    folder: Path
    small: bool = False
    data_dir: str | None = None
    weights: str | None = None
    gpu: int | None = None
    seed: int = 1337
    iters: int | None = None
    say: Callable[[str], None] = print

    def of(self, name: str) -> Context:
        """That of another experiment of the same variant, whose runs are wanted."""
        return replace(self, folder=folder_for(self.folder.parent, name, self.small))

    def dataset(self, name: str) -> Any:
        """The data set `name`: `data_dir` where it was given and is that set, else where it is kept.

        Raises DataError.
        """
        return open_dataset(self.data_name(name))

    def data_name(self, name: str) -> str:
        """What `tools/solve.py` calls the data set `name`: a name or a folder."""
        given = self.data_dir if self.data_dir and set_in(self.data_dir) == name else None
        return str(Path(given).resolve()) if given else name

    def weights_file(self, name: str) -> Path:
        """The caffemodel `name`: `weights` where it has that name, else where models are kept.  Raises RunError."""
        given = self.weights if self.weights and Path(self.weights).name == name else None
        path = find_weights(given, name, "the experiment")
        assert path is not None
        return path


@dataclass
class Table:
    """Numbers side by side.  `rows`: label -> one (thesis, ours) for each column; None where there is none."""

    title: str
    columns: Sequence[str]
    rows: Mapping[str, Sequence[tuple[float | None, float | None]]]
    digits: int = 1


@dataclass
class Result:
    """What an experiment found.  `claims`: (what the thesis says, what came out here, whether they agree).

    `pictures`: (file in the experiment's folder, caption).  `config`: what decided the numbers; `weights`:
    {file name: SHA-256}.
    """

    tables: list[Table] = field(default_factory=list)
    pictures: list[tuple[str, str]] = field(default_factory=list)
    claims: list[tuple[str, str, bool]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, str] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Experiment:
    """`name` as the thesis has it (table3.2), `title`, `section`; `needs` of the whole variant, `small_needs` of the
    small one; `small`: in words, what the small variant computes instead ("" where the whole one needs nothing)."""

    name: str
    title: str
    section: str
    run: Callable[[Context], Result]
    needs: tuple[Need, ...] = ()
    small: str = ""
    small_needs: tuple[Need, ...] = ()

    def wants(self, context: Context) -> tuple[Need, ...]:
        """The needs of the context's variant."""
        return self.small_needs if context.small and self.small else self.needs

    def missing(self, context: Context) -> dict[Need, str]:
        """Those that are not there, and why in words."""
        reasons = {need: need.lacking(context) for need in self.wants(context)}
        return {need: reason for need, reason in reasons.items() if reason}


NOT_COMPUTED: Mapping[str, str] = {
    **dict.fromkeys(("fig2.4", "fig2.6"), "not in the text at hand"),
    **dict.fromkeys(("fig3.1", "fig3.2", "fig3.3", "fig4.1", "fig4.2"), "a drawing"),
    "fig3.7": "scores that others posted on VOC's leaderboard, which is not at hand",
}
"""Figures of the thesis that are no experiment, and why."""

_registry: dict[str, Experiment] = {}


def experiment(
    name: str, title: str, section: str, needs: Sequence[Need] = (), small: str = "", small_needs: Sequence[Need] = ()
) -> Callable[[Callable[[Context], Result]], Callable[[Context], Result]]:
    """Decorator that registers the function which runs an experiment."""

    def add(run: Callable[[Context], Result]) -> Callable[[Context], Result]:
        _registry[name] = Experiment(name, title, section, run, tuple(needs), small, tuple(small_needs))
        return run

    return add


def experiments() -> dict[str, Experiment]:
    """Every experiment by name, in the order of the thesis; imports the modules of this folder once."""
    from tools import experiments as package

    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    return dict(sorted(_registry.items(), key=lambda item: _place(item[1])))


def _place(entry: Experiment) -> tuple[Any, ...]:
    return tuple(int(part) if part.isdigit() else 0 for part in entry.section.split(".")), entry.name


def find(names: Sequence[str]) -> list[Experiment]:
    """The experiments of these names; "all" and "chapter3" stand for several.  Raises RunError with the names."""
    known = experiments()
    chosen: dict[str, Experiment] = {}
    for name in names:
        group = [e for e in known.values() if name == "all" or f"chapter{e.section.split('.')[0]}" == name]
        if name in known:
            group = [known[name]]
        if name in NOT_COMPUTED:
            raise RunError(f"{name} is not computed: {NOT_COMPUTED[name]}",
                           help="`python tools/reproduce.py list` shows what is")
        if not group:
            raise RunError("no such experiment", found=name, expected=", ".join(known),
                           help="`python tools/reproduce.py list` shows them; all and chapter3 name several")
        chosen.update({e.name: e for e in group})
    return list(chosen.values())


def folder_for(root: str | os.PathLike[str], name: str, small: bool) -> Path:
    """Where an experiment keeps its files: <root>/<name> or <root>/<name>-small."""
    return Path(root) / (f"{name}-small" if small else name)
