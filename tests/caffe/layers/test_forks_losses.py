"""Losses of forks against slow definitions in NumPy, and their gradients by finite differences."""
import numpy as np
import pytest

import caffe
from caffe.errors import LayerError, ShapeError

pytestmark = pytest.mark.unit


def check_gradient(it, rng, which, step=1e-2, most=2e-3):
    """The diffs of the bottoms `which` are derivatives of the loss; the other bottoms get none."""
    it.forward()
    down = [i in which for i in range(len(it.bottom))]
    grads = it.backward(np.float32(3), down=down)
    for i in which:
        data, grad = it.bottom[i].data.reshape(-1), grads[i].reshape(-1)
        for k in rng.choice(data.size, min(data.size, 15), replace=False):
            old = data[k]
            data[k] = old + step
            up = float(it.forward()[0])
            data[k] = old - step
            low = float(it.forward()[0])
            data[k] = old
            assert grad[k] == pytest.approx(3 * (up - low) / (2 * step), rel=2e-2, abs=most), (i, k)
    for i in set(range(len(it.bottom))) - set(which):
        with pytest.raises(LayerError):
            it.backward(np.float32(1), down=[k == i for k in range(len(it.bottom))])


def test_l1(bench, rng):
    a, b = (rng.normal(size=(3, 4, 2)).astype(np.float32) for _ in "ab")
    it = bench('type: "L1Loss"', a, b)
    assert float(it.forward()[0]) == pytest.approx(np.abs(a.astype(np.float64) - b).sum() / 3, rel=1e-5)
    check_gradient(it, rng, [0, 1], step=1e-3, most=1e-2)


def naive_smooth_l1(a, b, inside, outside, sigma):
    total = 0.0
    for x, y, i, o in zip(a.flat, b.flat, inside.flat, outside.flat, strict=True):
        d = i * (x - y)
        total += o * (0.5 * (sigma * d) ** 2 if abs(d) < 1 / sigma**2 else abs(d) - 0.5 / sigma**2)
    return total / len(a)


@pytest.mark.parametrize("count, sigma", [(2, 1), (3, 1), (4, 3), (4, 0.5)])
def test_smooth_l1(bench, rng, count, sigma):
    a, b = (rng.normal(size=(3, 4, 2, 2)).astype(np.float32) * 2 for _ in "ab")
    inside, outside = rng.integers(0, 2, a.shape).astype(np.float32), rng.uniform(0, 2, a.shape).astype(np.float32)
    weights = [inside, outside][: count - 2]
    it = bench(f'type: "SmoothL1Loss" smooth_l1_loss_param {{ sigma: {sigma} }}', a, b, *weights)
    weights += [np.ones_like(a)] * (4 - count)
    assert float(it.forward()[0]) == pytest.approx(naive_smooth_l1(a, b, *weights, sigma), rel=1e-5)
    check_gradient(it, rng, [0, 1])


@pytest.mark.parametrize("prototxt, shapes, message", [
    ("smooth_l1_loss_param { sigma: 0 }", [(2, 3), (2, 3)], "sigma must be positive"),
    ("", [(2, 3), (2, 4)], "different shapes"),
    ("", [(2, 3), (3, 2)], "different shapes"),
    ("", [(2, 3), (2, 3), (2, 1)], "different shapes"),
])
def test_smooth_l1_refuses(bench, prototxt, shapes, message):
    with pytest.raises(LayerError, match=message):
        bench(f'type: "SmoothL1Loss" {prototxt}', *shapes)


def naive_weighted(x, label, weights, ignore, normalization):
    """SegNet's: the sum weighs classes, the count does not."""
    loss, count = 0.0, 0
    for n in range(len(x)):
        for h, w in np.ndindex(*x.shape[2:]):
            which = int(label[n, 0, h, w])
            if which == ignore:
                continue
            e = np.exp(x[n, :, h, w].astype(np.float64))
            loss -= weights[which] * np.log(e[which] / e.sum())
            count += 1
    return loss / {"VALID": count, "BATCH_SIZE": len(x), "FULL": label.size, "NONE": 1}[normalization]


@pytest.mark.parametrize("normalization", ["VALID", "BATCH_SIZE", "FULL", "NONE"])
@pytest.mark.parametrize("ignore", [None, 1, 11])
def test_class_weighting(bench, rng, ignore, normalization):
    x = rng.normal(size=(2, 3, 4, 3)).astype(np.float32)
    label = rng.integers(0, 3, (2, 1, 4, 3)).astype(np.float32)
    if ignore == 11:
        label[0, 0, 1:3] = 11
    weights = [0.2595, 0.1826, 4.564]
    lines = "".join(f"class_weighting: {w} " for w in weights)
    if ignore is not None:
        lines += f"ignore_label: {ignore}"
    prototxt = (f'type: "SoftmaxWithLoss" loss_param {{ weight_by_label_freqs: true {lines} '
                f"normalization: {normalization} }}")
    it = bench(prototxt, x, label)
    assert float(it.forward()[0]) == pytest.approx(naive_weighted(x, label, weights, ignore, normalization), rel=1e-4)
    check_gradient(it, rng, [0])
    # weights that are given but not asked for play no part, as in the fork
    off = bench(prototxt.replace("weight_by_label_freqs: true", ""), x, label)
    want = naive_weighted(x, label, [1, 1, 1], ignore, normalization)
    assert float(off.forward()[0]) == pytest.approx(want, rel=1e-4)


