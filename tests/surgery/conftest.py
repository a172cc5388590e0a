"""Fixtures of the surgery tests: nets from a few lines of prototxt, with random weights."""

from collections.abc import Callable

import numpy as np
import pytest

import caffe


@pytest.fixture
def make_net(tmp_path) -> Callable:
    """make_net(layers, shape, seed): the TEST-phase net of an input `data` of `shape` and of `layers`, lines
    of "name type bottom" each followed by its fields, with random parameters; its file is `net.source`."""
    count = 0

    def make(layers: str, shape: tuple[int, ...], seed: int | None = 0):
        nonlocal count
        count += 1
        dims = " ".join(f"dim: {size}" for size in shape)
        shapes = f"input_param {{ shape {{ {dims} }} }}"
        lines = [f'layer {{ name: "data" type: "Input" top: "data" {shapes} }}']
        for line in layers.strip().splitlines():
            name, kind, bottom, *fields = line.split(maxsplit=3)
            bottoms = " ".join(f'bottom: "{b}"' for b in bottom.split(","))
            top = bottom if kind in ("ReLU", "Dropout") else name
            more = " ".join(fields)
            lines.append(f'layer {{ name: "{name}" type: "{kind}" {bottoms} top: "{top}" {more} }}')
        path = tmp_path / f"net{count}.prototxt"
        path.write_text("\n".join(lines))
        net = caffe.Net(str(path), caffe.TEST)
        net.source = path
        if seed is not None:
            draw = np.random.default_rng(seed)
            for blobs in net.params.values():
                for blob in blobs:
                    blob.data[...] = draw.normal(size=blob.data.shape)
        return net

    return make
