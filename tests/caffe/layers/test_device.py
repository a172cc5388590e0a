"""Every layer on a device of its own (`other_device`): nothing mixes with the host, copies and waits are known."""
import json

import numpy as np
import pytest
import torch

import caffe
from caffe import state
from caffe.solvers import updates
from tests.caffe.layers import test_forks, test_gradients
from tests.caffe.layers.other_device import META, DeviceTensor, Mixed, OtherDevice
from tests.conformance import run

pytestmark = pytest.mark.unit
IMAGE, FLAT = (2, 4, 5, 6), (3, 4)

# layer types that the tables of gradients leave out
MORE = {
    "Accuracy": ('type: "Accuracy" top: "a" top: "c" accuracy_param { ignore_label: 1 }', [FLAT, "labels:4 (3,)"]),
    "ArgMax": ('type: "ArgMax" argmax_param { top_k: 2 out_max_val: true }', [FLAT]),
    "ArgMax axis": ('type: "ArgMax" argmax_param { axis: 1 }', [IMAGE]),
    "Dropout": ('type: "Dropout"', [FLAT]),
    "Dropout in place": ('type: "Dropout" bottom: "x" top: "x"', [FLAT]),
    "DetectionOutput": ('type: "DetectionOutput" detection_output_param { num_classes: 2 keep_top_k: 3 '
                        'confidence_threshold: 0.01 nms_param { top_k: 4 } }', [(1, 8), (1, 4), "fixed (1, 2, 8)"]),
    "MultiBoxLoss": ('type: "MultiBoxLoss" multibox_loss_param { num_classes: 2 }', [
        (1, 8), (1, 4), np.float32([[[0, 0, .5, .5, .4, .4, 1, 1], [.1] * 8]]),
        np.float32([[[[0, 1, 0, .1, .1, .6, .6, 0]]]])]),
    "MultinomialLogisticLoss": ('type: "MultinomialLogisticLoss"', [FLAT, "labels:4 (3,)"]),
    "Pooling STOCHASTIC": ('type: "Pooling" pooling_param { pool: STOCHASTIC kernel_size: 2 stride: 2 }', [IMAGE]),
    "Pooling mask": ('type: "Pooling" top: "t" top: "m" pooling_param { kernel_size: 2 stride: 2 }', [IMAGE]),
    "ReLU in place": ('type: "ReLU" bottom: "x" top: "x"', [FLAT]),
    "Silence": ('type: "Silence"', [FLAT]),
    "SigmoidCrossEntropyLoss plain": ('type: "SigmoidCrossEntropyLoss"', [FLAT, "labels:2 (3, 4)"]),
    "SmoothL1Loss weighted": ('type: "SmoothL1Loss"', [FLAT, FLAT, "fixed (3, 4)", "fixed (3, 4)"]),
    "SoftmaxWithLoss plain": ('type: "SoftmaxWithLoss" top: "l" top: "p"', [FLAT, "labels:4 (3,)"]),
    "Threshold": ('type: "Threshold"', [FLAT]),
}
CASES = list(dict.fromkeys([*test_gradients.CASES, *test_forks.CASES, *MORE]))
NO_BACKWARD = {"Accuracy", "ArgMax", "Threshold", "DetectionOutput", "PriorBox"}
# their tops come from files, the program or Python code (one copy to the device each), or go to a file
HOST = {"Data", "DenseImageData", "DummyData", "HDF5Data", "HDF5Output", "ImageData", "Input", "MemoryData",
        "Parameter", "Python", "WindowData"}
