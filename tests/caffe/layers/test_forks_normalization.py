"""PSPNet's BN and NVCaffe's BatchNorm against their definitions, and their gradients by finite differences."""
import numpy as np
import pytest

import caffe
from caffe.errors import LayerError
from caffe.proto import caffe_pb2

pytestmark = pytest.mark.unit
SLOPE = np.array([0.5, -1, 2], np.float32).reshape(1, 3, 1, 1)
BIAS = np.array([1, 0, -0.5], np.float32).reshape(1, 3, 1, 1)
AXES = (0, 2, 3)


@pytest.fixture
def x(rng):
    return (rng.normal(size=(4, 3, 5, 6)) * [[[[1]], [[3]], [[0.2]]]] + 2).astype(np.float32)


def filled(it, *values):
    for blob, value in zip(it.layer.blobs, values, strict=False):
        blob.data[...] = np.reshape(value, blob.shape)
    return it


def check_gradient(it, rng, learned):
    """Diffs of the bottom and of the learned parameters are derivatives; other parameters have none."""
    kept = [b.data.copy() for b in it.layer.blobs]
    dy = rng.normal(size=it.forward()[0].shape)
    grads = [it.backward(dy)[0], *(b.diff.copy() for b in it.layer.blobs)]
    for n, (blob, grad) in enumerate(zip([it.bottom[0], *it.layer.blobs], grads, strict=True)):
        if n and n - 1 not in learned:
            assert not grad.any()
            continue
        data = blob.data.reshape(-1)
        for i in rng.choice(data.size, min(data.size, 10), replace=False):
            old, sums = data[i], []
            for value in (old + 1e-2, old - 1e-2):
                data[i] = value
                sums.append((it.forward()[0].astype(np.float64) * dy).sum())
                data[i] = old
                for b, value_before in zip(it.layer.blobs, kept, strict=True):
                    b.data[...] = value_before         # a forward pass in training has changed the averages
            assert grad.reshape(-1)[i] == pytest.approx((sums[0] - sums[1]) / 2e-2, rel=2e-2, abs=2e-2)


