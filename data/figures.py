"""The drawn data set `figures`: jointed figures in many poses with their keypoints, laid out as data/keypoints.py says.

Bipeds, quadrupeds, birds and bicycles of random colours, patterns, sizes and poses before cluttered grounds, some of
them partly covered.  So what needs PASCAL VOC's keypoints can be tried without it.

A figure is a list of parts (thick lines, disks and rings) in the order in which they are painted; a keypoint can be
seen where the part that is painted there belongs to it.  Drawing uses integers only, in units of 1/16 pixel.

    python -m data.figures [--out DIR] [--seed N]
"""

from __future__ import annotations

import math
import os
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data import drawn
from data.drawn import Draw, cloud
from data.keypoints import Instance, Keypoint
from data.shapes import grid, ground, tiles, waves

SIZE = 320
COUNTS = {"train": 120, "val": 60}
SEED = 2014
VERSION = 1   # of the drawing: another number makes `ensure` draw again

_UNIT = 16   # drawing units per pixel
_TURN = 256   # directions per full turn; 0 is right, 64 down, 192 up
_COS, _SIN = ([round(4096 * wave(2 * math.pi * t / _TURN)) for t in range(_TURN)] for wave in (math.cos, math.sin))
_SKIN = ((224, 188, 156), (176, 124, 90), (106, 72, 52), (236, 204, 178))
_DARK, _WHITE = (34, 32, 40), (238, 238, 232)

Place = tuple[int, int]   # x and y in drawing units
Colour = tuple[int, int, int]


