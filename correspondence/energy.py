"""The energy of an alignment of two grids of features, and four ways to make it small (thesis 2.2).

Node p of the source's grid takes a displacement w(p), in steps of the grid as (rows, columns), out of a square window
of whole steps around a centre of its own:

    E(w) = sum over p of |f_s(p) - f_t(p + w(p))| + beta * sum over 4-neighbours p, q of |w(p) - w(q)|^2

The first sum is the data term, the second, with its beta, the deformation. Displacements that leave the target's grid
are not allowed. A labelling is an array of int, H x W: the number of the window's displacement, row by row.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from correspondence.errors import DataError
from halide_kernels import min_sum

BETA = 3e-3   # "from validation experiments", for conv4 and SIFT alike (thesis 2.2)
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Energy:
    """`data`: float32, H x W x L x L, of label (i, j), the displacement centre + (i, j) - (L - 1) / 2; infinite for one
    that leaves the target.  `centres`: float32, H x W x 2."""

    data: NDArray[np.float32]
    centres: NDArray[np.float32]
    beta: float = BETA

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the source's grid."""
        return self.data.shape[0], self.data.shape[1]

    @cached_property
    def steps(self) -> NDArray[np.float64]:
        """Each label's displacement from the centre, labels x 2."""
        size = self.data.shape[2], self.data.shape[3]
        return (np.moveaxis(np.indices(size), 0, -1) - (np.array(size) - 1) / 2).reshape(-1, 2)

    @cached_property
    def costs(self) -> NDArray[np.float64]:
        """`data`, H x W x labels."""
        return self.data.reshape(*self.shape, -1).astype(np.float64)

    def displacement(self, labels: Labels) -> NDArray[np.float64]:
        """w, H x W x 2, in steps as (rows, columns)."""
        return self.centres + self.steps[labels]

    def data_term(self, labels: Labels) -> float:
        """How far the matched features are apart, summed."""
        return float(np.take_along_axis(self.costs, labels[..., None], 2).sum())

    def deformation(self, labels: Labels) -> float:
        """What the displacements' differences cost."""
        return self.beta * roughness(self.displacement(labels))

    def total(self, labels: Labels) -> float:
        """E(w)."""
        return self.data_term(labels) + self.deformation(labels)


def roughness(displacement: NDArray[Any]) -> float:
    """The sum of squared differences of neighbours' displacements, H x W x 2."""
    return float(sum(np.sum(np.diff(displacement, axis=axis) ** 2) for axis in (0, 1)))


def between(
    source: NDArray[Any], target: NDArray[Any], radius: int, beta: float = BETA, centres: NDArray[Any] | None = None
) -> Energy:
    """The energy of aligning features H x W x C with others, of as many channels on a grid of any size.

    Windows reach `radius` steps from their centres, which are whole numbers, H x W x 2; None: no displacement.  Centres
    that leave the target are moved to its border, so that every node has a label.  Raises DataError.
    """
    if source.ndim != 3 or target.ndim != 3 or source.shape[2] != target.shape[2]:
        raise DataError("features of two nets or layers cannot be aligned", found=f"{source.shape} and {target.shape}",
                        expected="H x W x C twice, C the same", help="take both from one layer")
    (height, width), limits = source.shape[:2], np.array(target.shape[:2])
    places = np.moveaxis(np.indices((height, width)), 0, -1)
    centres = np.zeros_like(places) if centres is None else np.rint(centres).astype(np.int64)
    centres = np.clip(places + centres, 0, limits - 1) - places
    window = np.arange(-radius, radius + 1)
    flat = np.asarray(target, np.float64).reshape(-1, target.shape[2])
    data = np.empty((height, width, len(window), len(window)), np.float32)
    for y in range(height):   # a row of nodes at a time: the distances of all pairs may not fit
        row = np.asarray(source[y], np.float64)
        squared = (row**2).sum(1)[:, None] + (flat**2).sum(1) - 2 * row @ flat.T
        down = (y + centres[y, :, :1] + window)[:, :, None]
        across = (np.arange(width)[:, None] + centres[y, :, 1:] + window)[:, None]
        there = (down >= 0) & (down < limits[0]) & (across >= 0) & (across < limits[1])
        index = np.clip(down, 0, limits[0] - 1) * limits[1] + np.clip(across, 0, limits[1] - 1)
        found = np.sqrt(np.maximum(np.take_along_axis(squared, index.reshape(width, -1), 1), 0)).reshape(index.shape)
        data[y] = np.where(there, found, np.inf)
    return Energy(data, centres.astype(np.float32), beta)


def independent(energy: Energy) -> Labels:
    """The nearest feature for each node by itself; ties go to the smaller displacement from the centre."""
    order = np.argsort((energy.steps**2).sum(1), kind="stable")
    return np.asarray(order[np.argmin(energy.costs[:, :, order], axis=2)], np.int64)


def icm(energy: Energy, start: Labels | None = None, sweeps: int = 100) -> Labels:
    """Iterated conditional modes: each node takes its best label given its neighbours', until none changes.

    The nodes of a chequerboard's colour change together, so that the energy never rises.
    """
    labels = independent(energy) if start is None else start.copy()
    colour = np.add.outer(*map(np.arange, energy.shape)) % 2
    for _ in range(sweeps):
        before = labels.copy()
        for each in (0, 1):
            labels = np.where(colour == each, np.argmin(_given_neighbours(energy, labels), axis=2), labels)
        if (labels == before).all():
            break
    return labels


