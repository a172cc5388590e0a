"""A net from elsewhere: built as a caffe.Net, compared with its source on one input, and only then written."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import NetError, ShapeError
from ..files import atomic_path
from ..net import Net
from ..proto import text
from ..solvers.solver_nets import forward_only
from .check import TOLERANCE, _difference

SEED = 0


@dataclass
class Imported:
    """What an importer made.

    `definition`: the deploy net (`NetParameter`). `params`: for each layer its parameters' arrays. `inputs`: the
    seeded arrays that both sides were fed, by input blob. `expected`: the source's results by blob, in the order they
    are computed; those in `outputs` must agree, the others say where a difference begins. `notes`: what the user must
    know, such as preprocessing, one sentence each. `net`: the net, and `differences` (output: largest difference as a
    part of its largest magnitude), once `check` has run.
    """

    definition: Any
    params: Mapping[str, Sequence[np.ndarray]]
    inputs: Mapping[str, Any]
    expected: Mapping[str, np.ndarray]
    outputs: Sequence[str]
    notes: list[str] = field(default_factory=list)
    differences: dict[str, float] = field(default_factory=dict)
    net: Any = None

    def check(self) -> Imported:
        """Build the net and run it against the source. Raises NetError when an output differs by more than TOLERANCE
        of its largest magnitude, ShapeError when a parameter does not fit."""
        self.definition.state.phase = 1   # TEST
        self.net = net = Net.from_param(self.definition)
        self.definition.ClearField("state")
        forward_only(net)
        for layer, arrays in self.params.items():
            for blob, array in zip(net.params[layer], arrays, strict=True):
                if blob.data.shape != array.shape:
                    raise ShapeError("a parameter does not fit", layer=layer, found=array.shape,
                                     expected=blob.data.shape, help="the source file is inconsistent")
                blob.data[...] = array
        net.forward(**self.inputs)
        apart = {blob: _difference(net.blobs[blob].data, self.expected[blob])
                 for blob in self.expected if blob in net.blobs}
        self.differences = {name: apart[name] for name in self.outputs}
        if worst := [name for name, difference in self.differences.items() if not difference <= TOLERANCE]:
            ours, theirs = net.blobs[worst[0]].data.shape, self.expected[worst[0]].shape
            raise NetError(
                "the Caffe net does not compute what its source does; nothing was written",
                found=f"output {worst[0]!r} of shape {ours} for {theirs}, differing by {apart[worst[0]]:.2g} of the "
                      "largest magnitude", expected=f"at most {TOLERANCE:g}",
                help=f"the difference begins at blob {next(b for b in apart if not apart[b] <= TOLERANCE)!r}; "
                     "please report the file")
        return self

    def write(self, prefix: str | os.PathLike[str]) -> tuple[str, str]:
        """Write PREFIX.prototxt and PREFIX.caffemodel, both or neither, after `check`; returns the two paths."""
        names = f"{os.fspath(prefix)}.prototxt", f"{os.fspath(prefix)}.caffemodel"
        with atomic_path(names[0]) as definition, atomic_path(names[1]) as weights:
            text.write_prototxt(self.definition, definition)
            self.net.save(weights)
        return names
