"""The folder that a run leaves: where each file lies in it, and how a run is begun or taken up again.

    config.json     settings (what decides the result), and what it was made with
    nets/           the generated prototxts       log.txt     the engine's log
    curve.csv       training and val curve        plot.png    the same as a picture
    snapshots/      weights and solver states     scores.*    per finished stage: JSON, CSV, text
    predictions/    labels of pictured images     pictures/   side by side, and the stages compared
    report.html     all of it on one page
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

from tools.errors import RunError
from tools.score_files import to_json

_MARK = "config.json"


class RunFolder:
    """Paths and records of one run."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root)
        self.config = self.root / _MARK
        self.log = self.root / "log.txt"
        self.curve = self.root / "curve.csv"
        self.plot = self.root / "plot.png"
        self.report = self.root / "report.html"
        self.nets = self.root / "nets"
        self.snapshots = self.root / "snapshots"
        self.predictions = self.root / "predictions"
        self.pictures = self.root / "pictures"

    def scores(self, ending: str) -> Path:
        """scores.json, scores.csv or scores.txt."""
        return self.root / f"scores.{ending}"

    def net(self, stage: str, kind: str) -> Path:
        """The generated file of a stage; `kind` is train, val, deploy or solver."""
        return self.nets / f"{stage}-{kind}.prototxt"

    def weights(self, stage: str, iterations: int) -> Path:
        """The weights of a stage after so many iterations, as the solver's snapshots name them."""
        return self.snapshots / f"{stage}_iter_{iterations}.caffemodel"

    def prefix(self, stage: str) -> Path:
        """The solver's snapshot_prefix of a stage."""
        return self.snapshots / stage

    def states(self, stage: str) -> list[tuple[int, Path]]:
        """(iteration, solver state) of a stage's snapshots whose weights are there too, oldest first."""
        found = []
        pattern = re.compile(re.escape(stage) + r"_iter_(\d+)\.solverstate")
        for path in self.snapshots.glob(f"{stage}_iter_*.solverstate"):
            match = pattern.fullmatch(path.name)
            if match and path.with_suffix(".caffemodel").exists():
                found.append((int(match.group(1)), path))
        return sorted(found)

    def prune(self, stage: str, keep: int) -> None:
        """Delete all but the newest `keep` snapshots of a stage, with whatever files share their name."""
        states = self.states(stage)
        for _, state in states[: max(0, len(states) - keep)]:
            for path in self.snapshots.glob(state.stem + ".*"):
                path.unlink()

    def read_json(self, path: Path) -> Any:
        """The content of one of the folder's JSON files, or None where it does not exist."""
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as problem:
            raise RunError(f"cannot be read: {problem}", file=path,
                           help="the file is damaged; train again in another folder") from problem

    def read_config(self) -> dict[str, Any]:
        """config.json.  Raises RunError where there is none, or another program's."""
        config = self.read_json(self.config)
        if not isinstance(config, dict) or not {"settings", "made_with", "palette"} <= set(config):
            raise RunError("there is no run in this folder", file=self.root,
                           expected=f"a folder with the {_MARK} of a run",
                           help="give the folder that tools/solve.py wrote")
        return config

    def begin(self, settings: dict[str, Any], made_with: dict[str, Any], palette: list[list[int]],
              command: str = "") -> None:
        """Make the folder for a new run and write its config.

        `palette` is the RGB colours of the classes, kept for the tools that draw with the run's nets, `command`
        what was typed.  Raises RunError where a run lies already; one that failed before its first snapshot is
        replaced.
        """
        if self.config.exists():
            if self.scores("json").exists() or any(self.snapshots.glob("*")):
                raise RunError("this folder holds a run already", file=self.root,
                               help="add --resume to go on with it, choose another --out, or delete the folder")
            for path in (self.log, self.curve):
                path.unlink(missing_ok=True)
        elif self.root.exists() and (not self.root.is_dir() or any(self.root.iterdir())):
            raise RunError("the output folder is not an empty folder", file=self.root,
                           help="choose another --out: a run does not mix its files with others")
        self._make()
        config = {"command": command, "settings": settings, "made_with": made_with, "palette": palette}
        write(self.config, to_json(config))

    def resume(self, settings: dict[str, Any], made_with: dict[str, Any]) -> list[str]:
        """Check that a run with these settings lies here; returns how it was made differently, in words.

        Raises RunError that names each setting that differs: the run's stages would not belong together.
        """
        if not self.config.exists():
            raise RunError("there is no run to resume", file=self.root, expected=f"a folder with {_MARK}",
                           help="leave --resume out to begin a run, or give the folder of one as --out")
        before = self.read_config()
        changed = differences(before["settings"], settings)
        if changed:
            raise RunError("the run was begun with other settings:\n  " + "\n  ".join(changed),
                           file=self.config, help="repeat the run's own command (config.json has it), "
                           "or begin another run")
        self._make()
        return differences(before["made_with"], made_with)

    def _make(self) -> None:
        for folder in (self.nets, self.snapshots, self.predictions, self.pictures):
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as problem:
                raise RunError(f"cannot make the folder: {problem.strerror}", file=folder,
                               help="choose another --out, or mend its permissions") from problem


def differences(before: Any, now: Any, name: str = "") -> list[str]:
    """What differs between two JSON values, one line per entry: "iters.0: 100, now 200"."""
    if isinstance(before, dict) and isinstance(now, dict):
        lines = []
        for key in [*before, *(k for k in now if k not in before)]:
            lines += differences(before.get(key), now.get(key), f"{name}.{key}" if name else str(key))
        return lines
    if before == now:
        return []
    return [f"{name}: {json.dumps(before)}, now {json.dumps(now)}"]


def free_folder(base: Path) -> Path:
    """`base`, or base-2, base-3, ...: the first that does not exist."""
    if not base.exists():
        return base
    k = 2
    while base.with_name(f"{base.name}-{k}").exists():
        k += 1
    return base.with_name(f"{base.name}-{k}")


def sha256(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file, as hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
