"""caffe explain-crop NET: where the offset of each Crop layer comes from, layer by layer."""
from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from ..errors import NetError, nearest
from ..inspect import geometry
from ..proto import text
from ..proto.netfilter import PHASES, of_phase


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("net", help="a net's prototxt")
    parser.add_argument("--layer", help="only this Crop layer")
    parser.add_argument("--phase", choices=list(PHASES), default="TEST", help="the layers of this phase (TEST)")


def run(options: argparse.Namespace) -> int:
    found = explain(options.net, options.layer, options.phase)
    print("\n\n".join(describe(one) for one in found) or f"{options.net}: no Crop layers")
    return 0 if all(one.agrees for one in found) else 1


def explain(net: str, layer: str | None = None, phase: str = "TEST") -> list[geometry.CropDerivation]:
    """The derivations of the Crop layers of a net prototxt, or that of one `layer`. Raises ParseError, NetError."""
    parsed = text.load_net(net)
    found = geometry.derive_crops(of_phase(parsed.param, phase)[0])
    if layer is None:
        return found
    chosen = [one for one in found if one.layer == layer]
    if not chosen:
        raise NetError(f"there is no Crop layer '{layer}'", file=parsed.file,
                       expected=" or ".join(nearest(layer, [d.layer for d in found]) or [d.layer for d in found]),
                       help="give the name of a Crop layer")
    return chosen


def describe(one: geometry.CropDerivation) -> str:
    """The derivation as text: one line for each layer that moves or scales coordinates."""
    cropped, reference = one.bottoms
    lines = [f"Crop layer '{one.layer}': cuts '{cropped}' to the size of '{reference}'"]
    if one.common:
        for blob, steps in ((cropped, one.upper), (reference, one.reference)):
            lines += ["", f"  x in '{one.common}' is, in '{blob}', at"]
            lines += _table(steps) or ["    x"]
        lines += ["", f"  so i in '{cropped}' is, in '{reference}', at {_affine(one.scale, one.shift, 'i')}"]
    if one.problem:
        lines.append(f"  no offset: {one.problem} (written: {_join(one.written)})")
    else:
        lines.append(f"  offset {_join(one.offset)}; the prototxt says {_join(one.written)}: "
                     + ("they agree" if one.agrees else "THEY DISAGREE"))
    return "\n".join(lines)


def _table(steps: Sequence[geometry.Step]) -> list[str]:
    """Runs of layers that leave coordinates as they are take one line."""
    rows: list[tuple[str, str, str]] = []
    for unchanged, run in itertools.groupby(steps, lambda step: bool(
            np.all(np.asarray(step.own[1]) == 1) and np.all(np.asarray(step.own[2]) == 0))):
        if unchanged:
            names = [step.layer for step in run]
            rows.append((", ".join(names) if len(names) < 4 else f"{names[0]} ... {names[-1]}", "unchanged", ""))
        else:
            rows += [(f"{step.layer} ({step.type})", f"scale {_join(step.own[1])}, shift {_join(step.own[2])}",
                      _affine(step.total[1], step.total[2], "x")) for step in run]
    width = [max((len(row[i]) for row in rows), default=0) for i in (0, 1)]
    return [f"    {a:{width[0]}}  {b:{width[1]}}  {c}".rstrip() for a, b, c in rows]


def _affine(scale: Any, shift: Any, name: str) -> str:
    pairs = np.broadcast_arrays(np.atleast_1d(scale), np.atleast_1d(shift))
    return _joined([_one(a, b, name) for a, b in zip(*pairs, strict=True)])


def _one(scale: float, shift: float, name: str) -> str:
    factor, offset = _fraction(scale), _fraction(shift)
    out = name if factor == "1" else f"{factor} {name}"
    return out if offset == "0" else f"{out} - {offset[1:]}" if offset.startswith("-") else f"{out} + {offset}"


def _join(values: Any) -> str:
    flat: Iterable[float] = np.atleast_1d(values).tolist()
    return _joined([_fraction(v) for v in flat])


def _joined(words: list[str]) -> str:
    """One word where all axes agree."""
    return words[0] if len(set(words)) == 1 else ", ".join(words)


def _fraction(value: float) -> str:
    exact = Fraction(value).limit_denominator(4096)
    return str(exact) if abs(float(exact) - value) < 1e-9 * max(1.0, abs(value)) else f"{value:g}"
