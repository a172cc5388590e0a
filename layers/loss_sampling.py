"""The loss on a random sample of its terms: labels of dropped cells become 255 (thesis 3.2.4, 3.3.8, 3.3.9).

    layer {
      name: "sample"  type: "Python"  bottom: "label"  top: "label_sampled"
      python_param {
        module: "layers.loss_sampling"  layer: "LossSampling"  param_str: "{'p': 0.5, 'cell': 32, 'seed': 1337}"
      }
    }

`prototxt.sampling.sampled` puts it before the losses of a net.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import caffe
from halide_kernels import backend, loss_sampling
from layers.errors import LayerError
from layers.parameters import Reader, read_params


class LossSampling(caffe.Layer):
    """Labels (N x 1 x H x W: classes, 255 for void) in and out; in phase TEST they pass unchanged.

    Keys of param_str: `p` (needed), the probability that a cell keeps its labels; `cell`, its side in pixels (1: each
    pixel for itself), which for patches is the stride of the final layer. With a second bottom (N x C x h x w, such as
    the coarse scores), its h x w places share out the image in place of `cell`. `seed` (0).
    `class_p`: a list or {class: probability} that multiplies p for pixels of these classes (others: 1), to balance
    classes by sampling. The pixel's own label counts and the random number stays the cell's, so within a cell a rarer
    class is kept wherever a commoner one is.

    The random numbers depend on the seed, the number of the pass and the place alone: every back end draws the same,
    and a snapshot keeps the number. Solvers that train together draw each their own.
    """

    def setup(self, bottom: Sequence[Any], top: Sequence[Any]) -> None:
        name = getattr(self, "name", "") or type(self).__name__   # BVLC Caffe's Python layers do not know theirs
        params = read_params(self.param_str, name, ("p", "cell", "seed", "class_p"), ("p",))
        read = Reader(params, name)
        self.cell, self.seed = read.whole("cell", 1, 1), read.whole("seed", 0, 0)
        self.keep = loss_sampling.probabilities(read.probability("p"), read.probabilities("class_p"))
        if len(bottom) not in (1, 2) or len(top) != 1:
            raise LayerError("labels go in and out, and a second bottom may say into how many cells they are cut",
                             layer=name, found=f"{len(bottom)} bottoms, {len(top)} tops", expected="1 or 2, and 1",
                             help='bottom: "label" top: "label_sampled"')
        if len(bottom) == 2 and "cell" in params:
            raise LayerError("the cells are given twice", layer=name, found="'cell' and a second bottom",
                             help="remove one of them")
        self._count, self._said = 0, False
        self._rank = getattr(caffe, "solver_rank", lambda: 0)()
        self._ranks = max(1, getattr(caffe, "solver_count", lambda: 1)())

    def reshape(self, bottom: Sequence[Any], top: Sequence[Any]) -> None:
        top[0].reshape(*bottom[0].data.shape)

    def forward(self, bottom: Sequence[Any], top: Sequence[Any]) -> None:
        """Copy the labels that are kept, and 255 for the others."""
        labels, out = backend.arrays(bottom[0], top[0])
        if self.phase == caffe.TEST:
            out[...] = labels
            return
        height, width = labels.shape[-2:]
        if len(bottom) == 2:
            h, w = bottom[1].data.shape[-2:]
            rows, cols = np.arange(height) * h // height, np.arange(width) * w // width
        else:
            rows, cols = np.arange(height) // self.cell, np.arange(width) // self.cell
        said = loss_sampling.sample(
            labels.reshape(-1, height, width), rows.astype(np.uint32), cols.astype(np.uint32), self.keep,
            loss_sampling.key(self.seed, self._count * self._ranks + self._rank), out.reshape(-1, height, width),
        )
        self._count += 1
        if not self._said:
            getattr(caffe, "log", print)(f"loss sampling runs on {said}")
            self._said = True

    def backward(self, top: Sequence[Any], propagate_down: Sequence[bool], bottom: Sequence[Any]) -> None:
        """Nothing: labels have no gradient."""

    def get_state(self) -> dict[str, Any]:
        """The number of passes, from which a resumed run draws on."""
        return {"passes": self._count, "seed": self.seed}

    def set_state(self, state: dict[str, Any]) -> None:
        self._count, self.seed = int(state["passes"]), int(state["seed"])
