"""SSD's PriorBox and DetectionOutput against slow definitions, box by box."""
import math

import numpy as np
import pytest

from caffe.errors import LayerError, ShapeError

pytestmark = pytest.mark.unit


def naive_priors(rows, cols, image, step, offset, mins, maxs, ratios):
    """Boxes in SSD's order; image and step are (height, width)."""
    out = []
    for h in range(rows):
        for w in range(cols):
            cx, cy = (w + offset) * step[1], (h + offset) * step[0]
            for k, s in enumerate(mins):
                sizes = [(s, s)]
                if maxs:
                    sizes.append((math.sqrt(s * maxs[k]),) * 2)
                sizes += [(s * math.sqrt(r), s / math.sqrt(r)) for r in ratios]
                for bw, bh in sizes:
                    out += [(cx - bw / 2) / image[1], (cy - bh / 2) / image[0],
                            (cx + bw / 2) / image[1], (cy + bh / 2) / image[0]]
    return np.array(out)


@pytest.mark.parametrize("param, args", [
    ("min_size: 30 max_size: 60 aspect_ratio: 2", ((60, 90), (20, 22.5), 0.5, [30], [60], [2, 0.5])),
    ("min_size: 30.9 min_size: 8 aspect_ratio: 3 aspect_ratio: 1 aspect_ratio: 3 flip: false",
     ((60, 90), (20, 22.5), 0.5, [30, 8], [], [3])),
    ("min_size: 5 step: 8 img_size: 32 offset: 0.25", ((32, 32), (8, 8), 0.25, [5], [], [])),
    ("min_size: 5 step_h: 8 step_w: 4 img_h: 16 img_w: 32", ((16, 32), (8, 4), 0.5, [5], [], [])),
])
def test_prior_box(bench, param, args):
    y, = bench(f'type: "PriorBox" prior_box_param {{ {param} }}', (2, 7, 3, 4), (2, 3, 60, 90)).forward()
    want = naive_priors(3, 4, *args)
    assert y.shape == (1, 2, len(want))
    np.testing.assert_allclose(y[0, 0], want, rtol=1e-5, atol=1e-6)
    assert (y[0, 1] == np.float32(0.1)).all()


def test_prior_box_clip_and_variance(bench):
    it = bench('type: "PriorBox" prior_box_param { min_size: 50 clip: true variance: 0.1 variance: 0.2 variance: 0.3 '
               'variance: 0.4 }', (1, 1, 2, 2), (1, 3, 60, 60))
    y, = it.forward()
    np.testing.assert_allclose(y[0, 0, :4], [0, 0, 40 / 60, 40 / 60], rtol=1e-6)
    np.testing.assert_allclose(y[0, 1], np.tile([0.1, 0.2, 0.3, 0.4], 4), rtol=1e-6)


def naive_decode(code, p, v, t):
    w, h = p[2] - p[0], p[3] - p[1]
    t = [a * b for a, b in zip(v, t, strict=True)]
    if code == "CORNER":
        return [a + b for a, b in zip(p, t, strict=True)]
    if code == "CORNER_SIZE":
        return [p[0] + t[0] * w, p[1] + t[1] * h, p[2] + t[2] * w, p[3] + t[3] * h]
    cx, cy = (p[0] + p[2]) / 2 + t[0] * w, (p[1] + p[3]) / 2 + t[1] * h
    w, h = math.exp(t[2]) * w, math.exp(t[3]) * h
    return [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]


def naive_iou(a, b):
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if w <= 0 or h <= 0:
        return 0.0
    def area(c):
        return 0.0 if c[2] < c[0] or c[3] < c[1] else (c[2] - c[0]) * (c[3] - c[1])
    return w * h / (area(a) + area(b) - w * h)


def naive_detections(loc, conf, prior, code, share, least, limit, top_k, eta, keep, encoded):
    """loc (num, priors, classes or 1, 4), conf (num, priors, classes), prior (2, priors, 4)."""
    rows = []
    for n in range(len(loc)):
        found = []
        for c in range(1, conf.shape[2]):
            boxes = [naive_decode(code, p, [1] * 4 if encoded else v, t[0 if share else c])
                     for p, v, t in zip(prior[0], prior[1], loc[n], strict=True)]
            order = [i for i in sorted(range(len(boxes)), key=lambda i: -conf[n, i, c]) if conf[n, i, c] > least]
            kept, now = [], limit
            for i in order[:top_k]:
                if all(naive_iou(boxes[i], boxes[k]) <= now for k in kept):
                    kept.append(i)
                    if eta < 1 and now > 0.5:
                        now *= eta
            found += [(c, conf[n, i, c], boxes[i]) for i in kept]
        if keep > -1:
            found = sorted(found, key=lambda f: -f[1])[:keep]
        rows += [[n, c, s, *box] for c, s, box in sorted(found, key=lambda f: (f[0], -f[1]))]
    return np.array(rows)


