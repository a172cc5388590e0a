"""RegionScoreLoss: targets by brute force, value and gradient by the formula and finite differences, refusals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import caffe
from layers.region_targets import score_targets
from tests.layers.region_nets import loss_net, scene

pytestmark = pytest.mark.unit

@pytest.fixture
def build(tmp_path):
    def build(params, scores=(2, 1, 6, 7), **others):
        return loss_net(tmp_path, "region_score_loss", "RegionScoreLoss", "score", params, scores, **others)

    return build


def brute_force(labels, grid, stride, window, first, least, most, off):
    targets = np.full(grid, -1)
    for y, x in np.ndindex(grid):
        top, left = y * stride + first, x * stride + first
        row, col = top + window // 2, left + window // 2
        if not (0 <= row < labels.shape[0] and 0 <= col < labels.shape[1]) or labels[row, col] == 255:
            continue
        targets[y, x] = 0
        if labels[row, col] == 0:
            continue
        rows, cols = np.nonzero(labels == labels[row, col])
        box = (rows.min(), rows.max() + 1), (cols.min(), cols.max() + 1)   # pixel edges
        if not (top <= box[0][0] and box[0][1] <= top + window and left <= box[1][0] and box[1][1] <= left + window):
            continue
        side = max(high - low for low, high in box)
        away = max(abs((low + high) / 2 - start - window / 2)
                   for (low, high), start in zip(box, (top, left), strict=True))
        if away <= off and least * window <= side <= most * window:
            targets[y, x] = 1
        elif away <= 2 * off and 0.75 * least * window <= side <= 1.25 * most * window:
            targets[y, x] = -1
    return targets


@given(st.integers(0, 10**6), st.sampled_from([1, 2, 3]), st.sampled_from([4, 6, 7]), st.integers(-4, 2),
       st.sampled_from([(0, 1), (0.3, 0.8), (0.5, 1)]), st.sampled_from([0.5, 1, 2.5]))
def test_targets_by_brute_force(seed, stride, window, first, span, off):
    labels = scene(seed=seed)[0, 0]
    found = score_targets(labels, (5, 6), stride, window, first, 255, *span, off)
    np.testing.assert_array_equal(found, brute_force(labels, (5, 6), stride, window, first, *span, off))


def test_loss_and_gradient(build):
    net = build("{'window': 4, 'stride': 2, 'centre': 1, 'off': 1}", weight=3)
    draw = np.random.default_rng(1)
    net.blobs["instances"].data[...] = scene(seed=4)
    net.blobs["score"].data[...] = scores = draw.normal(0, 2, (2, 1, 6, 7)).astype(np.float32)
    targets = np.stack([score_targets(labels[0], (6, 7), 2, 4, -1, off=1) for labels in scene(seed=4)])
    assert (targets == 1).any() and (targets == 0).any()
    p = 1 / (1 + np.exp(-scores[:, 0].astype(np.float64)))
    share = 1 / max((targets == 1).sum(), (targets >= 0).sum() / 100)
    expected = -share * (np.log(p)[targets == 1].sum() + np.log(1 - p)[targets == 0].sum())
    assert net.forward()["loss"] == pytest.approx(expected, rel=1e-5)
    net.backward()
    analytic = net.blobs["score"].diff.copy()
    np.testing.assert_allclose(analytic[:, 0], 3 * share * (targets >= 0) * (p - (targets == 1)), atol=1e-6)
    for index in ((0, 0, 2, 3), (1, 0, 4, 1)):
        values = []
        for step in (1e-2, -1e-2):
            net.blobs["score"].data[...] = scores
            net.blobs["score"].data[index] += step
            values.append(net.forward()["loss"].item())
        assert (values[0] - values[1]) / 2e-2 * 3 == pytest.approx(analytic[index], abs=2e-3)


def test_nothing_scores_high(build):
    net = build("{'window': 4, 'stride': 2}")
    net.blobs["instances"].data[...] = 0
    net.blobs["score"].data[...] = -20
    assert 0 < net.forward()["loss"] < 1e-5


@pytest.mark.parametrize("params, words", [
    ("{'window': 4}", "lacks 'stride'"),
    ("{'window': 4, 'stride': 2, 'centre': 1.5}", "do not begin on the edge"),
    ("{'window': 4, 'stride': 2, 'least': 1, 'most': 0.5}", "no object is in the range"),
    ("{'window': 4, 'stride': 2, 'shift': 1}", "unknown key 'shift'"),
])
def test_refusals(build, params, words):
    with pytest.raises(caffe.CaffeError, match=words):
        build(params)


def test_shapes_that_do_not_fit(build):
    with pytest.raises(caffe.CaffeError, match="the scores have a wrong shape"):
        build("{'window': 4, 'stride': 2}", scores=(2, 2, 6, 7))
    with pytest.raises(caffe.CaffeError, match="the labels have a wrong shape"):
        build("{'window': 4, 'stride': 2}", labels=(1, 1, 12, 15))
