"""Preprocessing, batches of equal size, and scores at the size of the image."""

import numpy as np
import pytest

from tests.tools.fake import FakeNet, FakeSet, SelfFedNet
from tools import predict
from tools.errors import RunError

pytestmark = pytest.mark.unit


def test_to_blob_is_bgr_minus_mean():
    image = np.zeros((2, 5, 3), np.uint8)
    image[1, 4] = (10, 20, 30)  # RGB
    blob = predict.to_blob(image, (1, 2, 3))
    assert blob.shape == (3, 2, 5) and blob.dtype == np.float32 and blob.flags.c_contiguous
    assert blob[:, 1, 4].tolist() == [29, 18, 7]
    assert blob[:, 0, 0].tolist() == [-1, -2, -3]


def test_batches_break_at_size_and_shape():
    shapes = [(3, 2, 2)] * 5 + [(3, 3, 2)] + [(3, 2, 2)]
    images = [(k, {"data": np.zeros(shape)}) for k, shape in enumerate(shapes)]
    assert [keys for keys, _ in predict.batches(images, 2)] == [[0, 1], [2, 3], [4], [5], [6]]
    assert list(predict.batches([], 2)) == []


def test_scores_reshape_the_net():
    images = list(FakeSet([(3, 5)] * 2).pictures.values())
    found = predict.labels(predict.scores(FakeNet(), images, (0, 0, 0)))
    assert found.shape == (2, 3, 5)
    assert np.array_equal(found[1][:, 1:], images[1][:, 1:, 0])


def test_scores_not_at_image_size():
    net = FakeNet()
    net.reshape = lambda: None
    net.forward = lambda: None
    with pytest.raises(RunError, match=r"found \(1, 3, 4, 4\), expected 1 x classes x 3 x 5"):
        predict.scores(net, [np.zeros((3, 5, 3), np.uint8)], (0, 0, 0))


def test_ties_go_to_the_lowest_class():
    assert predict.labels(np.zeros((1, 4, 2, 2))).tolist() == [[[0, 0], [0, 0]]]


def test_check_net_wants_an_input():
    with pytest.raises(RunError, match="(?s)val.prototxt.*deploy"):
        predict.check_net(SelfFedNet(FakeSet([(2, 2)])), "val.prototxt")
