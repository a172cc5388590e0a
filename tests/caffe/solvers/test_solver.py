"""Solvers: update rules against NumPy, which nets they build, testing, callbacks, requests."""
import math
import re

import numpy as np
import pytest

import caffe
from caffe import state
from caffe.solvers.solver import SOLVERS

pytestmark = pytest.mark.tiny

LINEAR = """
name: "linear"
layer { name: "data" type: "DummyData" top: "x" top: "t" dummy_data_param {
  shape { dim: 4 dim: 5 } shape { dim: 4 dim: 3 } data_filler { type: "gaussian" std: 1 } } }
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "y"
  param { lr_mult: 1 } param { lr_mult: 2 decay_mult: 0 }
  inner_product_param { num_output: 3 weight_filler { type: "gaussian" std: 1 } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "y" bottom: "t" top: "loss" }
"""


class Oracle:
    """Caffe's solvers on one list of arrays, in float64, written from their definitions."""

    def __init__(self, kind, p, weights):
        self.kind, self.p, self.t = kind, p, 0
        self.w = [w.astype(np.float64) for w in weights]
        self.h = [np.zeros_like(w) for w in self.w]
        self.h2 = [np.zeros_like(w) for w in self.w]

    def update(self, grads):
        p, self.t = self.p, self.t + 1
        grads = [g.astype(np.float64) for g in grads]
        norm = math.sqrt(sum((g ** 2).sum() for g in grads))
        scale = min(1, p["clip"] / norm) if p["clip"] >= 0 else 1
        for i, g in enumerate(grads):
            rate, decay = p["lr"] * (1, 2)[i], p["decay"] * (1, 0)[i]
            g = g * scale / p["iter_size"]
            g = g + decay * (self.w[i] if p["reg"] == "L2" else np.sign(self.w[i]))
            self.w[i] = self.w[i] - getattr(self, self.kind)(i, g, rate)

    def SGD(self, i, g, rate):
        self.h[i] = self.p["momentum"] * self.h[i] + rate * g
        return self.h[i]

    def Nesterov(self, i, g, rate):
        m, old = self.p["momentum"], self.h[i]
        self.h[i] = m * old + rate * g
        return (1 + m) * self.h[i] - m * old

    def AdaGrad(self, i, g, rate):
        self.h[i] = self.h[i] + g ** 2
        return rate * g / (np.sqrt(self.h[i]) + 1e-8)

    def RMSProp(self, i, g, rate):
        self.h[i] = 0.99 * self.h[i] + 0.01 * g ** 2
        return rate * g / (np.sqrt(self.h[i]) + 1e-8)

    def AdaDelta(self, i, g, rate):
        m = self.p["momentum"]
        self.h[i] = m * self.h[i] + (1 - m) * g ** 2
        step = g * np.sqrt((self.h2[i] + 1e-8) / (self.h[i] + 1e-8))
        self.h2[i] = m * self.h2[i] + (1 - m) * step ** 2
        return rate * step

    def Adam(self, i, g, rate):
        m = self.p["momentum"]
        self.h[i] = m * self.h[i] + (1 - m) * g
        self.h2[i] = 0.999 * self.h2[i] + 0.001 * g ** 2
        correction = math.sqrt(1 - 0.999 ** self.t) / (1 - m ** self.t)
        return rate * correction * self.h[i] / (np.sqrt(self.h2[i]) + 1e-8)


@pytest.mark.parametrize("kind", SOLVERS)
@pytest.mark.parametrize("decay, reg, clip, iter_size", [
    (0, "L2", -1, 1), (0.1, "L2", -1, 1), (0.1, "L1", 0.5, 3), (0.05, "L2", 2, 2)])
