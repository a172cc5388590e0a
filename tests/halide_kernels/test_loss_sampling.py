"""Loss sampling: all back ends give the same bits, kept cells are whole, and as many as asked for."""

import numpy as np
import pytest
import torch

import caffe
from halide_kernels import backend
from halide_kernels import loss_sampling as kernel

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.fixture
def other(back_end):
    return back_end(kernel.BACKENDS)


def cells(size, cell):
    return (np.arange(size) // cell).astype(np.uint32)


def sampled(labels, keep, cell=1, key=1, run=kernel.with_numpy):
    out = np.full_like(labels, -1)
    run(labels, cells(labels.shape[1], cell), cells(labels.shape[2], cell), keep, key, out)
    return out


@pytest.mark.unit
@pytest.mark.parametrize("seed", range(20))
def test_back_ends_give_the_same_bits(other, seed):
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, 22, draw.integers(1, (4, 41, 41))).astype(np.float32)
    labels[labels == 21] = 255
    labels.flags.writeable = False
    keep = kernel.probabilities([0, 1, *draw.random(18)][seed], dict(enumerate(draw.random(seed % 5))))
    cell, key = int(draw.integers(1, 10)), int(draw.integers(2**32))
    np.testing.assert_array_equal(sampled(labels, keep, cell, key, other), sampled(labels, keep, cell, key))


@pytest.mark.tiny
def test_a_cell_is_kept_or_dropped_whole():
    labels = np.arange(2 * 20 * 28).reshape(2, 20, 28).astype(np.float32) % 200
    out = sampled(labels, kernel.probabilities(0.5, {}), cell=4)
    kept = (out == labels).reshape(2, 5, 4, 7, 4).mean((2, 4))
    assert set(np.unique(kept)) == {0, 1} and 15 < kept.sum() < 55
    assert set(np.unique(out[out != labels])) == {255}
    assert not (kept[0] == kept[1]).all()   # each picture has its own draw


@pytest.mark.unit
@pytest.mark.parametrize("p", [0, 1e-3, 0.25, 0.5, 0.9, 1])
def test_so_many_are_kept(p):
    kept = sampled(np.zeros((4, 500, 500), np.float32), kernel.probabilities(p, {})) == 0
    assert abs(kept.mean() - p) <= 5 * np.sqrt(p * (1 - p) / kept.size)


@pytest.mark.unit
def test_neighbours_and_draws_are_independent():
    """Correlation of the kept pixels with those beside, below, of the next picture and draw: that of chance."""
    labels = np.zeros((2, 300, 300), np.float32)
    draws = [sampled(labels, kernel.probabilities(0.3, {}), key=kernel.key(7, i)) == 0 for i in range(2)]
    one = draws[0] - np.mean(draws[0])
    pairs = [(one[..., :-1], one[..., 1:]), (one[:, :-1], one[:, 1:]), (one[0], one[1]), (one, draws[1] - 0.3)]
    for a, b in pairs:
        assert abs((a * b).mean() / 0.21) < 5 / np.sqrt(a.size)


@pytest.mark.unit
def test_classes_have_their_own_probabilities():
    labels = np.random.default_rng(0).integers(0, 3, (1, 600, 600)).astype(np.float32)
    labels[:, 0] = 255
    out = sampled(labels, kernel.probabilities(0.5, {0: 0.1, 1: 1.0}))
    for label, p in enumerate((0.05, 0.5, 0.5)):
        assert abs((out[labels == label] == label).mean() - p) < 5e-3
    assert (out[:, 0] == 255).all()


@pytest.mark.unit
def test_seeds_and_counts_of_64_bits_have_different_keys():
    numbers = [0, 1, 2, 2**31, 2**32, 2**32 + 1, 2**63]
    assert len({kernel.key(seed, count) for seed in numbers for count in numbers}) == len(numbers) ** 2


@pytest.mark.unit
def test_without_halide_numpy_computes_the_same_and_says_why(monkeypatch):
    labels, keep = np.zeros((1, 9, 9), np.float32), kernel.probabilities(0.5, {})
    results = []
    for missing in ((), ("halide", "cupy")):
        with monkeypatch.context() as patch:
            real = backend.find
            patch.setattr(backend, "find", lambda name, missing=missing, real=real:
                          (None, f"{name} is gone") if name in missing else real(name))
            out = np.empty_like(labels)
            said = kernel.sample(labels, cells(9, 1), cells(9, 1), keep, 5, out)
            results.append(out)
    assert "NumPy" in said and "halide is gone" in said
    np.testing.assert_array_equal(*results)


NET = """
layer { name: "label" type: "Input" top: "label" input_param { shape { dim: 2 dim: 1 dim: 40 dim: 50 } } }
layer { name: "sample" type: "Python" bottom: "label" top: "sampled" python_param {
  module: "layers.loss_sampling" layer: "LossSampling" param_str: "{'p': 0.5, 'cell': 3, 'class_p': [0.3]}" } }
"""


@pytest.mark.gpu
@needs_cuda
def test_the_layer_keeps_the_same_labels_on_a_gpu(tmp_path):
    (tmp_path / "net.prototxt").write_text(NET)
    labels = np.random.default_rng(0).integers(0, 3, (2, 1, 40, 50)).astype(np.float32)
    draws = {}
    for mode in (caffe.set_mode_cpu, caffe.set_mode_gpu):
        mode()
        try:
            net = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TRAIN)
            draws[mode] = []
            for _ in range(2):
                net.forward(label=labels)
                draws[mode].append(net.blobs["sampled"].data.copy())
        finally:
            caffe.set_mode_cpu()
    np.testing.assert_array_equal(*draws.values())
