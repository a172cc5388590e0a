"""Every differentiable layer's backward against finite differences, through blobs, and its compute in float64."""
import numpy as np
import pytest
import torch

import caffe
from caffe.function import FunctionLayer

pytestmark = pytest.mark.unit
W = 'weight_filler { type: "gaussian" std: 0.5 } bias_filler { type: "gaussian" std: 0.5 }'
IMAGE, FLAT = (2, 4, 5, 6), (3, 4)

# prototxt, bottom shapes, which bottoms get a diff; "labels:n" makes integers below n
CASES = {
    "Convolution": (f'convolution_param {{ num_output: 6 kernel_size: 3 pad: 1 stride: 2 group: 2 {W} }}', [IMAGE]),
    "Convolution 1d": (f'type: "Convolution" convolution_param {{ num_output: 2 kernel_size: 2 dilation: 2 {W} }}',
                       [(2, 3, 7)]),
    "Convolution overhang": (f'type: "Convolution" convolution_param {{ num_output: 2 kernel_size: 3 stride: 2 {W} }}',
                             [(1, 2, 2, 5)]),
    "Deconvolution": (f'convolution_param {{ num_output: 6 kernel_h: 4 kernel_w: 3 stride: 2 pad: 1 group: 2 {W} }}',
                      [IMAGE]),
    "Convolution 0d": (f'type: "Convolution" convolution_param {{ num_output: 6 kernel_size: 1 group: 2 {W} }}',
                       [FLAT]),
    "Deconvolution 0d": (f'type: "Deconvolution" convolution_param {{ num_output: 6 kernel_size: 1 {W} }}', [FLAT]),
    "Deconvolution 3d": (f'type: "Deconvolution" convolution_param {{ num_output: 2 kernel_size: 2 stride: 2 {W} }}',
                         [(1, 2, 2, 1, 2)]),
    "InnerProduct": (f'inner_product_param {{ num_output: 3 {W} }}', [IMAGE]),
    "InnerProduct transpose": (
        f'type: "InnerProduct" inner_product_param {{ num_output: 3 transpose: true axis: 2 {W} }}', [IMAGE]),
    "Pooling": ("pooling_param { kernel_size: 3 stride: 2 pad: 1 }", [IMAGE]),
    "Pooling wide pad": ('type: "Pooling" pooling_param { kernel_size: 3 stride: 2 pad: 2 }', [IMAGE]),
    "Pooling AVE": ('type: "Pooling" pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 2 }', [IMAGE]),
    "Pooling AVE floor": ('type: "Pooling" pooling_param { pool: AVE kernel_size: 3 stride: 2 round_mode: FLOOR }',
                          [IMAGE]),
    "LRN": ("lrn_param { local_size: 3 alpha: 2 beta: 0.6 k: 1.5 }", [IMAGE]),
    "LRN within": ('type: "LRN" lrn_param { local_size: 3 alpha: 2 norm_region: WITHIN_CHANNEL }', [IMAGE]),
    "ReLU": ("relu_param { negative_slope: 0.3 }", [FLAT]),
    "ReLU plain": ('type: "ReLU"', [FLAT]),
    "ReLU negative": ('type: "ReLU" relu_param { negative_slope: -0.3 }', [FLAT]),
    "PReLU": ("", [IMAGE]),
    "PReLU shared": ('type: "PReLU" prelu_param { channel_shared: true }', [FLAT]),
    "Sigmoid": ("", [FLAT]), "TanH": ("", [FLAT]), "AbsVal": ("", [FLAT]), "BNLL": ("", [FLAT]), "ELU": ("", [FLAT]),
    "Swish": ("swish_param { beta: 1.7 }", [FLAT]),
    "Clip": ("clip_param { min: -0.5 max: 0.5 }", [FLAT]),
    "Exp": ("exp_param { base: 2 scale: 0.5 shift: 1 }", [FLAT]),
    "Log": ("log_param { base: 10 scale: 0.5 shift: 4 }", [FLAT]),
    "Power": ("power_param { power: 2.5 scale: 0.5 shift: 4 }", [FLAT]),
    "Power constant": ('type: "Power" power_param { power: 0 }', [FLAT]),
    "Concat": ("concat_param { axis: 1 }", [FLAT, (3, 2), FLAT]),
    "Slice": ('top: "a" top: "b" top: "c" slice_param { slice_point: 1 slice_point: 3 }', [IMAGE]),
    "Eltwise": ("eltwise_param { coeff: 1 coeff: -2 coeff: 0.5 }", [FLAT] * 3),
    "Eltwise PROD": ('type: "Eltwise" eltwise_param { operation: PROD }', [FLAT] * 3),
    "Eltwise MAX": ('type: "Eltwise" eltwise_param { operation: MAX }', [FLAT] * 3),
    "Split": ('top: "a" top: "b" top: "c"', [FLAT]),
    "Reshape": ("reshape_param { shape { dim: 0 dim: -1 } }", [IMAGE]),
    "Flatten": ("", [IMAGE]),
    "Crop": ("crop_param { offset: 1 offset: 2 }", [IMAGE, (2, 4, 3, 3)]),
    "Scale": ('scale_param { bias_term: true filler { type: "gaussian" } }', [IMAGE]),
    "Scale two": ('type: "Scale" scale_param { axis: 0 bias_term: true }', [IMAGE, (2, 4)]),
    "Bias": ("", [IMAGE]), "Bias two": ('type: "Bias" bias_param { axis: 2 }', [IMAGE, (5,)]),
    "Softmax": ("", [IMAGE]),
    "Tile": ("tile_param { axis: -1 tiles: 3 }", [FLAT]),
    "Reduction": ("reduction_param { axis: 1 coeff: 2 }", [IMAGE]),
    "Reduction SUMSQ": ('type: "Reduction" reduction_param { operation: SUMSQ }', [FLAT]),
    "Reduction ASUM": ('type: "Reduction" reduction_param { operation: ASUM axis: -1 }', [FLAT]),
    "Reduction MEAN": ('type: "Reduction" reduction_param { operation: MEAN }', [FLAT]),
    "MVN": ("", [IMAGE]), "MVN across": ('type: "MVN" mvn_param { across_channels: true }', [IMAGE]),
    "MVN mean": ('type: "MVN" mvn_param { normalize_variance: false }', [(2, 3, 4)]),
    "BatchNorm": ("", [IMAGE]),
    "BatchReindex": ("", [FLAT, "labels:3 (5,)"]),
    "Filter": ('top: "a" top: "b"', [FLAT, (3, 2, 2), "labels:2 (3,)"]),
    "Embed": (f"embed_param {{ num_output: 2 input_dim: 5 {W} }}", ["labels:5 (2, 3)"]),
    "Im2col": ("convolution_param { kernel_size: 3 kernel_size: 2 stride: 2 pad: 1 dilation: 2 dilation: 1 }", [IMAGE]),
    "SPP": ("spp_param { pyramid_height: 3 }", [(2, 3, 6, 7)]),
    "SPP AVE": ('type: "SPP" spp_param { pyramid_height: 2 pool: AVE }', [(2, 3, 5, 7)]),
    "SoftmaxWithLoss": ("loss_param { ignore_label: 1 }", [IMAGE, "labels:4 (2, 5, 6)"]),
    "SoftmaxWithLoss axis": ('type: "SoftmaxWithLoss" softmax_param { axis: -1 } loss_param { normalization: NONE }',
                             [FLAT, "labels:4 (3,)"]),
    "SigmoidCrossEntropyLoss": ("loss_param { ignore_label: 1 normalization: VALID }", [FLAT, "labels:3 (3, 4)"]),
    "EuclideanLoss": ("", [FLAT, FLAT]),
    "HingeLoss": ("", [FLAT, "labels:4 (3,)"]),
    "HingeLoss L2": ('type: "HingeLoss" hinge_loss_param { norm: L2 }', [FLAT, "labels:4 (3,)"]),
    "ContrastiveLoss": ("contrastive_loss_param { margin: 4 }", [FLAT, FLAT, "labels:2 (3,)"]),
    "ContrastiveLoss legacy": ('type: "ContrastiveLoss" contrastive_loss_param { margin: 9 legacy_version: true }',
                               [FLAT, FLAT, "labels:2 (3,)"]),
    "InfogainLoss": ("loss_param { ignore_label: 1 }", [FLAT, "labels:4 (3,)", "fixed (4, 4)"]),
    "LSTMUnit": ('top: "c" top: "h"', [(1, 2, 3), (1, 2, 12), "labels:2 (1, 2)"]),
    "LSTM": (f"recurrent_param {{ num_output: 3 {W} }}", [(3, 2, 4), "fresh (3, 2)"]),
    "LSTM static": (f'type: "LSTM" recurrent_param {{ num_output: 2 {W} }}', [(3, 2, 4), "fresh (3, 2)", (2, 3)]),
    "RNN": (f"recurrent_param {{ num_output: 3 {W} }}", [(3, 2, 4), "fresh (3, 2)"]),
}
# no compute of their own, a state in float32, or Caffe's own gradient (ContrastiveLoss divides by d + 1e-4)
_NOT_IN_FLOAT64 = {"SoftmaxWithLoss", "SoftmaxWithLoss axis", "ContrastiveLoss", "LSTM", "LSTM static", "RNN"}


