"""The error family: what the text says, and that errors survive pickling and copying."""

from __future__ import annotations

import copy
import pickle

import pytest

import caffe.errors
from caffe.errors import CaffeError, LayerError, ShapeError, nearest

pytestmark = pytest.mark.unit

FAMILY = [
    item for item in vars(caffe.errors).values() if isinstance(item, type) and issubclass(item, CaffeError)
]


@pytest.mark.tiny
@pytest.mark.parametrize("kind", FAMILY)
def test_text_and_copies(kind):
    error = kind(
        "wrong shape",
        file="a.prototxt",
        line=3,
        layer="fc6",
        found=(1, 2),
        expected="2 axes",
        help="fix it",
    )
    text = "a.prototxt:3: layer 'fc6': wrong shape (found (1, 2), expected 2 axes)\nhelp: fix it"
    assert str(error) == text
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(other) is kind and str(other) == text and other.line == 3
    assert kind.__doc__


@pytest.mark.parametrize(
    "details, text",
    [
        ({}, "m"),
        ({"file": "f"}, "f: m"),
        ({"line": 0}, "line 0: m"),
        ({"found": 0}, "m (found 0)"),
        ({"layer": "a", "help": "h"}, "layer 'a': m\nhelp: h"),
    ],
)
def test_parts_are_optional(details, text):
    assert str(CaffeError("m", **details)) == text


def test_a_shape_error_is_a_layer_error():
    assert issubclass(ShapeError, LayerError)


def test_nearest():
    assert nearest("Convoluton", ["Deconvolution", "Convolution", "Pooling"])[0] == "Convolution"
    assert nearest("relu", ["ReLU", "PReLU"])[0] == "ReLU"
    assert nearest("qqq", ["ReLU"]) == []
