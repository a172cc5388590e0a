"""Pictures of segmentations: image, truth and prediction side by side, and the stages of a net in a grid."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from data.palette import colorize
from tools.errors import DataError

MARGIN = 6
CAPTION = 20
CELL = 256  # small images are enlarged to about this width: at 128 pixels a thin ring is hard to see


def spread(ids: Sequence[str], count: int) -> list[str]:
    """`count` of the ids, evenly spaced, first and last included; all of them if there are fewer."""
    if count <= 0:
        return []
    if len(ids) <= count:
        return list(ids)
    at = np.linspace(0, len(ids) - 1, count).round().astype(int)
    return [ids[i] for i in at]


def grid(rows: Sequence[Sequence[NDArray]], captions: Sequence[str],
         legend: Sequence[tuple[str, Sequence[int]]] = ()) -> NDArray[np.uint8]:
    """Pictures in rows under column captions, on white, as one RGB array.

    Each cell is H x W x 3 uint8; those of one row have one size, rows may differ.  `legend` is a list of
    (class name, RGB) drawn below.  Raises DataError when a row is ragged.
    """
    if not rows or any(len(row) != len(captions) for row in rows):
        raise DataError("a grid of pictures needs rows, and a picture for each caption in every row",
                        found=f"rows of {sorted({len(row) for row in rows})}",
                        expected=f"{len(captions)} pictures", help="give one array per column")
    cells = [[_enlarge(np.asarray(cell, dtype=np.uint8)) for cell in row] for row in rows]
    for row in cells:
        if len({cell.shape for cell in row}) != 1:
            raise DataError("pictures of one row differ in size", found=", ".join(str(c.shape) for c in row),
                            help="score predictions at the size of their image")
    widths = [max(row[i].shape[1] for row in cells) for i in range(len(captions))]
    width = sum(widths) + MARGIN * (len(widths) + 1)
    entries = _legend_lines(legend, width)
    height = CAPTION + sum(row[0].shape[0] + MARGIN for row in cells) + CAPTION * len(entries) + MARGIN
    canvas = Image.new("RGB", (width, height), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(13)
    x = MARGIN
    for caption, column in zip(captions, widths, strict=True):
        draw.text((x + column / 2, CAPTION / 2), caption, fill="black", font=font, anchor="mm")
        x += column + MARGIN
    y = CAPTION
    for row in cells:
        x = MARGIN
        for cell, column in zip(row, widths, strict=True):
            canvas.paste(Image.fromarray(cell), (x, y))
            x += column + MARGIN
        y += row[0].shape[0] + MARGIN
    for line in entries:
        x = MARGIN
        for name, colour, step in line:
            draw.rectangle((x, y + 4, x + 12, y + 16), fill=colour, outline="gray")
            draw.text((x + 18, y + CAPTION / 2), name, fill="black", font=font, anchor="lm")
            x += step
        y += CAPTION
    return np.asarray(canvas)


def side_by_side(image: NDArray, truth: NDArray, prediction: NDArray, palette: NDArray | None = None,
                 ) -> NDArray[np.uint8]:
    """One image (H x W x 3 RGB) with its labels and a prediction (H x W indices), captioned."""
    row = [image, colorize(truth, palette), colorize(prediction, palette)]
    return grid([row], ["image", "truth", "prediction"])


def class_legend(
    names: Sequence[str], palette: NDArray, void: int | None = 255
) -> list[tuple[str, list[int]]]:
    """(name, colour) of each class, and of void, for `grid`."""
    colours = np.asarray(palette)
    entries = [(name, [int(v) for v in colours[i]]) for i, name in enumerate(names)]
    if void is not None and void < len(colours):
        entries.append(("void", [int(v) for v in colours[void]]))
    return entries


def _enlarge(cell: NDArray[np.uint8]) -> NDArray[np.uint8]:
    factor = max(1, round(CELL / cell.shape[1]))
    return cell.repeat(factor, axis=0).repeat(factor, axis=1)


def _legend_lines(legend: Sequence[tuple[str, Sequence[int]]], width: int,
                  ) -> list[list[tuple[str, tuple[int, ...], int]]]:
    """The legend broken into lines that fit: (name, colour, pixels to the next entry)."""
    font = ImageFont.load_default(13)
    lines: list[list[tuple[str, tuple[int, ...], int]]] = []
    used = width
    for name, colour in legend:
        step = round(font.getlength(name)) + 34
        if used + step > width - MARGIN:
            lines.append([])
            used = MARGIN
        lines[-1].append((name, tuple(colour), step))
        used += step
    return lines


def save_labels(path: str | os.PathLike[str], rows: Sequence[Sequence[NDArray]], captions: Sequence[str],
                palette: NDArray | None = None) -> None:
    """Rows of labels (H x W indices) or pictures (H x W x 3) under captions, as a PNG."""
    drawn = [[cell if cell.ndim == 3 else colorize(cell, palette) for cell in row] for row in rows]
    Image.fromarray(grid(drawn, captions)).save(path)