def _made(spec, rng):
    if isinstance(spec, tuple):
        x = rng.normal(size=spec)
        return (np.sign(x) * (np.abs(x) + 0.05)).astype(np.float32), True   # away from the kinks at 0
    kind, shape = spec.split(" ", 1)
    size = tuple(int(n) for n in shape.strip("()").split(",") if n.strip())
    if kind == "fresh":                                # sequences begin with the batch: no state from before
        cont = np.ones(size, np.float32)
        cont[0] = 0
        cont[2, 1] = 0
        return cont, False
    if kind == "fixed":
        return rng.normal(size=size).astype(np.float32), False
    return rng.integers(0, int(kind.split(":")[1]), size).astype(np.float32), False


def _built(name, bench, rng):
    prototxt, specs = CASES[name]
    made = [_made(spec, rng) for spec in specs]
    kind = name.split()[0]
    if not prototxt.startswith("type:"):
        prototxt = f'type: "{kind}" {prototxt}'
    return bench(prototxt, *(array for array, _ in made)), [wanted for _, wanted in made]


@pytest.mark.parametrize("name", CASES)
def test_backward_is_the_derivative_of_forward(name, bench, rng):
    it, down = _built(name, bench, rng)
    if name.startswith("Crop"):
        down = [True, True]                            # the second bottom's diff is asked for, and is zero
    diffs = [rng.normal(size=t.shape) for t in map(np.asarray, it.forward())]

    def loss():
        return sum(float((t.astype(np.float64) * d).sum()) for t, d in zip(it.forward(), diffs, strict=True))

    it.forward()
    grads = it.backward(*diffs, down=down)
    blobs = [(b, g) for b, g, d in zip(it.bottom, grads, down, strict=True) if d]
    blobs += [(b, b.diff_tensor().numpy().copy()) for b in it.layer.blobs if name != "BatchNorm"]
    for blob, grad in blobs:
        data, step = blob.data.reshape(-1), 4e-3
        for i in rng.choice(data.size, min(data.size, 12), replace=False):
            old = data[i]
            data[i] = old + step
            up = loss()
            data[i] = old - step
            down_ = loss()
            data[i] = old
            assert grad.reshape(-1)[i] == pytest.approx((up - down_) / (2 * step), rel=1e-2, abs=5e-3), (blob.name, i)


