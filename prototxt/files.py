"""The committed files: which there are, their text, writing them, and the proof that they are up to date."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from .regions import REGION_NETS, build_regions, region_solver
from .registry import NETS, PHASES, build, solver
from .solvers import recipes_of

FOLDER = Path(__file__).resolve().parent


def text(message: Any, *comments: str) -> str:
    """A message as prototxt, under comment lines."""
    # protobuf escapes ' although every string is in double quotes; param_str is easier to read without
    body = text_format.MessageToString(message).replace("\\'", "'")
    return "".join(f"# {line}\n" for line in comments) + body


def files() -> Iterator[tuple[Path, str]]:
    """Every generated file as (path, text).

    A net's usual recipe gives train, val, deploy and solver; another gives train_<recipe>, val_<recipe> and
    solver_<recipe> (the deploy net is the same).  Paths inside the solvers start at the repository's root.
    """
    for name in NETS:
        for index, recipe in enumerate(recipes_of(name)):
            suffix = f"_{recipe}" if index else ""
            made = f"{name}, recipe '{recipe}'; written by `python -m prototxt`: change prototxt/*.py"
            for phase in PHASES:
                if phase != "deploy" or not suffix:
                    path = FOLDER / name / f"{phase}{suffix}.prototxt"
                    yield path, text(build(name, phase, recipe=recipe), made)
            train, val = (f"prototxt/{name}/{phase}{suffix}.prototxt" for phase in ("train", "val"))
            message = solver(name, recipe, train, val, f"snapshot/{name}{suffix}")
            yield FOLDER / name / f"solver{suffix}.prototxt", text(
                message, made, "paths start at the repository's root; scoring is left to tools/score.py"
            )
    for name in REGION_NETS:
        made = f"{name}; written by `python -m prototxt`: change prototxt/regions.py"
        for phase in PHASES:
            yield FOLDER / name / f"{phase}.prototxt", text(build_regions(name, phase), made)
        train, val = (f"prototxt/{name}/{phase}.prototxt" for phase in ("train", "val"))
        message = region_solver(name, train, f"snapshot/{name}", test_net=[val], test_iter=[1])
        yield FOLDER / name / "solver.prototxt", text(
            message, made, "paths start at the repository's root; tools/regions.py also sets the matrices to identities"
        )


def write() -> list[Path]:
    """Write every file; returns their paths."""
    written = []
    for path, content in files():
        path.parent.mkdir(exist_ok=True)
        path.write_text(content, encoding="utf-8", newline="\n")
        written.append(path)
    return written


def check() -> list[Path]:
    """The files that are missing, differ from what the generators write, or that no generator writes."""
    expected = dict(files())
    differing = [
        path for path, content in expected.items()
        if not path.is_file() or path.read_bytes() != content.encode("utf-8")
    ]
    return differing + sorted(set(FOLDER.glob("*/*.prototxt")) - set(expected))