@pytest.mark.parametrize("code", ["CORNER", "CENTER_SIZE", "CORNER_SIZE"])
@pytest.mark.parametrize("share, eta, keep, encoded", [
    (True, 1, -1, False), (False, 1, 11, False), (True, 0.8, 9, True), (False, 0.9, -1, True)])
def test_detection_output(bench, rng, code, share, eta, keep, encoded):
    num, priors, classes = 2, 30, 4
    corner = rng.uniform(0, 0.6, (priors, 2))
    prior = np.stack([np.concatenate([corner, corner + rng.uniform(0.2, 0.5, (priors, 2))], 1),
                      rng.uniform(0.1, 0.3, (priors, 4))]).astype(np.float32)
    loc = rng.normal(size=(num, priors, 1 if share else classes, 4)).astype(np.float32) * np.float32(0.2)
    conf = rng.permutation(num * priors * classes).reshape(num, priors, classes).astype(np.float32) / 240
    it = bench(f'type: "DetectionOutput" detection_output_param {{ num_classes: 4 share_location: {str(share).lower()} '
               f'code_type: {code} keep_top_k: {keep} confidence_threshold: 0.2 variance_encoded_in_target: '
               f'{str(encoded).lower()} nms_param {{ nms_threshold: 0.6 top_k: 20 eta: {eta} }} '
               'save_output_param { label_map_file: "labelmap.prototxt" } }',
               loc.reshape(num, -1), conf.reshape(num, -1, 1, 1), prior.reshape(1, 2, -1))
    y, = it.forward()
    want = naive_detections(loc, conf, prior.astype(float), code, share, 0.2, 0.6, 20, eta, keep, encoded)
    assert y.shape == (1, 1, len(want), 7) and len(want) > 10
    np.testing.assert_allclose(y[0, 0], want, rtol=1e-4, atol=1e-5)
    again, = it.forward()                              # the top shrinks and grows from pass to pass
    np.testing.assert_array_equal(again, y)


PRIOR = np.array([[[0, 0, 1, 1, 0, 0, 1, 1], [0.1] * 8]])
ONE = 'type: "DetectionOutput" detection_output_param { num_classes: 2 PARAM }'


def test_nothing_found(bench):
    it = bench(ONE.replace("PARAM", "confidence_threshold: 2"), np.zeros((3, 8)), np.zeros((3, 4)), PRIOR)
    np.testing.assert_array_equal(it.forward()[0], [[[[n, *[-1] * 6] for n in range(3)]]])


def test_equal_boxes_and_scores(bench):
    it = bench(ONE.replace("PARAM", ""), np.zeros((1, 8)), np.ones((1, 4)), PRIOR)
    np.testing.assert_array_equal(it.forward()[0], [[[[0, 1, 1, 0, 0, 1, 1]]]])


@pytest.mark.parametrize("param, message", [
    ("visualize: true", "draws nothing"),
    ('save_output_param { output_directory: "o" label_map_file: "l" name_size_file: "n" }', "writes no files"),
    ("nms_param { eta: 0 }", "eta"), ("share_location: false", "do not fit")])
def test_detection_refusals(bench, param, message):
    with pytest.raises((LayerError, ShapeError), match=message):
        bench(ONE.replace("PARAM", param), np.zeros((3, 8)), np.zeros((3, 4)), PRIOR)


@pytest.mark.parametrize("param, message", [
    ("", "min_size"), ("min_size: 3 max_size: 2", "max_size"), ("min_size: 3 variance: 1 variance: 1", "variance"),
    ("min_size: 3 step: 2 step_h: 2 step_w: 2", "give step"), ("min_size: 3 img_h: 2", "give img_size"),
    ("min_size: 3 aspect_ratio: 0", "aspect_ratio")])
def test_prior_box_refusals(bench, param, message):
    with pytest.raises(LayerError, match=message):
        bench(f'type: "PriorBox" prior_box_param {{ {param} }}', (1, 1, 2, 2), (1, 3, 4, 4))
