"""Upper bounds on the scores of predictions at a coarser stride (thesis 3.5): labels sampled down and up again."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tools.metrics import Confusion, Metrics


def coarsened(label: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """H x W labels as a prediction with one value per cell of `factor` pixels gives them at best.

    The value of a cell is that of its centre pixel (for even factors the one below and right of the centre, as
    far as the picture goes), and fills the cell.
    """
    height, width = label.shape
    rows, columns = (np.minimum(np.arange(n) // factor * factor + factor // 2, n - 1) for n in (height, width))
    return label[np.ix_(rows, columns)]


def upper_bound(dataset: Any, split: str, factor: int) -> Metrics:
    """The scores of the true labels of a split at a stride of `factor` pixels.

    A cell whose centre is void predicts nothing: its labelled pixels are missed, and no class is wrongly hit.
    """
    confusion = Confusion(len(dataset.classes), dataset.ignore)
    for picture in dataset.ids(split):
        label = dataset.label(picture)
        confusion.add(label, coarsened(label, factor), name=str(dataset.label_path(picture)))
    return confusion.metrics()
