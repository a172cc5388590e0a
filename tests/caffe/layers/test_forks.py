"""Layers of forks against slow definitions in NumPy, and their gradients by finite differences."""
import math

import numpy as np
import pytest
import torch

import caffe
from caffe.errors import CaffeError, LayerError, ShapeError

pytestmark = pytest.mark.unit
IMAGE = (2, 4, 5, 6)
MASK = "mask (2, 4, 5, 6)"
GAUSS = '{ type: "gaussian" std: 0.5 }'
ROIS = "rois (3, 5)"

# prototxt, bottoms (shape, or a name of `made`)
CASES = {
    "Permute": ("permute_param { order: 0 order: 2 order: 3 order: 1 }", [IMAGE]),
    "Permute same": ('type: "Permute" permute_param { order: 0 }', [IMAGE]),
    "Normalize": (f"norm_param {{ scale_filler {GAUSS} across_spatial: false channel_shared: false }}", [IMAGE]),
    "Normalize across": ('type: "Normalize"', [IMAGE]),
    "Interp": ("interp_param { zoom_factor: 3 pad_beg: -1 pad_end: -1 }", [IMAGE]),
    "Interp shrink": ('type: "Interp" interp_param { shrink_factor: 2 }', [IMAGE]),
    "Interp two": ('type: "Interp"', [IMAGE, (1, 1, 3, 9)]),
    "Interp nearest": ('type: "Interp" interp_param { height: 7 width: 4 interp_type: "nearest_neighbor" }', [IMAGE]),
    "Upsample": ("upsample_param { scale: 2 }", [IMAGE, MASK]),
    "BN": (f"bn_param {{ scale_filler {GAUSS} shift_filler {GAUSS} }}", [IMAGE]),
    "BN running": (f'type: "BN" bn_param {{ slope_filler {GAUSS} bias_filler {GAUSS} momentum: 0.9 }}', [IMAGE]),
    "BatchNorm": (f"batch_norm_param {{ scale_filler {GAUSS} bias_filler {GAUSS} }}", [IMAGE]),
    "L1Loss": ("", [IMAGE, IMAGE]),
    "SmoothL1Loss": ("smooth_l1_loss_param { sigma: 0.7 }", [IMAGE, IMAGE]),
    "BN inference": (f'type: "BN" bn_param {{ scale_filler {GAUSS} bn_mode: INFERENCE }}', [IMAGE]),
    "ROIPooling": ("roi_pooling_param { pooled_h: 2 pooled_w: 3 spatial_scale: 0.5 }", [IMAGE, ROIS]),
    "PSROIPooling": ("psroi_pooling_param { spatial_scale: 0.5 output_dim: 1 group_size: 2 }", [IMAGE, ROIS]),
    "DepthwiseConvolution": (
        f"convolution_param {{ num_output: 8 kernel_size: 3 pad: 1 weight_filler {GAUSS} }}", [IMAGE]),
    "ConvolutionDepthwise": (f"convolution_param {{ kernel_size: 3 stride: 2 weight_filler {GAUSS} }}", [IMAGE]),
    "ReLU6": ("", [IMAGE]),
    "ShuffleChannel": ("shuffle_channel_param { group: 2 }", [IMAGE]),
    "Axpy": ("", [(2, 4, 1, 1), IMAGE, IMAGE]),
    "PriorBox": ("prior_box_param { min_size: 3 }", [IMAGE, (1, 3, 20, 30)]),
}


def made(spec, rng):
    if spec == ROIS:                                   # apart from halves, where rounding is a jump
        return np.array([[0, 0.3, 0.2, 8.2, 8.4], [1, 3.3, 4.2, 30, 30], [0, 6.4, 2.2, 2, 2]], np.float32)
    if spec == MASK:                                   # a different cell of the 10 x 12 plane for each element
        return np.stack([rng.permutation(120)[:30] for _ in range(8)]).reshape(IMAGE).astype(np.float32)
    x = rng.permutation(math.prod(spec)).reshape(spec) * 0.1 - 4.03  # distinct, away from 0 and 6: no ties or kinks
    return x.astype(np.float32)


def built(name, bench, rng):
    prototxt, specs = CASES[name]
    if not prototxt.startswith("type:"):
        prototxt = f'type: "{name.split()[0]}" {prototxt}'
    return bench(prototxt, *(made(spec, rng) for spec in specs))


