"""Features at every pixel against the net's own features of shifted images."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from correspondence.dense import DenseFeatures, without_padding
from correspondence.errors import DataError, NetError
from correspondence.grids import FeatureNet
from prototxt import build
from tests.correspondence.test_grids import random_net

pytestmark = pytest.mark.unit
steps = st.lists(st.tuples(st.sampled_from(["conv", "pool", "fire"]), st.sampled_from([1, 3]), st.integers(1, 2),
                           st.integers(0, 1)), min_size=1, max_size=3)


@settings(max_examples=10)
@given(steps, st.integers(0, 5), st.integers(0, 5))
def test_each_is_the_nets_feature_of_an_image_that_is_shifted_there(steps, dx, dy):
    definition, name = random_net([(kind, kernel, stride, 0 if kind == "pool" else pad)
                                   for kind, kernel, stride, pad in steps]), f"blob{len(steps) - 1}"
    image = np.random.default_rng(1).uniform(0, 255, (60, 66, 3))
    strided, dense = FeatureNet(definition, None, [name]), DenseFeatures(definition, None, name)
    for name_, blobs in dense.net.net.params.items():   # fillers draw anew for each net
        for own, other in zip(blobs, strided.net.params[name_], strict=True):
            own.data[...] = other.data
    found = dense.around(image, (33, 30), 3)
    grid = strided.grids(image[dy:, dx:])[name]
    checked = 0
    for row, y in enumerate(grid.rows() + dy):
        for column, x in enumerate(grid.columns() + dx):
            if abs(x - 33) <= 3 and abs(y - 30) <= 3:
                assert np.allclose(found[int(y) - 27, int(x) - 30], grid.features[row, column], rtol=1e-4)
                checked += 1
    assert checked or grid.stride > 7


def test_beyond_the_image_there_is_the_mean(noise):
    dense = DenseFeatures(build("squeezenet-fcn16s"), None, "pool1", mean=(10, 20, 30))
    image = noise(20, 20)
    wide = np.tile(np.array([30, 20, 10], np.uint8), (80, 80, 1))
    wide[30:50, 30:50] = image
    assert np.array_equal(dense.around(image, (0, 19), 4), dense.around(wide, (30, 49), 4))
    with pytest.raises(DataError, match="outside"):
        dense.around(image, (20, 3), 4)


def test_strides_and_upsampling_are_refused():
    with pytest.raises(NetError, match="has a stride"):
        without_padding(build("squeezenet-fcn16s"))
    with pytest.raises(NetError, match="upsamples"):
        net = build("small-fcn32s")
        del net.layer[1:-2]
        without_padding(net)
