"""RegionLoss in nets: its gradient by finite differences, which centres count by brute force, and what it refuses."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import caffe
from layers.region_targets import region_targets
from tests.layers.region_nets import loss_net, scene

pytestmark = pytest.mark.unit

@pytest.fixture
def build(tmp_path):
    def build(params, scores=(2, 9, 6, 7), **others):
        return loss_net(tmp_path, "region_loss", "RegionLoss", "regions", params, scores, **others)

    return build


def brute_force(labels, grid, stride, window, first, void, fit):
    found = []
    for y in range(grid[0]):
        for x in range(grid[1]):
            top, left = y * stride + first, x * stride + first
            row, col = top + window // 2, left + window // 2
            if not (0 <= row < labels.shape[0] and 0 <= col < labels.shape[1]):
                continue
            instance = labels[row, col]
            if instance <= 0 or instance == void:
                continue
            pixels = np.argwhere(labels == instance)
            if not fit or all(top <= v < top + window and left <= u < left + window for v, u in pixels):
                found.append((y, x, instance))
    return np.array(found, np.int64).reshape(-1, 3)


@given(st.data())
def test_centres_count_as_by_brute_force(data):
    def whole(low, high):
        return data.draw(st.integers(low, high))

    labels = scene(whole(8, 20), whole(8, 20), whole(0, 1000))[0, 0]
    case = (whole(1, 9), whole(1, 9)), whole(1, 4), whole(1, 12), whole(-8, 3), whole(0, 1) * 248 + 7, whole(0, 1) == 1
    np.testing.assert_array_equal(region_targets(labels, *case), brute_force(labels, *case))


@pytest.mark.tiny
def test_an_instance_counts_where_it_is_under_the_centre_and_in_the_window():
    labels = np.zeros((16, 16), np.float32)
    labels[4:8, 4:8], labels[9:15, 9:15] = 1, 2   # 4 x 4 fits into 6 pixels, also off the centre; 6 x 6 only centred
    found = region_targets(labels, (16, 16), 1, 6, -3)
    assert set(found[:, 2]) == {1, 2}
    np.testing.assert_array_equal(found[found[:, 2] == 2], [[12, 12, 2]])
    rows = found[found[:, 2] == 1][:, 0]   # the window of row y is y - 3 to y + 2, the instance 4 to 7
    assert set(rows) == {5, 6, 7}


@pytest.mark.parametrize("params", [
    {"window": 6, "stride": 2}, {"window": 6, "stride": 2, "background": "ignore"},
    {"window": 6, "stride": 2, "fit": False, "ignore_label": 7}, {"window": 9, "stride": 3},
    {"window": 12, "stride": 2, "upsampling": 4, "centre": 0}, {"window": 3, "stride": 1, "centre": 2.5, "fit": False},
])
def test_the_gradient_by_finite_differences(build, params):
    net = build(params, weight=2)
    scores = np.random.default_rng(0).standard_normal(net.blobs["regions"].data.shape).astype(np.float32)

    def loss(scores):
        return float(net.forward(regions=scores, instances=scene())["loss"].item())

    loss(scores)
    net.backward()
    diff = net.blobs["regions"].diff.copy()
    assert (diff != 0).any() and (net.blobs["instances"].diff == 0).all()
    towards = np.random.default_rng(1).standard_normal((8, *scores.shape)).astype(np.float32)
    for one in (*towards, diff / abs(diff).max()):
        measured = (loss(scores + 0.02 * one) - loss(scores - 0.02 * one)) / 0.04
        assert 2 * measured == pytest.approx(float((diff * one).sum()), rel=2e-3, abs=2e-4)
    # float32 loss, hence directions in place of single numbers; those of the kernel are in its own tests


def test_places_without_an_instance_have_no_gradient(build):
    net = build({"window": 6, "stride": 2})
    labels = scene()
    net.forward(regions=np.ones((2, 9, 6, 7)), instances=labels)
    net.blobs["regions"].diff[...] = 5
    net.backward()
    counts = np.zeros((2, 6, 7), bool)
    for picture, image in enumerate(labels[:, 0]):
        for y, x, _ in brute_force(image, (6, 7), 2, 6, -2, 255, True):
            counts[picture, y, x] = True
    np.testing.assert_array_equal((net.blobs["regions"].diff != 0).any(1), counts)
    assert 0 < counts.sum() < counts.size


@pytest.mark.tiny
def test_no_instance_no_loss(build):
    net = build({"window": 6, "stride": 2})
    assert net.forward(regions=np.ones((2, 9, 6, 7)), instances=np.zeros((2, 1, 12, 15)))["loss"].item() == 0
    net.backward()
    assert (net.blobs["regions"].diff == 0).all()


def test_images_of_another_size_in_the_same_net(build):
    net = build({"window": 6, "stride": 2})
    losses = []
    for size in ((12, 14), (20, 10), (12, 14)):
        labels = scene(*size)
        net.blobs["regions"].reshape(2, 9, size[0] // 2, size[1] // 2)
        net.blobs["instances"].reshape(*labels.shape)
        net.blobs["regions"].data[...] = 1
        net.blobs["instances"].data[...] = labels
        losses.append(net.forward()["loss"].item())
        net.backward()
    assert losses[0] == losses[2] != losses[1]


def test_background_is_negative_or_ignored(build):
    """Scores that say "inside" everywhere: on the background that costs, unless it is ignored."""
    labels = np.zeros((2, 1, 12, 15), np.float32)
    labels[:, :, 5:7, 6:8] = 1
    losses = {choice: build({"window": 6, "stride": 2, "background": choice}).forward(
        regions=np.full((2, 9, 6, 7), 20), instances=labels)["loss"].item() for choice in ("negative", "ignore")}
    assert losses["ignore"] < 1e-3 < 5 < losses["negative"]


@pytest.mark.parametrize(
    ("params", "shapes", "words"),
    [
        ({"stride": 2}, {}, "lacks 'window'"),
        ({"window": 6}, {}, "lacks 'stride'"),
        ({"window": 6, "stride": 2, "upsampling": 4}, {}, "whole cells"),
        ({"window": 6, "stride": 1, "upsampling": 2}, {}, "edge of a pixel"),
        ({"window": 6, "stride": 2, "background": "void"}, {}, "'negative' or 'ignore'"),
        ({"window": 6, "stride": 2, "strid": 2}, {}, "did you mean 'stride'"),
        ({"window": 6, "stride": 2}, {"scores": (2, 8, 6, 7)}, "N x 9 x H x W"),
        ({"window": 6, "stride": 2}, {"labels": (1, 1, 12, 15)}, "2 x 1 x h x w"),
    ],
)
def test_what_it_refuses(build, params, shapes, words):
    with pytest.raises(caffe.CaffeError, match=words) as error:
        build(params, **shapes)
    assert "loss" in str(error.value) and "help:" in str(error.value)