@pytest.mark.parametrize("name", CASES)
def test_backward_is_the_derivative_of_forward(name, bench, rng):
    it = built(name, bench, rng)
    diffs = [rng.normal(size=t.shape) for t in it.forward()]
    grads = it.backward(*diffs)
    blobs = list(zip(it.bottom, grads, strict=True)) + [(b, b.diff_tensor().numpy().copy()) for b in it.layer.blobs]
    indices = {"Upsample": 1, "ROIPooling": 1, "PSROIPooling": 1}.get(name.split()[0])

    def loss():
        return sum(float((t.astype(np.float64) * d).sum()) for t, d in zip(it.forward(), diffs, strict=True))

    for n, (blob, grad) in enumerate(blobs):
        if n == indices or name == "PriorBox":         # not differentiable: the fork writes no diff either
            assert not grad.any()
            continue
        data, step = blob.data.reshape(-1), 1e-2
        for i in rng.choice(data.size, min(data.size, 12), replace=False):
            old = data[i]
            data[i] = old + step
            up = loss()
            data[i] = old - step
            down = loss()
            data[i] = old
            assert grad.reshape(-1)[i] == pytest.approx((up - down) / (2 * step), rel=1e-2, abs=1e-2), (blob.name, i)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", CASES)
def test_gpu_equals_cpu(name, bench):
    results = []
    for mode in (caffe.set_mode_cpu, caffe.set_mode_gpu):
        mode()
        try:
            caffe.set_random_seed(7)
            it = built(name, bench, np.random.default_rng(5))
            outs = it.forward()
            rng = np.random.default_rng(6)
            results.append(outs + it.backward(*(rng.normal(size=o.shape) for o in outs)))
        finally:
            caffe.set_mode_cpu()
    for cpu, gpu in zip(*results, strict=True):
        np.testing.assert_allclose(gpu, cpu, rtol=1e-3, atol=1e-4)


def test_permute(bench, rng):
    x = made(IMAGE, rng)
    y, = bench('type: "Permute" permute_param { order: 0 order: 2 order: 3 order: 1 }', x).forward()
    np.testing.assert_array_equal(y, x.transpose(0, 2, 3, 1))
    y, = bench('type: "Permute" permute_param { order: 2 }', x).forward()     # the rest follows
    np.testing.assert_array_equal(y, x.transpose(2, 0, 1, 3))


@pytest.mark.parametrize("across", [True, False])
@pytest.mark.parametrize("shared", [True, False])
def test_normalize(bench, rng, across, shared):
    x = made(IMAGE, rng)
    it = bench(f'type: "Normalize" norm_param {{ across_spatial: {str(across).lower()} eps: 0.5 '
               f'channel_shared: {str(shared).lower()} scale_filler {{ type: "constant" value: 20 }} }}', x)
    assert it.layer.blobs[0].shape == (() if shared else (4,))
    scale = np.full(4, 20.0)
    if not shared:
        scale = it.layer.blobs[0].data[...] = np.arange(1, 5)
    want = np.empty_like(x)
    for n in range(2):
        for c in range(4):
            for h in range(5):
                for w in range(6):
                    total = (x[n] ** 2).sum() if across else (x[n, :, h, w] ** 2).sum()
                    want[n, c, h, w] = scale[c] * x[n, c, h, w] / math.sqrt(total + 0.5)
    np.testing.assert_allclose(it.forward()[0], want, rtol=1e-5)


def naive_interp(x, size, nearest=False):
    """One plane, position by position."""
    y = np.zeros(size)
    for i in range(size[0]):
        for j in range(size[1]):
            r = i * (x.shape[0] - 1) / (size[0] - 1) if size[0] > 1 else 0.0
            c = j * (x.shape[1] - 1) / (size[1] - 1) if size[1] > 1 else 0.0
            if nearest:
                y[i, j] = x[math.floor(r + 0.5), math.floor(c + 0.5)]
                continue
            for a, u in ((int(r), 1 - r % 1), (int(r) + 1, r % 1)):
                for b, v in ((int(c), 1 - c % 1), (int(c) + 1, c % 1)):
                    if u and v:
                        y[i, j] += u * v * x[min(a, x.shape[0] - 1), min(b, x.shape[1] - 1)]
    return y