def test_update_rules(toy, kind, decay, reg, clip, iter_size):
    momentum = 0 if kind in ("AdaGrad", "RMSProp") else 0.9
    path = toy(f'type: "{kind}" momentum: {momentum} weight_decay: {decay} regularization_type: "{reg}" '
               f'clip_gradients: {clip} iter_size: {iter_size}', net=LINEAR)
    solver = caffe.get_solver(path)
    assert type(solver) is SOLVERS[kind] and isinstance(solver, caffe.SGDSolver)
    blobs = list(solver.net.params["ip"])
    settings = dict(lr=0.1, momentum=momentum, decay=decay, reg=reg, clip=clip, iter_size=iter_size)
    oracle = Oracle(kind, settings, [b.data.copy() for b in blobs])
    rng = np.random.default_rng(0)
    for _ in range(4):
        grads = [rng.standard_normal(b.shape).astype(np.float32) for b in blobs]
        before = [b.data.copy() for b in blobs]
        for blob, grad in zip(blobs, grads, strict=True):
            blob.diff[...] = grad
        solver.apply_update()
        oracle.update(grads)
        for blob, old, expected in zip(blobs, before, oracle.w, strict=True):
            np.testing.assert_allclose(blob.data, expected, rtol=2e-5, atol=2e-6)
            # Caffe leaves the step in the diff
            np.testing.assert_allclose(blob.diff, old - blob.data, rtol=1e-3, atol=1e-6)
    assert solver.iter == 4


def test_step_accumulates_over_iter_size(toy):
    """Two passes over halves are one pass over the whole: the same data serves both passes here."""
    weights = []
    for size in (1, 4):
        solver = caffe.get_solver(toy(f"iter_size: {size} momentum: 0 random_seed: 5", net=LINEAR.replace(
            'type: "gaussian" std: 1 } } }\nlayer { name: "ip"',
            'type: "constant" value: 0.5 } } }\nlayer { name: "ip"')))
        solver.step(3)
        weights.append(solver.net.params["ip"][0].data.copy())
    np.testing.assert_allclose(weights[0], weights[1], rtol=1e-5)


def test_a_frozen_parameter_costs_nothing(toy):
    net = LINEAR.replace("lr_mult: 1", "lr_mult: 0")
    solver = caffe.get_solver(toy("weight_decay: 0.1", net=net))
    before = solver.net.params["ip"][0].data.copy()
    solver.step(2)
    np.testing.assert_array_equal(solver.net.params["ip"][0].data, before)
    assert solver.untouched(solver.history[0]) and not solver.untouched(solver.history[1])


def test_reading_lr_advances_multistep_once(toy, lines):
    solver = caffe.get_solver(toy('lr_policy: "multistep" gamma: 0.5 stepvalue: 2 stepvalue: 4'))
    solver.step(5)
    assert solver.lr == pytest.approx(0.025)
    assert [m for m in lines() if "MultiStep" in m] == [
        "MultiStep Status: Iteration 2, step = 1", "MultiStep Status: Iteration 4, step = 2"]
    solver.base_lr = 0.5
    assert solver.lr == 0.125 and solver.max_iter == solver.param.max_iter == 20


# ------------------------------------------------------------------ which nets
def test_test_nets_in_caffes_order(toy, tmp_path):
    (tmp_path / "other.prototxt").write_text('name: "file"\n' + LINEAR.replace('name: "linear"\n', ""))
    inline = ('name: "inline" layer { name: "d" type: "DummyData" top: "x" '
              'dummy_data_param { shape { dim: 1 } } }')
    solver = caffe.get_solver(toy(
        f'test_net: "other.prototxt" test_net_param {{ {inline} }} test_iter: 1 test_iter: 1 test_iter: 1 '
        "test_iter: 1 test_interval: 5"))
    assert [net.name for net in solver.test_nets] == ["inline", "file", "toy", "toy"]
    assert "acc" in solver.test_nets[2].blobs and "acc" not in solver.net.blobs


def test_states_merge_net_then_solver(toy):
    def layer(name, rule):
        return (f'layer {{ name: "{name}" type: "DummyData" top: "{name}" '
                f'dummy_data_param {{ shape {{ dim: 1 }} }} {rule} }}\n')
    net = ('state { stage: "own" level: 1 }\n' + LINEAR + layer("a", 'include { stage: "own" }')
           + layer("b", 'include { stage: "extra" }') + layer("c", "include { min_level: 3 }")
           + layer("d", "include { phase: TEST }"))
    solver = caffe.get_solver(toy(
        'train_state { stage: "extra" } test_iter: 1 test_iter: 1 test_interval: 1 '
        "test_state { level: 3 } test_state { phase: TRAIN }", net=net))
    names = [set("abcd") & set(net.blobs) for net in [solver.net, *solver.test_nets]]
    assert names == [{"a", "b"}, {"a", "c", "d"}, {"a"}]