# The only layers that CUDA waits for: how many numbers cross and other waits there are in a forward pass, and why.
RANGE = 2   # the least and the largest label or index, which are checked
CROSSES = {
    "Accuracy": RANGE + 5,    # counting labels by class, without the ignored ones
    "BatchReindex": RANGE, "Embed": RANGE, "HingeLoss": RANGE, "InfogainLoss": RANGE,
    "MultinomialLogisticLoss": RANGE, "SoftmaxWithLoss": RANGE, "Upsample": RANGE,
    "Filter": 2,              # how many items are left is the shape of the tops
    "ROIPooling": 15,         # the regions, whose bins are found on the host
    "PSROIPooling": 32,       # the regions there and back
    "PriorBox": 240,          # computed on the host from the parameters and the shapes
    "MultiBoxLoss": 17,       # the objects there and back, and whether the priors have an area
    "DetectionOutput": 35,    # non-maximum suppression runs on the host
}


@pytest.fixture
def enter(monkeypatch):
    """enter() -> OtherDevice, GPU mode from then on; random numbers stay the host's, so that results compare."""
    def gpu_mode():
        generator = state.generator
        monkeypatch.setattr(state, "device", lambda: META)
        monkeypatch.setattr(state, "mode", lambda: "GPU")
        monkeypatch.setattr(state, "generator", lambda where=None: generator())
        return OtherDevice()
    return gpu_mode


def built(name, bench):
    """The layer of a case on its blobs, and which bottoms get a diff."""
    caffe.set_random_seed(7)
    rng = np.random.default_rng(5)
    kind = name.split()[0]                             # "PReLU shared" is of type PReLU
    if name in test_forks.CASES:
        it = test_forks.built(name, bench, rng)
        return it, [kind not in NO_BACKWARD] * len(it.bottom)
    prototxt, specs = (MORE if name in MORE else test_gradients.CASES)[name]
    made = [(spec, False) if isinstance(spec, np.ndarray) else test_gradients._made(spec, rng) for spec in specs]
    if not prototxt.startswith("type:"):
        prototxt = f'type: "{kind}" {prototxt}'
    down = [wanted and kind not in NO_BACKWARD for _, wanted in made]
    return bench(prototxt, *(array for array, _ in made)), down


@pytest.mark.parametrize("name", CASES)
def test_layer_stays_on_its_device(name, bench, enter):
    it, down = built(name, bench)
    want = it.forward()
    diffs = [np.random.default_rng(6).normal(size=t.shape).astype(np.float32) for t in want]
    want += [grad for grad, d in zip(it.backward(*diffs, down=down), down, strict=True) if d]
    want += [b.diff_tensor().numpy() for b in it.layer.blobs]

    with enter() as there:
        it, down = built(name, bench)
        for blob in [*it.bottom, *it.layer.blobs]:
            blob.tensor()
        there.crossed.clear()
        it.layer.reshape(it.bottom, it.top)
        it.layer.forward(it.bottom, it.top)
        got = [blob.tensor() for blob in it.top]
        allowed = CROSSES.get(name.split()[0], 0)
        assert sum(there.crossed) + len(there.waits) <= allowed
        for blob, diff in zip(it.top, diffs, strict=True):
            blob.put_diff(torch.from_numpy(diff).to(META))
        there.crossed.clear()
        there.waits.clear()
        it.layer.backward(it.top, down, it.bottom)
        assert (there.crossed, there.waits) == ([], [])
        got += [blob.diff_tensor() for blob, d in zip(it.bottom, down, strict=True) if d]
        got += [blob.diff_tensor() for blob in it.layer.blobs]
        assert there.crossed == []                      # all of it was computed and kept there
        assert all(isinstance(t, DeviceTensor) for t in got)
        got = [t.cpu().numpy() for t in got]
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_no_layer_type_is_left_out():
    """A new layer type needs a case in one of the tables, or a place in HOST."""
    assert set(caffe.layer_type_list()) - {name.split()[0] for name in CASES} - HOST == set()