@pytest.mark.parametrize("param, size", [
    ("zoom_factor: 3", (13, 16)), ("shrink_factor: 2", (3, 3)), ("shrink_factor: 2 zoom_factor: 4", (9, 9)),
    ("height: 8 width: 1", (8, 1)), ("height: 5 width: 6", (5, 6)),
    ("height: 9 width: 4 interp_type: 'nearest_neighbor'", (9, 4)),
    ("pad_beg: -1 pad_end: -2 zoom_factor: 2", (3, 5)),
])
def test_interp(bench, rng, param, size):
    x = made(IMAGE, rng)
    y, = bench(f'type: "Interp" interp_param {{ {param} }}', x).forward()
    assert y.shape == (2, 4, *size)
    plane = x[1, 2, 1:-2, 1:-2] if "pad" in param else x[1, 2]
    np.testing.assert_allclose(y[1, 2], naive_interp(plane, size, "nearest" in param), rtol=1e-4, atol=1e-4)


def test_unpooling_undoes_pooling(bench, rng):
    """SegNet's pair on an odd plane: maxima return to where they came from, all else is 0."""
    x = np.abs(made((2, 4, 5, 7), rng)) + 1
    y, mask = bench('type: "Pooling" top: "y" top: "m" pooling_param { kernel_size: 2 stride: 2 }', x).forward()
    assert y.shape == (2, 4, 3, 4)
    exact, = bench('type: "Upsample" upsample_param { upsample_h: 5 upsample_w: 7 }', y, mask).forward()
    np.testing.assert_array_equal(exact[exact != 0], x[exact != 0])
    assert (exact != 0).sum() == y.size
    padded, = bench('type: "Upsample" upsample_param { scale: 2 pad_out_h: true pad_out_w: true }', y, mask).forward()
    np.testing.assert_array_equal(padded, exact)
    with pytest.raises(LayerError, match="outside the top"):
        bench('type: "Upsample" upsample_param { upsample_h: 2 upsample_w: 7 }', y, mask).forward()


def test_segnet_in_one_net(tmp_path):
    """A mask that leaves a layer with weights does not disturb the way back to them; BN works in place."""
    path = tmp_path / "net.prototxt"
    path.write_text("""
        force_backward: true
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
        layer { name: "conv" type: "Convolution" bottom: "x" top: "conv" convolution_param { num_output: 4
                kernel_size: 3 pad: 1 weight_filler { type: "xavier" } } }
        layer { name: "bn" type: "BN" bottom: "conv" top: "conv" param { lr_mult: 1 } param { lr_mult: 1 decay_mult: 0 }
                bn_param { scale_filler { type: "constant" value: 1 } shift_filler { type: "constant" value: 0.001 } } }
        layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
        layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" top: "pool_mask"
                pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
        layer { name: "up" type: "Upsample" bottom: "pool" bottom: "pool_mask" top: "up" upsample_param { scale: 2 } }
    """)
    caffe.set_random_seed(1)
    net = caffe.Net(str(path), caffe.TRAIN)
    net.blobs["x"].data[...] = np.random.default_rng(0).normal(size=(1, 3, 8, 8))
    net.forward()
    assert net.blobs["up"].data.sum() == pytest.approx(net.blobs["pool"].data.sum(), rel=1e-5)
    net.blobs["up"].diff[...] = 1
    net.backward()
    assert np.abs(net.params["conv"][0].diff).max() > 1e-6
    assert net.params["bn"][1].diff.ravel() == pytest.approx((net.blobs["pool"].data > 0).sum((0, 2, 3)))