@pytest.mark.parametrize("text, words", [
    ('net: "net.prototxt" train_net: "net.prototxt"', "one training net (found net and train_net"),
    ('net_param { } test_net: "a"', "test_iter must be given once per test net (found 0 test_iter for 1"),
    ('train_net: "net.prototxt" test_iter: 3', "test_iter must be given once per test net"),
    ("test_iter: 3 test_interval: 5 test_state { } test_state { }", "test_state must be given once per"),
    ("test_iter: 3", "no test_interval"),
    ("test_iter: -3 test_interval: 1", "test_iter must not be negative"),
    ("average_loss: 0", "average_loss must be at least 1"),
    ("iter_size: 0", "iter_size must be at least 1"),
    ("snapshot: -5", "snapshot must not be negative"),
    ('regularization_type: "L3"', "unknown regularization_type (found L3"),
    ('lr_policy: "stepp"', 'did you mean "step"?'),
    ('type: "Adamw"', 'did you mean "Adam"?'),
    ('type: "AdaGrad"', "momentum cannot be used with AdaGrad"),
    ('type: "RMSProp" momentum: 0 rms_decay: 1.5', "rms_decay is out of range"),
    ('type: "Adam" momentum: 1', "momentum is out of range for Adam"),
])
def test_wrong_solvers_are_refused(toy, text, words):
    with pytest.raises(caffe.SolverError) as error:
        caffe.get_solver(toy(text))
    told = str(error.value)
    assert words in told and told.startswith("solver.prototxt") and "help:" in told


def test_a_solver_without_a_net(toy, tmp_path):
    (tmp_path / "s.prototxt").write_text('base_lr: 1 lr_policy: "fixed"')
    toy()
    with pytest.raises(caffe.SolverError, match="one training net"):
        caffe.get_solver("s.prototxt")


def test_net_paths_start_at_the_working_folder(toy, tmp_path, monkeypatch):
    toy()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pytest.raises(caffe.ParseError, match=f"cd {tmp_path}"):
        caffe.get_solver("../solver.prototxt")


def test_the_class_decides_and_says_so(toy, lines):
    assert isinstance(caffe.NesterovSolver(toy('type: "Adam"')), caffe.NesterovSolver)
    assert any('asks for type "Adam"; this is a Nesterov solver' in m for m in lines())


def test_seed_and_weights(toy, tmp_path):
    def weights(text=""):
        return caffe.get_solver(toy(text)).net.params["ip1"][0].data

    first = caffe.get_solver(toy())
    first.net.save("w.caffemodel")
    expected = first.net.params["ip1"][0].data
    np.testing.assert_array_equal(weights(), expected)
    np.testing.assert_array_equal(weights('random_seed: 4 weights: "w.caffemodel, w.caffemodel"'), expected)
    assert (weights("random_seed: 4") != expected).any()
    with pytest.raises(caffe.WeightsError, match="missing.caffemodel"):
        caffe.get_solver(toy('weights: "missing.caffemodel"'))


# ------------------------------------------------------------------ running
def test_display_average_and_debug_info(toy, lines):
    solver = caffe.get_solver(toy("display: 1 average_loss: 3 debug_info: true max_iter: 5"))
    solver.solve()
    text = lines()
    raw = [float(re.search(r"loss = (\S+) \(\*", m)[1]) for m in text if "Train net output #0" in m]
    shown = [float(m.split("loss = ")[1]) for m in text if m.startswith("Iteration") and "loss = " in m]
    assert len(raw) == 5 and len(shown) == 6
    for i in range(5):
        assert shown[i] == pytest.approx(np.mean(raw[max(0, i - 2):i + 1]), rel=1e-4)
    forward = [m for m in text if m.startswith("    [Forward] Layer ip1, top blob h data: ")]
    backward = [m for m in text if m.startswith("    [Backward] Layer ip2, param blob 0 diff: ")]
    norms = [m for m in text if m.startswith("    [Backward] All net params (data, diff): L1 norm = (")]
    assert len(forward) == len(backward) == len(norms) == 5