@pytest.mark.parametrize("name", [n for n in CASES if n not in _NOT_IN_FLOAT64])
def test_compute_in_float64(name, bench, rng):
    """The function itself in double precision: an exact check, which float32 through blobs cannot be."""
    it, down = _built(name, bench, rng)
    assert isinstance(it.layer, FunctionLayer)
    if any(t.shape == () for t in it.top) and "Loss" in name:
        down[1:] = [d and i not in it.layer.no_diff_to for i, d in enumerate(down[1:], 1)]
    args = [b.tensor().double() for b in [*it.bottom, *it.layer.blobs]]
    wanted = down + [True] * len(it.layer.blobs)
    inputs = [a.clone().requires_grad_() for a, w in zip(args, wanted, strict=True) if w]

    def function(*some):
        them = iter(some)
        out = it.layer.compute(*(next(them) if w else a for a, w in zip(args, wanted, strict=True)))
        return tuple(o for o in ([out] if isinstance(out, torch.Tensor) else out) if o.requires_grad)

    if name == "Power constant":
        assert function(*inputs) == ()
        return
    assert torch.autograd.gradcheck(function, inputs, eps=1e-6, atol=1e-5)


@pytest.mark.parametrize("name", ["Convolution", "InnerProduct", "Scale", "Bias", "PReLU", "Embed"])
def test_parameter_diffs_accumulate(name, bench, rng):
    it, down = _built(name, bench, rng)
    diffs = [rng.normal(size=t.shape) for t in it.forward()]
    it.backward(*diffs, down=down)
    once = [b.diff_tensor().clone() for b in it.layer.blobs]
    it.backward(*diffs, down=down)
    for blob, first in zip(it.layer.blobs, once, strict=True):
        torch.testing.assert_close(blob.diff_tensor(), 2 * first)


def test_frozen_parameters_get_no_diff(bench, rng):
    it, down = _built("Convolution", bench, rng)
    it.layer.param_propagate_down = [False, True]
    diffs = [rng.normal(size=t.shape) for t in it.forward()]
    it.backward(*diffs, down=down)
    assert it.layer.blobs[0].diff_is_zero() and not it.layer.blobs[1].diff_is_zero()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", CASES)
def test_gpu_equals_cpu(name, bench):
    results = []
    for mode in (caffe.set_mode_cpu, caffe.set_mode_gpu):
        mode()
        try:
            caffe.set_random_seed(7)
            it, down = _built(name, bench, np.random.default_rng(5))
            outs = it.forward()
            rng = np.random.default_rng(6)
            grads = it.backward(*(rng.normal(size=o.shape) for o in outs), down=down)
            results.append(outs + grads + [b.diff_tensor().cpu().numpy() for b in it.layer.blobs])
        finally:
            caffe.set_mode_cpu()
    for cpu, gpu in zip(*results, strict=True):
        np.testing.assert_allclose(gpu, cpu, rtol=1e-3, atol=1e-4)
