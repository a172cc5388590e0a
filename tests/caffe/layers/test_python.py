"""Python layers: where their module is found, which are allowed, and what their errors say."""
import importlib
import sys
import traceback

import numpy as np
import pytest

import caffe
from caffe import PythonLayerError

pytestmark = pytest.mark.unit

MODULE = """
import caffe

class Double(caffe.Layer):
    def setup(self, bottom, top):
        self.factor = float(self.param_str or 2)
        assert self.phase == caffe.TEST and self.type == "Python"
    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].data.shape)
    def forward(self, bottom, top):
        top[0].data[...] = self.factor * bottom[0].data
        if self.factor == 13:
            raise ValueError("thirteen")
        if self.factor == 14:
            raise KeyboardInterrupt
        if self.factor == 15:
            raise caffe.DataError("image 7 is broken", help="repair it")
    def backward(self, top, propagate_down, bottom):
        bottom[0].diff[...] = self.factor * top[0].diff

class Greedy(caffe.Layer):
    def __init__(self, param):
        pass

class Plain:
    pass
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """write(name, layer, param_str, folder) -> the net's path; its module lies beside the prototxt."""
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)

    def write(module, layer="Double", param_str="", text=MODULE, folder=tmp_path):
        if text is not None:
            (folder / f"{module}.py").write_text(text)
        importlib.invalidate_caches()
        path = tmp_path / "net.prototxt"
        path.write_text('layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }\n'
                        f'layer {{ name: "mine" type: "Python" bottom: "x" top: "y" python_param {{ '
                        f'module: "{module}" layer: "{layer}" param_str: "{param_str}" }} }}\n')
        return str(path)

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_module_beside_the_prototxt(write):
    net = caffe.Net(write("beside_me", param_str="3"), caffe.TEST)
    layer = net.layers[1]
    assert type(layer).__name__ == "Double" and isinstance(layer, sys.modules["beside_me"].Double)
    assert layer.param_str == "3" and layer.factor == 3
    out = net.forward(x=np.ones((2, 3)))
    assert (out["y"] == 3).all()


def test_a_layer_may_call_its_attributes_as_it_likes(write):
    """What pycaffe leaves free: the engine's own notes about a layer must neither be hit nor hit back."""
    names = ["name", "where", "records", "loss_weights", "p", "state", "kept", "tops", "bottoms", "at", "shape", "fail"]
    mine = MODULE.replace("self.factor = f", "".join(f"self.{n} = '{n}'; " for n in names) + "self.factor = f")
    net = caffe.Net(write("own_names", text=mine), caffe.TEST)
    assert net.forward(x=np.ones((2, 3)))["y"].sum() == 12
    assert all(getattr(net.layers[1], n) == n for n in names)
    assert list(net.layer_dict) == ["x", "mine"]


def test_module_in_the_current_folder(write, tmp_path):
    net = caffe.Net(write("in_cwd", folder=tmp_path / "elsewhere"), caffe.TEST)
    assert (net.forward(x=np.ones((2, 3)))["y"] == 2).all()


def test_modules_that_the_layer_imports_later_are_found_too(write, tmp_path):
    (tmp_path / "helper_of_late.py").write_text("FACTOR = 4\n")
    late = MODULE.replace("self.factor = float(self.param_str or 2)",
                          "import helper_of_late; self.factor = helper_of_late.FACTOR")
    net = caffe.Net(write("late_import", text=late), caffe.TEST)
    assert (net.forward(x=np.ones((2, 3)))["y"] == 4).all()


def test_missing_module_lists_where_it_was_sought(write, tmp_path):
    with pytest.raises(caffe.LayerError, match="no module 'nowhere_at_all'") as e:
        caffe.Net(write("nowhere_at_all", text=None), caffe.TEST)
    assert str(tmp_path) in str(e.value.found) and str(tmp_path / "elsewhere") in str(e.value.found)
    assert e.value.layer == "mine" and "net.prototxt:2" in str(e.value) and e.value.help


def test_missing_class_names_the_nearest(write):
    with pytest.raises(caffe.LayerError, match="has no class 'Duoble'") as e:
        caffe.Net(write("nearest", "Duoble"), caffe.TEST)
    assert "Double" in e.value.expected


@pytest.mark.parametrize("layer, says", [("Plain", "no subclass of caffe.Layer"), ("", "needs module and layer"),
                                         ("Greedy", r"super\(\).__init__")])
def test_class_that_is_no_layer(write, layer, says):
    with pytest.raises(caffe.LayerError, match=says):
        caffe.Net(write("not_layers", layer), caffe.TEST)


@pytest.mark.parametrize("text, original", [
    ("import not_there_either", ModuleNotFoundError), ("1 / 0", ZeroDivisionError), ("def (", SyntaxError)])
def test_module_that_does_not_import(write, text, original):
    with pytest.raises(PythonLayerError, match=original.__name__) as e:
        caffe.Net(write("broken_module", text=text), caffe.TEST)
    assert isinstance(e.value.__cause__, original)


def test_error_in_forward_keeps_its_traceback(write):
    net = caffe.Net(write("raises", param_str="13"), caffe.TEST)
    with pytest.raises(PythonLayerError, match="raises.Double: forward raised ValueError: thirteen") as e:
        net.forward()
    assert isinstance(e.value, RuntimeError) and isinstance(e.value, caffe.LayerError)
    assert e.value.layer == "mine" and "x (2, 3)" in str(e.value.found)
    assert 'raise ValueError("thirteen")' in "".join(traceback.format_exception(e.value))


def test_error_in_setup(write):
    with pytest.raises(PythonLayerError, match="setup raised ValueError") as e:
        caffe.Net(write("bad_param", param_str="three"), caffe.TEST)
    assert "could not convert" in str(e.value)


def test_interrupt_passes(write):
    net = caffe.Net(write("interrupted", param_str="14"), caffe.TEST)
    with pytest.raises(KeyboardInterrupt):
        net.forward()


def test_our_own_errors_pass_with_a_note(write):
    net = caffe.Net(write("data_error", param_str="15"), caffe.TEST)
    with pytest.raises(caffe.DataError, match="image 7 is broken") as e:
        net.forward()
    assert type(e.value) is caffe.DataError and any("layer 'mine'" in note for note in e.value.__notes__)


@pytest.mark.parametrize("rule, allowed", [("none", False), ("other", False), ("other, trusted_one", True),
                                           ("trusted", False), ("trusted_one", True)])
def test_environment_restricts_modules(write, monkeypatch, rule, allowed):
    path = write("trusted_one")
    monkeypatch.setenv("CAFFE_PYTHON_LAYERS", rule)
    if allowed:
        caffe.Net(path, caffe.TEST)
    else:
        with pytest.raises(caffe.LayerError, match="not allowed") as e:
            caffe.Net(path, caffe.TEST)
        assert "trusted_one" not in sys.modules and "CAFFE_PYTHON_LAYERS" in e.value.help