def test_class_weighting_refuses(bench):
    with pytest.raises(ShapeError, match="one class_weighting for each class"):
        bench('type: "SoftmaxWithLoss" loss_param { weight_by_label_freqs: true class_weighting: 1 }', (2, 3), (2,))
    with pytest.raises(LayerError, match="does not weight classes"):
        bench('type: "InfogainLoss" loss_param { weight_by_label_freqs: true }', (2, 3), (2,), (1, 1, 3, 3))


@pytest.mark.parametrize("phase", [caffe.TRAIN, caffe.TEST])
def test_dropout_samples_in_testing(bench, phase):
    """SegNet's Bayesian nets draw in testing too."""
    x = np.ones((20, 50), np.float32)
    it = bench('type: "Dropout" dropout_param { dropout_ratio: 0.5 sample_weights_test: true }', x, phase=phase)
    y, = it.forward()
    assert set(np.unique(y)) == {0, 2} and 0.4 < y.mean() / 2 < 0.6
    np.testing.assert_array_equal(it.backward(x)[0], y)
    assert (it.forward()[0] != y).any()


# ------------------------------------------------------------------ MultiBoxLoss
def naive_iou(a, b):
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if w <= 0 or h <= 0:
        return 0.0
    return w * h / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h)


def naive_code(code, p, g):
    pw, ph, gw, gh = p[2] - p[0], p[3] - p[1], g[2] - g[0], g[3] - g[1]
    if code == "CENTER_SIZE":
        return [((g[0] + g[2]) - (p[0] + p[2])) / 2 / pw, ((g[1] + g[3]) - (p[1] + p[3])) / 2 / ph,
                np.log(gw / pw), np.log(gh / ph)]
    return [(g[k] - p[k]) / ((pw, ph)[k % 2] if code == "CORNER_SIZE" else 1) for k in range(4)]


def naive_matches(priors, objects, per_prediction, threshold):
    """{prior: object} and the largest overlap of each prior, one pair at a time."""
    iou = {(i, j): naive_iou(p, g[3:7]) for i, p in enumerate(priors) for j, g in enumerate(objects)}
    iou = {pair: value for pair, value in iou.items() if value > 1e-6}
    match, pool = {}, set(range(len(objects)))
    while open_pairs := [pair for pair in iou if pair[0] not in match and pair[1] in pool]:
        i, j = max(open_pairs, key=iou.get)
        match[i] = j
        pool.remove(j)
    best = [max([iou.get((i, j), 0.0) for j in range(len(objects))], default=0.0) for i in range(len(priors))]
    for i in range(len(priors)) if per_prediction else ():
        if i not in match and best[i] >= threshold and best[i] > 0:
            match[i] = max((j for j in range(len(objects)) if (i, j) in iou), key=lambda j, i=i: iou[i, j])
    return match, best


def naive_multibox(loc, conf, prior, gt, classes, code, o):
    priors, variance = prior[0, 0].reshape(-1, 4), prior[0, 1].reshape(-1, 4)
    loss_loc = loss_conf = 0.0
    matches = 0
    for n in range(len(loc)):
        objects = [row for row in gt[0, 0] if row[0] == n and (o["difficult"] or not row[7])]
        x = conf[n].reshape(-1, classes).astype(np.float64)
        logs = x - np.log(np.exp(x).sum(1, keepdims=True))
        background = {i: -logs[i, 0] for i in range(len(priors))}
        match, best = naive_matches(priors, objects, o["match"] == "PER_PREDICTION", 0.4)
        matches += len(match)
        for i, j in match.items():
            code_of = naive_code(code, priors[i], objects[j][3:7])
            for k in range(4):
                t = loc[n, 4 * i + k]
                d = ((t - code_of[k]) / variance[i, k] if o["in_target"] else t - code_of[k] / variance[i, k])
                loss_loc += d * d / 2 if o["loc"] == "L2" or abs(d) < 1 else abs(d) - 0.5
            loss_conf -= logs[i, int(objects[j][1])]
        rest = [i for i in range(len(priors)) if i not in match]
        if o["mining"] == "MAX_NEGATIVE":
            rest = [i for i in rest if best[i] < 0.3] if objects else []
            rest = sorted(rest, key=lambda i: -background[i])[: int(len(match) * 1.5)]
        loss_conf += sum(background[i] for i in rest)
    size = {"VALID": matches, "BATCH_SIZE": len(loc), "FULL": len(loc) * len(priors), "NONE": 1}[o["norm"]]
    return (2 * loss_loc + loss_conf) / max(1, size)