def test_testing_shares_weights_and_averages(toy, lines):
    solver = caffe.get_solver(toy(
        "test_iter: 3 test_interval: 2 test_initialization: false test_compute_loss: true max_iter: 2"))
    net = solver.test_nets[0]
    losses = []
    net.after_forward(lambda i: net.layers[i].name == "loss" and losses.append(float(net.blobs["loss"].data)))
    solver.solve()
    np.testing.assert_array_equal(net.params["ip1"][0].data, solver.net.params["ip1"][0].data)
    text = lines()
    assert text.count("Iteration 2, Testing net (#0)") == 1 and len(losses) == 3   # at 2, not at 0
    test_loss = float(next(m for m in text if m.startswith("Test loss: ")).split(": ")[1])
    output = next(m for m in text if m.startswith("    Test net output #1: loss = "))
    assert test_loss == pytest.approx(np.mean(losses), rel=1e-5)
    assert f"loss = {np.mean(losses):g} (* 1 = {np.mean(losses):g} loss)" in output


def test_large_outputs_are_named_not_printed(toy, lines):
    big = LINEAR.replace("dim: 4 dim: 3", "dim: 4 dim: 3 } shape { dim: 40 dim: 40").replace(
        'top: "t"', 'top: "t" top: "map"', 1)
    solver = caffe.get_solver(toy("display: 1 max_iter: 1 test_iter: 2 test_interval: 1", net=big))
    solver.solve()
    text = lines()
    assert "    Train net output 'map': 1600 values, not printed" in text
    assert "    Test net output 'map': 1600 values, not printed" in text
    assert len(text) == 20


def test_callbacks_and_sharing(toy):
    solver = caffe.get_solver(toy(net=LINEAR))
    seen = []
    solver.add_callback(lambda: seen.append(("start", solver.net.params["ip"][0].diff.any())),
                        lambda: seen.append(("gradients", solver.net.params["ip"][0].diff.any())))
    solver.step(2)
    assert seen == [("start", False), ("gradients", True)] * 2
    other = caffe.Net("net.prototxt", caffe.TEST)
    solver.share_weights(other)
    solver.net.params["ip"][0].data[...] = 7
    assert (other.params["ip"][0].data == 7).all()


def test_requests_between_iterations_and_test_batches(toy, lines, tmp_path):
    solver = caffe.get_solver(toy("test_iter: 4 test_interval: 3 test_initialization: false snapshot: 100"))
    asked = iter(["none", "snapshot", "none", "none", "none", "snapshot", "none", "stop"])
    solver.set_action_function(lambda: next(asked, "none"))
    solver.solve()
    # iterations 1, 2, 3; then a test at 3, stopped in its third batch, and the snapshot of the end
    assert solver.iter == 3 and solver.stopped_early
    assert sorted(p.stem for p in tmp_path.glob("*.solverstate")) == ["snap_iter_2", "snap_iter_3"]
    assert lines()[-1] == "Optimization stopped early." and "Test interrupted." in lines()


def test_solve_twice_trains_on(toy, lines):
    solver = caffe.get_solver(toy("max_iter: 3 snapshot_after_train: false"))
    solver.solve()
    solver.solve()
    assert solver.iter == 3 and any("nothing to train" in m for m in lines())


def test_memory_that_train_lets_go(toy):
    """`release_blobs`, as `caffe train` sets it, changes no number."""
    weights = []
    for release in (False, True):
        solver = caffe.get_solver(toy("display: 1 iter_size: 2 average_loss: 2"))
        solver.net.release_blobs = release
        solver.step(4)
        weights.append(solver.net.params["ip1"][0].data.copy())
    np.testing.assert_array_equal(*weights)


def test_clipping_is_logged(toy, lines):
    caffe.get_solver(toy("clip_gradients: 0.001")).step(1)
    assert any(m.startswith("Gradient clipping: scaling down gradients (L2 norm ") for m in lines())


def test_the_seed_counts_the_rank(toy, monkeypatch):
    monkeypatch.setattr(state, "_solver_rank", 2)
    seen = []
    monkeypatch.setattr(state, "set_random_seed", seen.append)
    caffe.get_solver(toy("random_seed: 40"))
    assert seen == [42]