def test_bn(bench, rng):
    x = made(IMAGE, rng)
    scale, shift = np.arange(1, 5).reshape(1, 4, 1, 1), np.arange(4).reshape(1, 4, 1, 1)
    mean, var = x.mean((0, 2, 3), keepdims=True), x.var((0, 2, 3), keepdims=True)
    for phase in (caffe.TRAIN, caffe.TEST):            # the batch's statistics in both
        it = bench('type: "BN" top: "y" top: "mean" top: "var"', x, phase=phase)
        assert not it.forward()[0].any()               # the fork's default fillers are 0
        it.layer.blobs[0].data[...], it.layer.blobs[1].data[...] = scale, shift
        y, m, v = it.forward()
        np.testing.assert_allclose(y, scale * (x - mean) / np.sqrt(var + 1e-9) + shift, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(m, mean, rtol=1e-5)
        np.testing.assert_allclose(v, var, rtol=1e-5)
    it = bench('type: "BN" bn_param { bn_mode: INFERENCE }', x)
    it.layer.blobs[0].data[...], it.layer.blobs[1].data[...] = scale, shift
    np.testing.assert_allclose(it.forward()[0], scale * x + shift, rtol=1e-6)


def half_away(x):
    return int(math.copysign(math.floor(abs(x) + 0.5), x))


def test_roi_pooling(bench, rng):
    x = rng.integers(-3, 3, (2, 3, 8, 9)).astype(np.float32)                   # many ties
    rois = np.array([[0, 0, 0, 15, 15], [1, -9, 3, 40, 9], [1, 5, 5, 5, 5], [0, 9, 9, 2, 2], [0, 50, 50, 60, 60],
                     *np.c_[rng.integers(0, 2, 20), rng.uniform(-4, 22, (20, 4))]], np.float32)
    it = bench('type: "ROIPooling" roi_pooling_param { pooled_h: 3 pooled_w: 2 spatial_scale: 0.5 }', x, rois)
    y, = it.forward()
    dy = rng.normal(size=y.shape)
    want, grad = np.zeros_like(y), np.zeros(x.shape)
    for r, (item, *corners) in enumerate(rois):
        x1, y1, x2, y2 = (half_away(float(c) * 0.5) for c in corners)
        h, w = max(y2 - y1 + 1, 1), max(x2 - x1 + 1, 1)
        for c, i, j in np.ndindex(*y.shape[1:]):
            rows = range(max(y1 + i * h // 3, 0), min(y1 + -(-(i + 1) * h // 3), 8))
            cols = range(max(x1 + j * w // 2, 0), min(x1 + -(-(j + 1) * w // 2), 9))
            cells = [(int(item), c, a, b) for a in rows for b in cols]
            if cells:
                best = max(cells, key=lambda cell: x[cell])                    # the first of equals
                want[r, c, i, j] = x[best]
                grad[best] += dy[r, c, i, j]
    np.testing.assert_array_equal(y, want)
    np.testing.assert_allclose(it.backward(dy)[0], grad, atol=1e-5)


@pytest.mark.parametrize("group", [1, 3])
def test_psroi_pooling(bench, rng, group):
    x = rng.normal(size=(2, 2 * group**2, 8, 9)).astype(np.float32)
    rois = np.array([[0, 0, 0, 15, 15], [1, -9, 3, 40, 9], [1, 5, 5, 5, 5], [0, 9, 9, 2, 2], [0, 50, 50, 60, 60],
                     *np.c_[rng.integers(0, 2, 20), rng.uniform(-4, 22, (20, 4))]], np.float32)
    it = bench(f'type: "PSROIPooling" psroi_pooling_param {{ spatial_scale: 0.5 output_dim: 2 group_size: {group} }}',
               x, rois)
    y, = it.forward()
    want = np.zeros((len(rois), 2, group, group))
    for r, (item, *corners) in enumerate(rois):
        x1, y1, x2, y2 = (half_away(c) for c in corners)
        x1, y1, x2, y2 = 0.5 * x1, 0.5 * y1, 0.5 * (x2 + 1), 0.5 * (y2 + 1)
        h, w = max(y2 - y1, 0.1) / group, max(x2 - x1, 0.1) / group
        for c, i, j in np.ndindex(*want.shape[1:]):
            rows = range(max(math.floor(i * h + y1), 0), min(math.ceil((i + 1) * h + y1 - 1e-6), 8))
            cols = range(max(math.floor(j * w + x1), 0), min(math.ceil((j + 1) * w + x1 - 1e-6), 9))
            values = [x[int(item), (c * group + i) * group + j, a, b] for a in rows for b in cols]
            want[r, c, i, j] = np.mean(values) if values else 0
    np.testing.assert_allclose(y, want, rtol=1e-4, atol=1e-5)


def test_depthwise_convolution_is_grouped(bench, rng):
    x = made(IMAGE, rng)
    for kind in ("DepthwiseConvolution", "ConvolutionDepthwise"):
        it = bench(f'type: "{kind}" convolution_param {{ num_output: 4 kernel_size: 3 weight_filler {GAUSS} }}', x)
        assert it.layer.blobs[0].shape == (4, 1, 3, 3) and it.layer.blobs[1].shape == (4,)
        weight, want = it.layer.blobs[0].data, np.zeros((2, 4, 3, 4))
        for i, j in np.ndindex(3, 4):
            want[:, :, i, j] = (x[:, :, i:i + 3, j:j + 3] * weight[:, 0]).sum((2, 3))
        np.testing.assert_allclose(it.forward()[0], want, rtol=1e-4, atol=1e-5)


def test_elementwise_and_channels(bench, rng):
    x = np.array([[-1, 0, 3, 6, 7]], np.float32)
    it = bench('type: "ReLU6"', x)
    np.testing.assert_array_equal(it.forward()[0], [[0, 0, 3, 6, 6]])
    np.testing.assert_array_equal(it.backward(np.ones_like(x))[0], [[0, 0, 1, 0, 0]])
    x = np.arange(6, dtype=np.float32).reshape(1, 6)
    y, = bench('type: "ShuffleChannel" shuffle_channel_param { group: 2 }', x).forward()
    np.testing.assert_array_equal(y, [[0, 3, 1, 4, 2, 5]])
    a, x, b = made((2, 4), rng), made(IMAGE, rng), made(IMAGE, rng)
    np.testing.assert_allclose(bench('type: "Axpy"', a, x, b).forward()[0], a[:, :, None, None] * x + b, rtol=1e-5)


def test_ceil_mode(bench):
    x = np.arange(25, dtype=np.float32).reshape(1, 1, 5, 5)
    sizes = {"": 3, "torch_pooling: true": 2, "ceil_mode: true": 3,
             "ceil_mode: false": 2, "ceil_mode: false round_mode: FLOOR": 2,
             "round_mode: FLOOR": 2}
    for pool in ("MAX", "AVE"):
        for field, size in sizes.items():
            param = f"pool: {pool} kernel_size: 2 stride: 2 {field}"
            y, = bench(f'type: "Pooling" pooling_param {{ {param} }}', x).forward()
            assert y.shape[2:] == (size, size)
    with pytest.raises(LayerError, match="contradict"):
        bench('type: "Pooling" pooling_param { kernel_size: 2 ceil_mode: true round_mode: FLOOR }', x)


@pytest.mark.parametrize("prototxt, shapes, message", [
    ('type: "Permute" permute_param { order: 1 order: 1 }', [IMAGE], "twice"),
    ('type: "Interp"', [IMAGE], "one way"),
    ('type: "Interp" interp_param { zoom_factor: 2 height: 3 width: 3 }', [IMAGE], "one way"),
    ('type: "Interp" interp_param { zoom_factor: 2 pad_beg: 1 }', [IMAGE], "crops only"),
    ('type: "Interp" interp_param { zoom_factor: 2 pad_beg: -5 }', [IMAGE], "nothing is left"),
    ('type: "Interp" interp_param { zoom_factor: 2 interp_type: "cubic" }', [IMAGE], "unknown interp_type"),
    ('type: "Upsample" upsample_param { upsample_h: 3 }', [IMAGE, IMAGE], "both upsample_h"),
    ('type: "Upsample" upsample_param { scale: 3 pad_out_h: true }', [IMAGE, IMAGE], "scale 2 alone"),
    ('type: "Upsample"', [IMAGE, (2, 4, 5, 7)], "shape of bottom 0"),
    ('type: "BN" top: "y" top: "mean" bn_param { bn_mode: INFERENCE }', [IMAGE], "no batch statistics"),
    ('type: "ROIPooling"', [IMAGE, (1, 5)], "pooled_h"),
    ('type: "ROIPooling" roi_pooling_param { pooled_h: 1 pooled_w: 1 }', [IMAGE, (1, 4)], "do not fit"),
    ('type: "PSROIPooling" psroi_pooling_param { spatial_scale: 1 output_dim: 3 group_size: 2 }', [IMAGE, (1, 5)],
     "channels do not fit"),
    ('type: "PSROIPooling" psroi_pooling_param { spatial_scale: 1 output_dim: 0 group_size: 2 }', [IMAGE, (1, 5)],
     "must be positive"),
    ('type: "DepthwiseConvolution" convolution_param { num_output: 4 kernel_size: 1 group: 2 }', [IMAGE], "by itself"),
    ('type: "ConvolutionDepthwise" convolution_param { num_output: 8 kernel_size: 1 }', [IMAGE], "as many outputs"),
    ('type: "ShuffleChannel" shuffle_channel_param { group: 3 }', [IMAGE], "multiple of group"),
    ('type: "Axpy"', [(2, 3), IMAGE, IMAGE], "do not fit"),
])
def test_refusals(bench, prototxt, shapes, message):
    with pytest.raises((LayerError, ShapeError), match=message) as error:
        bench(prototxt, *shapes)
    assert isinstance(error.value, CaffeError) and "net.prototxt:7" in str(error.value) and error.value.help


def test_region_outside_the_batch(bench):
    it = bench('type: "ROIPooling" roi_pooling_param { pooled_h: 1 pooled_w: 1 }', IMAGE, np.array([[2, 0, 0, 1, 1]]))
    with pytest.raises(LayerError, match="no item of the batch"):
        it.forward()