@dataclass
class Figure:
    """A figure being put together: `height` in drawing units, parts, and keypoints with the parts they are on."""

    height: int
    parts: list[tuple[Place, Place, int, int, Colour, int]] = field(default_factory=list)
    keypoints: dict[str, tuple[Place, set[int]]] = field(default_factory=dict)

    def length(self, parts: int) -> int:
        """A length given in 64ths of the figure's height."""
        return self.height * parts // 64

    def step(self, start: Place, turn: int, length: int) -> Place:
        """The place `length` 64ths of the height away, in the direction `turn`."""
        reach = self.length(length)
        return start[0] + reach * _COS[turn % _TURN] // 4096, start[1] + reach * _SIN[turn % _TURN] // 4096

    def line(self, a: Place, b: Place, thick: int, colour: Colour, pattern: int = 0, hole: int = 0) -> int:
        """A thick line (`thick` is its half width in 128ths; with `hole`, a ring), and its number among the parts."""
        self.parts.append((a, b, self.height * thick // 128, self.height * hole // 128, colour, pattern))
        return len(self.parts) - 1

    def mark(self, name: str, at: Place, *parts: int) -> None:
        """A keypoint on any of these parts."""
        self.keypoints[name] = at, set(parts)


def _cloth(draw: Draw) -> Colour:
    return draw.between(30, 225), draw.between(30, 225), draw.between(30, 225)


def _darker(colour: Colour) -> Colour:
    red, green, blue = (c * 5 // 8 for c in colour)
    return red, green, blue


def biped(draw: Draw, height: int) -> Figure:
    """A person seen from the front."""
    f = Figure(height)
    skin, shirt, trousers, hair = _SKIN[draw.below(4)], _cloth(draw), _cloth(draw), _cloth(draw)
    weave, weft = draw.below(4), draw.below(4)
    hips, up = (0, 0), 192 + draw.between(-14, 14)
    neck = f.step(hips, up, 20)
    tilt = up + draw.between(-16, 16)
    head = f.step(neck, tilt, 9)
    for name, side in (("L", 1), ("R", -1)):   # the figure's own left is on the picture's right
        hip = f.step(hips, up + 64 * side, 4)
        turn = 64 - side * draw.between(-6, 30)
        knee = f.step(hip, turn, 14)
        foot = f.step(knee, turn + side * draw.between(-4, 24), 13)
        thigh, shin = f.line(hip, knee, 7, trousers, weft), f.line(knee, foot, 6, trousers, weft)
        shoe = f.line(foot, f.step(foot, 64 - 64 * side, 4), 5, _DARK)
        f.mark(f"{name}_Knee", knee, thigh, shin)
        f.mark(f"{name}_Foot", foot, shin, shoe)
    body = f.line(f.step(hips, up, 3), f.step(neck, up + 128, 5), 16, shirt, weave)
    for name, side in (("L", 1), ("R", -1)):
        shoulder = f.step(f.step(neck, up + 128, 3), up + 64 * side, 8)
        turn = 64 - side * draw.between(-10, 110)
        elbow = f.step(shoulder, turn, 11)
        hand = f.step(elbow, turn - side * draw.between(-60, 50), 10)
        arm, fore = f.line(shoulder, elbow, 6, shirt, weave), f.line(elbow, hand, 5, skin)
        palm = f.line(hand, hand, 7, skin)
        f.mark(f"{name}_Shoulder", shoulder, body, arm)
        f.mark(f"{name}_Elbow", elbow, arm, fore)
        f.mark(f"{name}_Hand", hand, fore, palm)
    crown = f.step(head, tilt, 3)
    cap = f.line(crown, crown, 13, hair)
    skull = f.line(f.step(head, tilt + 128, 1), f.step(head, tilt + 128, 1), 12, skin)
    for name, side in (("L", 1), ("R", -1)):
        eye = f.step(f.step(head, tilt, 1), tilt + 64 * side, 3)
        f.mark(f"{name}_Eye", eye, f.line(eye, eye, 3, _WHITE), f.line(eye, eye, 2, _DARK))
    nose = f.step(head, tilt + 128, 2)
    f.mark("Nose", nose, f.line(nose, f.step(nose, tilt, 1), 2, _darker(skin)))
    f.mark("Crown", f.step(head, tilt, 7), cap, skull)
    return f


def quadruped(draw: Draw, height: int) -> Figure:
    """An animal on four legs, seen from the side."""
    f = Figure(height)
    fur, pattern = _cloth(draw), draw.below(4)
    ahead, way = (0, 1) if draw.below(2) else (128, -1)
    near, far = ("R", "L") if way == 1 else ("L", "R")   # walking to the right it shows its right side
    pitch = ahead + way * draw.between(-8, 8)
    rump, chest = (0, 0), f.step((0, 0), pitch, 30)
    tail_turn = 192 - way * draw.between(10, 70)
    tail = f.step(f.step(rump, 192, 4), tail_turn, 16)
    tail_part = f.line(f.step(rump, 192, 4), tail, 3, fur, pattern)

    def legs(name: str, colour: Colour) -> None:
        for place, start in (("F", chest), ("B", rump)):
            turn = 64 + draw.between(-18, 18)
            knee = f.step(start, turn, 15)
            paw = f.step(knee, turn + way * draw.between(-4, 20) * (1 if place == "B" else -1), 13)
            upper, lower = f.line(start, knee, 7, colour, pattern), f.line(knee, paw, 5, colour, pattern)
            sole = f.line(paw, f.step(paw, ahead, 3), 5, _darker(colour))
            f.mark(f"{name}_{place}_Knee", knee, upper, lower)
            f.mark(f"{name}_{place}_Paw", paw, lower, sole)

    legs(far, _darker(fur))
    body = f.line(rump, chest, 16, fur, pattern)
    legs(near, fur)
    raised = 192 + way * draw.between(16, 52)
    poll = f.step(f.step(chest, 192, 2), raised, 14)
    neck = f.line(f.step(chest, 192, 2), poll, 9, fur, pattern)
    gaze = ahead + way * draw.between(0, 36)
    nose = f.step(poll, gaze, 12)
    ear = f.step(poll, 192 - way * draw.between(0, 24), 10)
    f.mark("Ear", ear, f.line(poll, ear, 4, _darker(fur)))
    head = f.line(poll, nose, 8, fur, pattern)
    eye = f.step(f.step(poll, gaze, 4), 192, 2)
    f.mark("Eye", eye, f.line(eye, eye, 3, _WHITE), f.line(eye, eye, 2, _DARK))
    f.mark("Nose", nose, head, f.line(nose, nose, 4, _DARK))
    f.mark("Withers", f.step(chest, 192, 6), body, neck)
    f.mark("TailBase", f.step(rump, 192, 4), body, tail_part)
    f.mark("TailTip", tail, tail_part)
    return f


def bird(draw: Draw, height: int) -> Figure:
    """A bird on its feet, seen from the side, one wing more or less raised."""
    f = Figure(height)
    down, wing_colour, bill, pattern = _cloth(draw), _cloth(draw), (224, draw.between(120, 190), 40), draw.below(4)
    ahead, way = (0, 1) if draw.below(2) else (128, -1)
    near, far = ("R", "L") if way == 1 else ("L", "R")
    pitch = ahead - way * draw.between(0, 30)
    back, breast = (0, 0), f.step((0, 0), pitch, 16)
    tail = f.step(back, pitch + 128 - way * draw.between(-14, 14), 20)
    plume = f.line(back, tail, 6, _darker(wing_colour), 1)
    for name, colour in ((far, _darker(bill)), (near, bill)):
        hip = f.step(f.step(back, pitch, 8), 64, 8)
        foot = f.step(hip, 64 + draw.between(-16, 16), 18)
        leg = f.line(hip, foot, 2, colour)
        f.mark(f"{name}_Foot", foot, leg, f.line(foot, f.step(foot, ahead, 6), 2, colour))
    body = f.line(back, breast, 22, down, pattern)
    head = f.step(breast, 192 + way * draw.between(0, 40), 16)
    gaze = ahead + way * draw.between(-20, 20)
    beak = f.step(head, gaze, 16)
    f.mark("Beak", beak, f.line(head, beak, 4, bill))
    neck = f.line(breast, head, 10, down, pattern)
    skull = f.line(head, head, 14, down)
    eye = f.step(f.step(head, gaze, 3), 192, 2)
    f.mark("Eye", eye, f.line(eye, eye, 4, _WHITE), f.line(eye, eye, 2, _DARK))
    f.mark("Crown", f.step(head, 192, 5), skull)
    shoulder = f.step(f.step(breast, 192, 2), ahead + 128, 4)
    tip = f.step(shoulder, ahead + 128 + way * draw.between(-24, 60), 26)
    wing = f.line(shoulder, tip, 9, wing_colour, 1 + draw.below(2))
    f.mark("WingBase", shoulder, wing)
    f.mark("WingTip", tip, wing)
    f.mark("Breast", f.step(breast, 64, 4), body, neck)
    f.mark("TailTip", tail, plume)
    return f


def bicycle(draw: Draw, height: int) -> Figure:
    """A bicycle from the side: one shape, turned a little."""
    f = Figure(height)
    frame, rubber = _cloth(draw), (draw.between(20, 70),) * 3
    ahead, way = (0, 1) if draw.below(2) else (128, -1)
    lean = way * draw.between(-10, 10)

    def at(forward: int, up: int) -> Place:
        return f.step(f.step((0, 0), ahead + lean, forward), 192 + lean, up)

    back, front, crank = at(-19, 0), at(21, 0), at(-1, -1)
    saddle, bar, fork = at(-7, 23), at(14, 26), at(13, 18)
    wheels = [f.line(hub, hub, 30, rubber, 0, 24) for hub in (back, front)]
    hubs = [f.line(hub, hub, 4, _DARK) for hub in (back, front)]
    tube = [f.line(a, b, 3, frame) for a, b in ((back, crank), (back, saddle), (crank, saddle), (crank, fork),
                                                (f.step(saddle, 64, 5), fork), (front, bar))]
    for name, hub, wheel, place in (("B", 0, 0, back), ("F", 1, 1, front)):
        f.mark(f"{name}_Hub", place, hubs[hub], *tube)
        f.mark(f"{name}_Wheel_Top", f.step(place, 192, 13), wheels[wheel], *tube)
    turn = draw.below(_TURN)
    f.mark("Crank", crank, f.line(crank, crank, 6, _DARK), *tube)
    for name, side in (("R", 0), ("L", 128)):
        pedal = f.step(crank, turn + side, 8)
        f.mark(f"{name}_Pedal", pedal, f.line(crank, pedal, 2, _DARK),
               f.line(f.step(pedal, ahead, 2), f.step(pedal, ahead + 128, 2), 2, _DARK))
    f.mark("Saddle", saddle, f.line(f.step(saddle, ahead, 4), f.step(saddle, ahead + 128, 4), 4, _DARK))
    f.mark("Handlebar", bar, f.line(bar, f.step(bar, ahead + way * 24, 6), 4, _DARK))
    return f


FIGURES: dict[str, Callable[[Draw, int], Figure]] = {
    "bicycle": bicycle, "biped": biped, "bird": bird, "quadruped": quadruped,
}


def _line(y: NDArray, x: NDArray, a: Place, b: Place) -> NDArray[np.int64]:
    """The squared distance of every pixel from a line, in drawing units."""
    along = (b[0] - a[0], b[1] - a[1])
    length = max(1, along[0] ** 2 + along[1] ** 2)
    share = np.clip(((x - a[0]) * along[0] + (y - a[1]) * along[1]) * 1024 // length, 0, 1024)
    distance = (x - a[0] - share * along[0] // 1024) ** 2 + (y - a[1] - share * along[1] // 1024) ** 2
    return np.asarray(distance, np.int64)


def _paint(
    draw: Draw, image: NDArray[np.int64], y: NDArray, x: NDArray, part: tuple[Place, Place, int, int, Colour, int]
) -> NDArray[np.bool_]:
    """Paint a part, darker towards its edges, with its pattern (0 none, 1 stripes, 2 fields, 3 spots); where it is."""
    a, b, reach, hole, colour, pattern = part
    low = [max(0, (min(a[axis], b[axis]) - reach) // _UNIT) for axis in (1, 0)]
    high = [max(0, (max(a[axis], b[axis]) + reach) // _UNIT + 1) for axis in (1, 0)]
    near = slice(low[0], high[0]), slice(low[1], high[1])   # all else is far from it
    y, x = y[near], x[near]
    mask = np.zeros(image.shape[:2], bool)
    distance = _line(y, x, a, b)
    mask[near] = inside = (distance <= reach**2) & (distance >= hole**2)
    surface = 12 - 40 * distance // max(1, reach**2)
    if pattern == 1:
        surface = surface + waves(draw, y, x, 5, 9, 34)
    elif pattern == 2:
        surface = surface + tiles(draw, y, x, 4, 7, 26)
    elif pattern == 3:
        surface = surface + cloud(draw, max(1, *y.shape), 8, 60)[: y.shape[0], : y.shape[1]]
    image[mask] = np.array(colour) + surface[inside][:, None]
    return mask


def render(seed: int, index: int, size: int = SIZE) -> tuple[NDArray[np.uint8], str, Instance]:
    """Picture number `index` of the set with `seed`: RGB size x size x 3, and the object in it, of no file."""
    draw = Draw(seed, index)
    y, x = grid(size)
    image = ground(draw, size, y, x)
    for _ in range(draw.between(3, 7)):   # clutter
        a = (draw.below(size) * _UNIT, draw.below(size) * _UNIT)
        b = (a[0] + draw.between(-60, 60) * _UNIT, a[1] + draw.between(-60, 60) * _UNIT)
        _paint(draw, image, y, x, (a, b, draw.between(3, 12) * _UNIT, 0, _cloth(draw), draw.below(4)))
    category = list(FIGURES)[index % len(FIGURES)]
    figure = FIGURES[category](draw, size * _UNIT * draw.between(45, 80) // 100)
    ends = np.array([place for part in figure.parts for place in part[:2]])
    shift = [(size * _UNIT - ends[:, axis].min() - ends[:, axis].max()) // 2
             + draw.between(-12, 12) * size // 100 * _UNIT for axis in (0, 1)]

    def moved(place: Place) -> Place:
        return int(place[0] + shift[0]), int(place[1] + shift[1])

    owner = np.full((size, size), -1)
    for number, (a, b, reach, hole, colour, pattern) in enumerate(figure.parts):
        owner[_paint(draw, image, y, x, (moved(a), moved(b), reach, hole, colour, pattern))] = number
    if draw.below(3) == 0:   # something before it
        a = moved(figure.parts[draw.below(len(figure.parts))][0])
        b = (a[0] + draw.between(-50, 50) * _UNIT, a[1] + draw.between(-50, 50) * _UNIT)
        owner[_paint(draw, image, y, x, (a, b, draw.between(8, 20) * _UNIT, 0, _cloth(draw), draw.below(4)))] = -2
    image += draw.field((size, size, 3), -10, 10)
    rows, columns = (np.flatnonzero((owner >= 0).any(axis=axis)) for axis in (1, 0))
    box = float(columns[0]), float(rows[0]), float(columns[-1]), float(rows[-1])
    keypoints = {}
    for name, (place, parts) in figure.keypoints.items():
        px, py = ((v - _UNIT // 2) / _UNIT for v in moved(place))
        inside = 0 <= round(px) < size and 0 <= round(py) < size
        keypoints[name] = Keypoint(px, py, bool(inside and owner[round(py), round(px)] in parts))
    return (np.clip(image, 0, 255).astype(np.uint8), category,
            Instance(f"figures_{index:06d}", category, Path(), box, keypoints))


def annotation(instance: Instance) -> str:
    """The text of an annotation file of data/keypoints.py."""
    root = ET.Element("annotation")
    for tag, text in (("image", instance.picture), ("voc_id", "1"), ("category", instance.category)):
        ET.SubElement(root, tag).text = text
    left, top, right, bottom = instance.box
    ET.SubElement(root, "visible_bounds", xmin=f"{left + 1:.2f}", ymin=f"{top + 1:.2f}", width=f"{right - left:.2f}",
                  height=f"{bottom - top:.2f}")
    points = ET.SubElement(root, "keypoints")
    for name, each in instance.keypoints.items():
        ET.SubElement(points, "keypoint", name=name, visible=str(int(each.visible)), x=f"{each.x + 1:.2f}",
                      y=f"{each.y + 1:.2f}", z="0.00")
    ET.indent(root, "\t")
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def write(
    folder: str | os.PathLike, seed: int = SEED, counts: dict[str, int] | None = None, size: int = SIZE
) -> Path:
    """Draw the set into `folder`; see `drawn.write`."""
    counts = COUNTS if counts is None else counts
    stamp = {"drawn_by": "data.figures", "version": VERSION, "seed": seed, "size": size, "counts": counts}
    return drawn.write(folder, stamp, lambda work: _write_into(work, seed, counts, size))


def _write_into(folder: Path, seed: int, counts: dict[str, int], size: int) -> None:
    images, lists = folder / "JPEGImages", folder / "ImageSets" / "Main"
    for part in (images, lists, *(folder / "annotations" / name for name in FIGURES)):
        part.mkdir(parents=True)
    splits = drawn.split_ids("figures", counts)
    everything = [picture for ids in splits.values() for picture in ids]
    for index, picture in enumerate(everything):
        image, category, instance = render(seed, index, size)
        Image.fromarray(image).save(images / f"{picture}.jpg", quality=95, subsampling=0)
        (folder / "annotations" / category / f"{picture}_1.xml").write_text(annotation(instance), encoding="utf-8")
    for split, ids in {**splits, "trainval": everything}.items():
        (lists / f"{split}.txt").write_text("".join(f"{picture}\n" for picture in ids))


def ensure(folder: str | os.PathLike) -> Path:
    """`folder` with the standard drawing in it: see `drawn.ensure`."""
    return drawn.ensure(folder, "figures", VERSION, write)


def main(arguments: list[str] | None = None) -> int:
    """`python -m data.figures`: draw the set and say where it is."""
    return drawn.command("figures", write, SEED, COUNTS, SIZE, arguments)


if __name__ == "__main__":
    raise SystemExit(main())
