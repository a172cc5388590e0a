"""Nets of one region loss, and pictures for it."""

import numpy as np

import caffe

NET = """
force_backward: true
layer {{ name: "{bottom}" type: "Input" top: "{bottom}" input_param {{ shape {{ {scores} }} }} }}
layer {{ name: "instances" type: "Input" top: "instances" input_param {{ shape {{ {labels} }} }} }}
layer {{ name: "loss" type: "Python" bottom: "{bottom}" bottom: "instances" top: "loss" loss_weight: {weight}
  python_param {{ module: "layers.{module}" layer: "{layer}" param_str: "{params}" }} }}
"""


def loss_net(folder, module, layer, bottom, params, scores, labels=(2, 1, 12, 15), weight=1):
    """The net of layers.<module>.<layer> on blobs `bottom`, of shape `scores`, and `instances`, of shape `labels`."""
    scores, labels = (" ".join(f"dim: {size}" for size in shape) for shape in (scores, labels))
    path = folder / "loss.prototxt"
    path.write_text(NET.format(module=module, layer=layer, bottom=bottom, params=params, scores=scores, labels=labels,
                               weight=weight))
    return caffe.Net(str(path), caffe.TRAIN)


def scene(height=12, width=15, seed=0):
    """Two pictures with rectangles, some larger than a window, background and void."""
    draw = np.random.default_rng(seed)
    labels = np.zeros((2, 1, height, width), np.float32)
    for picture in labels[:, 0]:
        for instance in (3, 1, 7, 2, 5):
            y, x = draw.integers(0, (height - 2, width - 2))
            picture[y : y + draw.integers(2, 8), x : x + draw.integers(2, 8)] = instance
        picture[draw.random(picture.shape) < 0.05] = 255
    return labels