def test_the_other_device_refuses_what_cuda_refuses():
    with OtherDevice() as there:
        here, far = torch.ones(3), torch.ones(3).to(META)
        with pytest.raises(Mixed, match="on the device"):
            far + here
        with pytest.raises(Mixed, match="torch.full"):
            far * torch.tensor([2.0, 3.0, 4.0], device=META)
        with pytest.raises(RuntimeError):
            far.numpy()
        assert (far * 2).sum().item() == 6 and there.crossed == [3] and there.waits == ["aten::_local_scalar_dense"]


# ---------------------------------------------------------------- training
NET = """
layer { name: "data" type: "Input" top: "x" top: "y"
  input_param { shape { dim: 4 dim: 3 dim: 6 dim: 6 } shape { dim: 4 } } }
layer { name: "conv" type: "Convolution" bottom: "x" top: "h" param { lr_mult: 1 } param { lr_mult: 2 decay_mult: 0 }
  convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "relu" type: "ReLU" bottom: "h" top: "h" }
layer { name: "drop" type: "Dropout" bottom: "h" top: "h" }
layer { name: "ip" type: "InnerProduct" bottom: "h" top: "s"
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "s" bottom: "y" top: "loss" }
"""


def solver_of(folder, kind):
    (folder / "net.prototxt").write_text(NET)
    momentum = 'momentum: 0.9' if kind in ("SGD", "Nesterov", "Adam", "AdaDelta") else ""
    (folder / "solver.prototxt").write_text(
        f'net: "{folder}/net.prototxt" type: "{kind}" base_lr: 0.05 lr_policy: "fixed" weight_decay: 0.01 {momentum} '
        f'clip_gradients: 0.5 iter_size: 2 max_iter: 9 random_seed: 3 snapshot_prefix: "{folder}/s"')
    solver = caffe.get_solver(str(folder / "solver.prototxt"))
    rng = np.random.default_rng(1)
    solver.net.blobs["x"].data[...] = rng.normal(size=(4, 3, 6, 6))
    solver.net.blobs["y"].data[...] = [0, 1, 2, 1]
    return solver


def weights(solver):
    return [b.tensor().cpu().numpy().copy() for b in [*solver.net.learnable_params, *solver.history]]


@pytest.mark.parametrize("kind", updates.RULES)
def test_training_stays_on_the_device(kind, tmp_path, enter):
    solver = solver_of(tmp_path, kind)
    solver.step(5)
    want = weights(solver)
    with enter() as there:
        solver = solver_of(tmp_path, kind)
        solver.step(3)
        there.crossed.clear()
        there.waits.clear()
        solver.step(1)
        # of each of the two passes: the labels' range (2 numbers) and the loss; of the update: the norm to clip by
        assert there.crossed == [2, 2]
        assert there.waits == ["aten::_local_scalar_dense"] * 3
        blobs = [*solver.net.learnable_params, *solver.history]
        assert all(b._data.device_fresh and not b._data.host_fresh for b in blobs)
        solver.snapshot()
        solver.step(1)
        got = weights(solver)
        resumed = solver_of(tmp_path, kind)
        resumed.restore(str(tmp_path / "s_iter_4.solverstate"))
        resumed.step(1)
        again = weights(resumed)
    for a, b, c in zip(want, got, again, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)


@pytest.mark.slow
def test_conformance_on_the_other_device(enter, tmp_path, monkeypatch):
    """Everything with numbers that BVLC Caffe recorded, through pycaffe, in GPU mode."""
    monkeypatch.setattr(caffe, "set_mode_cpu", lambda: None)
    monkeypatch.chdir(tmp_path)
    cases = [case for case in run.collect(run.__file__.rpartition("/")[0], None) if case["kind"] == "npz"]
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    with enter():
        run.worker(str(tmp_path / "cases.json"), str(tmp_path / "results"), {"rtol": run.RTOL, "atol": run.ATOL})
    results = [json.loads(line) for line in (tmp_path / "results").read_text().splitlines()]
    assert len(results) == len(cases) > 300
    assert [(r["name"], r["note"] or r["where"]) for r in results if r["status"] != "pass"] == []
