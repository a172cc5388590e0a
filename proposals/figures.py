"""Figures 4.3 to 4.8 of the thesis as PNG or PDF files, whichever the file's name says, drawn with matplotlib."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.coco import Instance
from proposals.errors import DataError
from proposals.overlap import Best
from proposals.pictures import best_masks, best_matches, block_norms, colours, over, plane_picture, tiled
from proposals.plane import Plane
from proposals.propose import Proposal
from proposals.recall import Objects, by_pathway

Path = str | os.PathLike[str]


def _figure(width: float, height: float) -> Any:
    """A figure without a window or global state.  Raises DataError where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError as problem:
        raise DataError("figures need matplotlib, which is not installed",
                        help="pip install 'caffe-lungo[tools]', or: pip install matplotlib") from problem
    return Figure(figsize=(width, height), layout="constrained")


def _shown(axes: Any, picture: NDArray[np.uint8], title: str) -> None:
    axes.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="antialiased")
    axes.set_title(title, fontsize=10)
    axes.set_axis_off()
    axes.set_anchor("N")


def planes_figure(path: Path, planes: Sequence[Plane], image: NDArray[np.uint8] | None = None) -> None:
    """Figure 4.5: the regions of all planes arranged by their places, beside the image."""
    pictures = [] if image is None else [(image, "image")]
    for plane in planes:
        rows, columns = plane.grid
        pictures.append((plane_picture(plane), f"{plane.name}: {rows} x {columns} regions of {plane.place.window} px"))
    across = min(len(pictures), 3)
    down = -(-len(pictures) // across)
    shape = pictures[0][0].shape
    figure = _figure(5 * across, (5 * shape[0] / shape[1] + 0.3) * down)
    places = figure.subplots(down, across, squeeze=False).ravel()
    for axes in places:
        axes.set_axis_off()
    for axes, (picture, title) in zip(places, pictures, strict=False):
        _shown(axes, picture, title)
        axes.add_patch(_frame(picture))
    figure.savefig(path, dpi=140)


def _frame(picture: NDArray[Any]) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((-0.5, -0.5), picture.shape[1], picture.shape[0], fill=False, edgecolor="0.6", linewidth=0.8)


def proposals_figure(path: Path, image: NDArray[np.uint8], planes: Sequence[Plane], proposals: Sequence[Proposal],
                     most: int = 20) -> None:
    """The best `most` proposals over the image, the larger ones with their scores."""
    height, width = image.shape[:2]
    some = proposals[:most]
    masks = [planes[one.plane].mask(one.y, one.x, height, width) for one in some]
    figure = _figure(9, 9 * height / width + 0.3)
    axes = figure.subplots()
    _shown(axes, over(image, masks, alpha=0.35), f"the best {len(some)} of {len(proposals)} proposals")
    for mask, one in zip(masks, some, strict=True):
        _label(axes, mask, f"{one.score:.2f}")
    figure.savefig(path, dpi=110)


def matches_figure(path: Path, pictures: Sequence[tuple[NDArray[np.uint8], Sequence[Plane], Sequence[Instance], Best]],
                   ) -> None:
    """Figures 4.7 and 4.8: a row for each picture: ground truth, and the best region of each object, the larger ones
    with their I/U.

    `pictures`: image (h x w x 3), planes, instances, and what `overlap.best_overlaps` gives for these."""
    if not pictures:
        raise DataError("there is no picture to draw", help="give at least one")
    figure = _figure(12, sum(6 * image.shape[0] / image.shape[1] for image, *_ in pictures) + 0.3)
    rows = figure.subplots(len(pictures), 2, squeeze=False,
                           height_ratios=[image.shape[0] / image.shape[1] for image, *_ in pictures])
    for n, (image, planes, instances, best) in enumerate(pictures):
        for axes, picture, title in zip(rows[n], best_matches(image, planes, instances, best),
                                        ("ground truth", "best regions, with I/U"), strict=True):
            _shown(axes, picture, title if n == 0 else "")
        for mask, value in zip(best_masks(planes, best, *image.shape[:2]), best.overlap, strict=True):
            _label(rows[n][1], mask, f"{value:.2f}")
    figure.savefig(path, dpi=110)


def _label(axes: Any, mask: NDArray[np.bool_], text: str) -> None:
    """Text at the pixel of a mask that is nearest to its middle; none on a mask that the text would hide."""
    y, x = np.nonzero(mask)
    if len(y) >= 24**2:
        n = np.hypot(y - y.mean(), x - x.mean()).argmin()
        axes.text(x[n], y[n], text, fontsize=7, color="white", ha="center", va="center",
                  bbox={"facecolor": "black", "alpha": 0.6, "linewidth": 0, "boxstyle": "round,pad=0.15"})


def sizes_figure(path: Path, objects: Objects, names: Sequence[str], edges: Sequence[float] | None = None) -> None:
    """Figure 4.6: objects by size, as a blue outline, and those found at I/U 0.5 (above) and 0.7 (below), stacked by
    the pathway of the best region; `names` of the planes.  Edges of bins: 10 pixels apart, if none are given."""
    if edges is None:
        edges = [float(edge) for edge in np.arange(0, max(objects.size.max(initial=0), 1) + 10, 10)]
    figure = _figure(8, 7)
    shades = [tuple(colour) for colour in _shades(len(names))]
    for axes, threshold in zip(figure.subplots(2, 1, sharex=True, sharey=True), (0.5, 0.7), strict=True):
        truth, found = by_pathway(objects, len(names), edges, threshold)
        base = np.zeros(len(truth))
        for name, shade, line in zip(names, shades, found, strict=True):
            axes.stairs(base + line, edges, baseline=base, fill=True, color=shade, label=f"{name}: {line.sum()}")
            base = base + line
        axes.stairs(truth, edges, color="blue", linewidth=1.5, label=f"ground truth: {truth.sum()}")
        axes.set_ylabel("objects")
        axes.set_title(f"found at I/U of at least {threshold}: {found.sum()}", fontsize=10)
        axes.legend(fontsize=8)
    axes.set_xlabel("square root of the area (pixels)")
    figure.savefig(path, dpi=110)


def _shades(count: int) -> NDArray[np.float64]:
    from matplotlib import colormaps

    return np.asarray(colormaps["viridis"](np.linspace(0.95, 0.15, count)))


def weights_figure(path: Path, weights: Any) -> None:
    """Figure 4.3: (a) the norms of the weights (R*R x C x k x k) of each output cell, (b) of the differences of
    vertical neighbours, each with its own greatest value white."""
    figure = _figure(12, 6.3)
    for axes, title, differences in zip(figure.subplots(1, 2), ("(a) L1 norms: a block for each output cell",
                                        "(b) of differences of vertical neighbours"), (False, True), strict=True):
        _shown(axes, tiled(block_norms(weights, differences)), title)
    figure.savefig(path, dpi=160)


def density_figure(path: Path, tables: Mapping[str, Mapping[int, Mapping[str, float]]], lowest: int = 2) -> None:
    """The curves of Table 4.2: measures against the lowest stride.  `tables`: what `recall.density_table` gives, for
    each net by its name; `lowest`: the lowest stride of the nets, in pixels."""
    figure = _figure(11, 3.6)
    steps = sorted({step for table in tables.values() for step in table})
    for axes, measure in zip(figure.subplots(1, 4), ("R@50", "R@70", "ABO", "AR"), strict=True):
        for (name, table), colour in zip(tables.items(), colours(len(tables)) / 255, strict=True):
            own = sorted(table)
            axes.plot([step * lowest for step in own], [100 * table[step][measure] for step in own], "o-", color=colour,
                      label=name, markersize=4)
        axes.set_title(f"{measure} (%)", fontsize=10)
        axes.set_xscale("log")
        axes.set_xticks([step * lowest for step in steps], [str(step * lowest) for step in steps])
        axes.minorticks_off()
        axes.set_xlabel("stride at lowest layer (px)")
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.25)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=len(tables), fontsize=8)
    figure.savefig(path, dpi=110)


def ablation_figure(path: Path, values: Mapping[str, Sequence[float]], measure: str) -> None:
    """Figure 4.4: a bar for each net, the mean over its seeds; a dot for each seed, and a line from least to greatest.

    `values`: by net, 0..1, one for each seed; `measure`: their name."""
    figure = _figure(1.2 + 1.4 * len(values), 3.8)
    axes = figure.subplots()
    for n, (colour, given) in enumerate(zip(colours(len(values)) / 255, values.values(), strict=True)):
        found = 100 * np.asarray(given, float)
        axes.bar(n, found.mean(), color=colour, alpha=0.55, width=0.7)
        axes.vlines(n, found.min(), found.max(), color="black", linewidth=1)
        axes.plot(n + np.linspace(-0.12, 0.12, len(found)) * (len(found) > 1), found, "k.", markersize=5)
        axes.text(n, 0, f"{found.mean():.1f}", ha="center", va="bottom", fontsize=9)
    axes.set_xticks(range(len(values)), [name.replace(" ", "\n") for name in values], fontsize=9)
    axes.set_ylabel(f"{measure} (%)")
    axes.grid(axis="y", alpha=0.25)
    figure.savefig(path, dpi=110)
