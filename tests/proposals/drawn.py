"""Planes and objects drawn at random: whole logits, so that sums are exact and no pixel hangs on rounding."""

import numpy as np
from hypothesis import strategies as st

from data.coco import Instance
from halide_kernels import rle
from halide_kernels.nms import Pathway
from proposals.plane import Plane


def an_instance(mask, area, crowd=False, id=0):
    return Instance(mask, float(area), bool(crowd), id, 1)


def whole_mask(plane, y, x, height, width):
    """The definition: the mask of a region by its kernel's reference."""
    top, left = plane.place.top + y * plane.place.stride, plane.place.left + x * plane.place.stride
    return rle.whole_mask(plane.region(y, x), top, left, plane.place.cell, height, width)


def random_plane(numbers, name, scores=True):
    """A pathway of any geometry, some windows outside the picture; some regions are empty, some full."""
    side, cell, stride = (int(n) for n in (numbers.integers(1, 6), numbers.integers(1, 6), numbers.integers(1, 7)))
    grid = tuple(numbers.integers(1, 6, 2))
    place = Pathway(*(int(n) for n in numbers.integers(-12, 8, 2)), stride, cell, side)
    cells = numbers.integers(-3, 4, (side * side, *grid)) + numbers.integers(-3, 4, grid)
    score = numbers.integers(0, 5, grid) if scores else np.zeros(grid)   # whole: they tie often
    return Plane(name, place, cells.astype(np.float32), score.astype(np.float32))


def random_objects(numbers, height, width, count, disjoint=False, crowd=0.0):
    """Boxes with holes; those that are `disjoint` hide each other, and may be left with no pixel."""
    taken, found = np.zeros((height, width), bool), []
    for n in range(count):
        mask = np.zeros((height, width), bool)
        y, x = numbers.integers(0, height), numbers.integers(0, width)
        mask[y:y + numbers.integers(1, 12), x:x + numbers.integers(1, 12)] = True
        mask &= numbers.random((height, width)) < numbers.choice([0.7, 1])
        if disjoint:
            mask &= ~taken
            taken |= mask
        found.append(an_instance(mask, mask.sum(), numbers.random() < crowd, n))
    return found


@st.composite
def pictures(draw, disjoint=False, crowd=0.0, largest=4):
    """Planes and instances of one small picture."""
    numbers = np.random.default_rng(draw(st.integers(0, 2**32)))
    height, width = draw(st.integers(1, 24)), draw(st.integers(1, 24))
    planes = [random_plane(numbers, f"plane{n}") for n in range(draw(st.integers(1, 3)))]
    return planes, random_objects(numbers, height, width, draw(st.integers(1, largest)), disjoint, crowd)