@pytest.mark.parametrize("extra", ["param { } param { } param { } param { }", "bn_param { eps: 1e-3 momentum: 0.9 }"])
def test_running_bn_in_training(bench, rng, x, extra):
    it = filled(bench(f'type: "BN" {extra}', x), SLOPE, BIAS, [1, 2, 3], [4, 5, 6])
    eps = 1e-3 if "eps" in extra else 1e-5
    mean, var = x.mean(AXES), x.var(AXES)
    y, = it.forward()
    want = SLOPE * (x - x.mean(AXES, keepdims=True)) / np.sqrt(x.var(AXES, keepdims=True) + eps) + BIAS
    np.testing.assert_allclose(y, want, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(it.layer.blobs[2].data.ravel(), 0.9 * np.array([1, 2, 3]) + 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(it.layer.blobs[3].data.ravel(), 0.9 * np.array([4, 5, 6]) + 0.1 * var, rtol=1e-5)
    assert [b.shape for b in it.layer.blobs] == [(1, 3, 1, 1)] * 4
    assert [p.lr_mult for p in it.layer.layer_param.param] == [1, 1, 0, 0]
    check_gradient(it, rng, {0, 1})


@pytest.mark.parametrize("param, phase, learned", [
    ("frozen: true", caffe.TRAIN, []), ("frozen: true", caffe.TEST, []), ("momentum: 0.95", caffe.TEST, [0, 1])])
def test_running_bn_on_its_averages(bench, rng, x, param, phase, learned):
    it = bench(f'type: "BN" bn_param {{ {param} slope_filler {{ value: 1 }} }}', x, phase=phase)
    assert it.layer.blobs[3].data.ravel().tolist() == [float("frozen" in param)] * 3      # the forks' first variance
    filled(it, SLOPE, BIAS, [1, 2, 3], [4, 5, 6])
    mean, var = np.array([1, 2, 3]).reshape(1, 3, 1, 1), np.array([4, 5, 6]).reshape(1, 3, 1, 1)
    y, = it.forward()
    np.testing.assert_allclose(y, SLOPE * (x - mean) / np.sqrt(var + 1e-5) + BIAS, rtol=1e-5, atol=1e-5)
    assert it.layer.blobs[2].data.ravel().tolist() == [1, 2, 3]
    assert [i for i, p in enumerate(it.layer.layer_param.param) if p.lr_mult] == learned
    dy = rng.normal(size=y.shape)
    np.testing.assert_allclose(it.backward(dy)[0], dy * SLOPE / np.sqrt(var + 1e-5), rtol=1e-4)


def test_the_two_types_named_bn(bench, x):
    assert len(bench('type: "BN"', x).layer.blobs) == 2
    assert len(bench('type: "BN" bn_param { shift_filler { value: 1 } }', x).layer.blobs) == 2
    with pytest.raises(LayerError, match="mixes fields") as error:
        bench('type: "BN" bn_param { frozen: true scale_filler { value: 1 } }', x)
    assert "bn_mode" not in str(error.value) and "scale_filler" in str(error.value)
    assert {"BN", "PSROIPooling", "SmoothL1Loss", "DenseImageData"} <= set(caffe.layer_type_list())


def test_pspnet_in_a_net(tmp_path, monkeypatch, x):
    """As PSPNet's prototxts have it, in place, and its weights by layer name."""
    monkeypatch.chdir(tmp_path)
    rates = "".join(f"param {{ lr_mult: {i} decay_mult: 0 }}" for i in (1, 1, 0, 0))
    (tmp_path / "net.prototxt").write_text(f"""
        layer {{ name: "x" type: "Input" top: "x" input_param {{ shape {{ dim: 4 dim: 3 dim: 5 dim: 6 }} }} }}
        layer {{ name: "bn" type: "BN" bottom: "x" top: "x" {rates} bn_param {{
                slope_filler {{ type: "constant" value: 1 }} bias_filler {{ type: "constant" value: 0 }}
                frozen: true momentum: 0.95 }} }}""")
    saved = caffe_pb2.NetParameter()
    layer = saved.layer.add(name="bn", type="BN")
    for value in (SLOPE, BIAS, [1, 2, 3], [4, 5, 6]):
        layer.blobs.add(data=np.ravel(value)).shape.dim.extend([1, 3, 1, 1])
    (tmp_path / "net.caffemodel").write_bytes(saved.SerializeToString())
    net = caffe.Net("net.prototxt", "net.caffemodel", caffe.TEST)
    net.blobs["x"].data[...] = x
    net.forward()
    want = SLOPE[0, 1, 0, 0] * (x[0, 1] - 2) / np.sqrt(5 + 1e-5) + BIAS[0, 1, 0, 0]
    np.testing.assert_allclose(net.blobs["x"].data[0, 1], want, rtol=1e-5)


@pytest.mark.parametrize("param", ["scale_bias: true", "scale_filler { value: 1 }", "bias_filler { value: 0 }"])
@pytest.mark.parametrize("phase", [caffe.TRAIN, caffe.TEST])
def test_batch_norm_with_scale_and_bias(bench, rng, x, param, phase):
    it = bench(f'type: "BatchNorm" batch_norm_param {{ {param} eps: 1e-9 }}', x, phase=phase)
    assert [b.shape for b in it.layer.blobs] == [(3,), (3,), (1,), (3,), (3,)]
    assert it.layer.blobs[3].data.tolist() == [1, 1, 1] and not it.layer.blobs[4].data.any()
    filled(it, [1, 2, 3], [4, 5, 6], 1, SLOPE, BIAS)
    mean, var = [1, 2, 3], [4, 5, 6]
    if phase == caffe.TRAIN:
        mean, var = x.mean(AXES), x.var(AXES)
    mean, var = np.reshape(mean, (1, 3, 1, 1)), np.reshape(var, (1, 3, 1, 1))
    np.testing.assert_allclose(it.forward()[0], SLOPE * (x - mean) / np.sqrt(var + 1e-5) + BIAS, rtol=1e-4, atol=1e-4)
    filled(it, [1, 2, 3], [4, 5, 6], 1, SLOPE, BIAS)
    check_gradient(it, rng, {3, 4})