DEFAULTS = {"match": "PER_PREDICTION", "mining": "MAX_NEGATIVE", "loc": "SMOOTH_L1", "norm": "VALID",
            "difficult": True, "in_target": False}


def multibox(o, code="CENTER_SIZE", extra=""):
    return (f'type: "MultiBoxLoss" loss_param {{ normalization: {o["norm"]} }} multibox_loss_param {{ num_classes: 3 '
            f'loc_weight: 2 match_type: {o["match"]} mining_type: {o["mining"]} loc_loss_type: {o["loc"]} '
            f'code_type: {code} overlap_threshold: 0.4 neg_overlap: 0.3 neg_pos_ratio: 1.5 '
            f'use_difficult_gt: {str(o["difficult"]).lower()} '
            f'encode_variance_in_target: {str(o["in_target"]).lower()} {extra} }}')


def scene(rng, num=3, priors=20, objects=6):
    """Predictions, priors and objects; the last image has none, and two rows are padding."""
    corner = rng.uniform(0, 0.6, (priors, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(0.2, 0.4, (priors, 2))], 1)
    prior = np.stack([boxes.ravel(), rng.uniform(0.1, 0.5, boxes.size)])[None]
    gt = np.full((1, 1, objects + 2, 8), -1.0)
    corner = rng.uniform(0, 0.6, (objects, 2))
    gt[0, 0, :objects] = np.c_[rng.integers(0, num - 1, objects), rng.integers(1, 3, objects), np.zeros(objects),
                               corner, corner + rng.uniform(0.15, 0.4, (objects, 2)), np.arange(objects) % 3 == 0]
    arrays = rng.normal(size=(num, priors * 4)), rng.normal(size=(num, priors * 3)), prior, gt
    return [a.astype(np.float32) for a in arrays]


@pytest.mark.parametrize("code", ["CORNER", "CENTER_SIZE", "CORNER_SIZE"])
@pytest.mark.parametrize("change", [
    {}, {"match": "BIPARTITE"}, {"mining": "NONE"}, {"loc": "L2"}, {"norm": "FULL"}, {"norm": "BATCH_SIZE"},
    {"norm": "NONE"}, {"difficult": False}, {"in_target": True}])
def test_multibox(bench, rng, code, change):
    o = DEFAULTS | change
    for _ in range(3):
        arrays = scene(rng)
        it = bench(multibox(o, code), *arrays)
        assert float(it.forward()[0]) == pytest.approx(naive_multibox(*arrays, 3, code, o), rel=1e-4)
    check_gradient(it, rng, [0, 1], 2e-3, 1e-2)        # small steps: what is a hard negative must not change


def test_multibox_parts(bench, rng):
    """propagate_down: false leaves a part out of the loss, as in the fork; no objects at all are no loss."""
    arrays = scene(rng)
    whole, = bench(multibox(DEFAULTS), *arrays).forward()
    parts = [bench(multibox(DEFAULTS) + f"propagate_down: {a} propagate_down: {b} propagate_down: false "
                   "propagate_down: false", *arrays).forward()[0] for a, b in (("true", "false"), ("false", "true"))]
    assert sum(map(float, parts)) == pytest.approx(float(whole), rel=1e-5) and min(map(float, parts)) > 0
    arrays[3][:] = -1
    it = bench(multibox(DEFAULTS), *arrays)
    assert float(it.forward()[0]) == 0
    assert not any(d.any() for d in it.backward(np.float32(1), down=[True, True, False, False]))


@pytest.mark.parametrize("extra, message", [
    ("mining_type: HARD_EXAMPLE", "HARD_EXAMPLE"), ("share_location: false", "share_location"),
    ("conf_loss_type: LOGISTIC", "LOGISTIC"), ("use_prior_for_matching: false", "use_prior_for_matching"),
    ("background_label_id: 3", "background_label_id"), ("do_neg_mining: false", "contradict")])
def test_multibox_refuses(bench, rng, extra, message):
    with pytest.raises(LayerError, match=message):
        bench(multibox(DEFAULTS).replace("mining_type: MAX_NEGATIVE ", "") [:-1] + extra + " }", *scene(rng))


def test_multibox_checks_its_bottoms(bench, rng):
    arrays = scene(rng)
    for i in range(4):
        wrong = list(arrays)
        wrong[i] = wrong[i][..., :-1]
        with pytest.raises(ShapeError, match="do not fit"):
            bench(multibox(DEFAULTS), *wrong)
    for column, value in ((1, 0), (1, 3), (5, 0), (6, np.nan)):
        wrong = [a.copy() for a in arrays]
        wrong[3][0, 0, 2, column] = value
        with pytest.raises(caffe.DataError, match="no area, or a label that is none"):
            bench(multibox(DEFAULTS), *wrong).forward()