def _given_neighbours(energy: Energy, labels: Labels) -> NDArray[np.float64]:
    """What each label of each node costs if the neighbours have theirs, H x W x labels."""
    w = np.pad(energy.displacement(labels), ((1, 1), (1, 1), (0, 0)))
    there = np.pad(np.ones(energy.shape), 1)
    costs = energy.costs.copy()
    for dy, dx in min_sum.STEPS:
        near = np.s_[1 + dy : w.shape[0] - 1 + dy, 1 + dx : w.shape[1] - 1 + dx]
        away = (energy.centres - w[near])[:, :, None] + energy.steps
        costs += energy.beta * there[near][..., None] * (away**2).sum(3)
    return costs


def brute_force(energy: Energy) -> Labels:
    """The least of all labellings, by trying each.  Raises DataError above a million of them."""
    nodes, count = energy.shape[0] * energy.shape[1], energy.costs.shape[2]
    if count**nodes > 1_000_000:
        raise DataError("so many labellings cannot be tried", found=f"{count}^{nodes}", expected="at most 1000000",
                        help="use belief_propagation")
    every = np.stack(np.unravel_index(np.arange(count**nodes), [count] * nodes)).reshape(*energy.shape, -1)
    w = energy.centres[:, :, None] + energy.steps[every]
    total = np.take_along_axis(energy.costs, every, 2).sum((0, 1))
    for axis in (0, 1):
        total += energy.beta * (np.diff(w, axis=axis) ** 2).sum((0, 1, 3))
    return np.asarray(every[:, :, np.argmin(total)], np.int64)


def belief_propagation(energy: Energy, sweeps: int = 50, levels: int = 1) -> Labels:
    """Min-sum belief propagation: exact on chains and in practice near the minimum on grids.

    `levels`: above 1, messages begin as those of a grid of half as many rows and columns, whose nodes are blocks of
    2 x 2 that move together, and so on (Felzenszwalb and Huttenlocher, 2006, 3.3); all nodes must have one centre.
    Labels are read from the messages every tenth sweep, and the best of them returned; `sweeps` is the most there are,
    fewer where the labels no longer change.
    """
    messages = _coarse_messages(energy, sweeps, levels)
    best, least = labels, total = independent(energy), np.inf
    for done in range(0, sweeps, 10):
        messages, _ = min_sum.pass_messages(energy.data, energy.beta, min(10, sweeps - done), energy.centres, messages)
        before, labels = labels, decode(energy, messages)
        if (labels == before).all():
            break
        total = energy.total(labels)
        if total < least:
            best, least = labels, total
    return best


def decode(energy: Energy, messages: NDArray[np.float32]) -> Labels:
    """Labels, diagonal by diagonal: each the best given the labels above and left, and what came from below and right.

    So nodes with several best labels choose them together, and on a chain the labels have the least energy also then.
    """
    height, width = energy.shape
    labels = np.zeros(energy.shape, np.int64)
    own = energy.costs + messages[1].reshape(energy.costs.shape) + messages[3].reshape(energy.costs.shape)
    for diagonal in range(height + width - 1):
        y = np.arange(max(0, diagonal - width + 1), min(height, diagonal + 1))
        x = diagonal - y
        costs = own[y, x]
        for b, a in ((y - 1, x), (y, x - 1)):
            there = (b >= 0) & (a >= 0)
            near = energy.centres[b, a] + energy.steps[labels[b, a]]
            away = (energy.centres[y, x] - near)[:, None] + energy.steps
            costs = costs + energy.beta * there[:, None] * (away**2).sum(2)
        labels[y, x] = np.argmin(costs, axis=1)
    return labels


def _coarse_messages(energy: Energy, sweeps: int, levels: int) -> NDArray[np.float32] | None:
    """What the level of blocks of 2 x 2 received, for each node of the block; None without one."""
    height, width = energy.shape
    if levels <= 1 or min(height, width) < 2:
        return None
    if np.ptp(energy.centres, axis=(0, 1)).any():
        raise DataError("blocks of nodes with different centres have no common labels", help="use levels=1")
    even = np.pad(energy.data, ((0, height % 2), (0, width % 2), (0, 0), (0, 0)))   # what is beyond costs nothing
    blocks = even.reshape(even.shape[0] // 2, 2, even.shape[1] // 2, 2, *even.shape[2:]).sum((1, 3))
    coarse = Energy(blocks, energy.centres[::2, ::2], energy.beta)
    start = _coarse_messages(coarse, sweeps, levels - 1)
    messages, _ = min_sum.pass_messages(coarse.data, coarse.beta, sweeps, coarse.centres, start)
    fine = np.repeat(np.repeat(messages, 2, axis=1), 2, axis=2)[:, :height, :width].copy()
    for d, border in enumerate((np.s_[:1], np.s_[-1:], np.s_[:, :1], np.s_[:, -1:])):
        fine[d][border] = 0   # from where there is no neighbour
    return fine
