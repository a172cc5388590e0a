"""Momentum against batch size (thesis 1.1.2): which pairs average gradients over equally many examples."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import NetError


def equivalent_momentum(momentum: float, batch: int, new_batch: int) -> float:
    """The momentum p' that with batches of k' = `new_batch` is similar to `momentum` p with batches of k = `batch`.

    p^(1/k) = p'^(1/k').  Raises NetError for a momentum outside [0, 1) or an empty batch.
    """
    if not 0 <= momentum < 1 or batch < 1 or new_batch < 1:
        raise NetError("no such momentum or batch", found=f"{momentum}, batches of {batch} and {new_batch}",
                       expected="a momentum in [0, 1) and batches of 1 or more", help="see thesis 1.1.2")
    return float(momentum ** (new_batch / batch))


def equivalent_rate(rate: float, momentum: float, batch: int, new_batch: int) -> float:
    """The learning rate to go with `equivalent_momentum`, for losses that are means over the batch (Caffe's iter_size).

    1.1.2 leaves it open. Each example moves the weights by rate / batch / (1 - momentum) times its gradient, over all
    updates that it has a part in; this is kept. Raises NetError as `equivalent_momentum`.
    """
    other = equivalent_momentum(momentum, batch, new_batch)
    return rate * new_batch / batch * (1 - other) / (1 - momentum)


def weight_of_example(age: ArrayLike, momentum: float, batch: int) -> NDArray[np.float64]:
    """p^floor(j/k): the weight in an update of the example seen `age` j examples before the newest (Figure 1.1)."""
    return np.power(float(momentum), np.floor_divide(np.asarray(age), batch))
