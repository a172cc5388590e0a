"""Pain 9: "Unknown layer type: Python", modules that are not found, and prototxts that run a stranger's code."""
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import caffe
from caffe import cli, commands, glog
from caffe.proto.caffe_pb2 import NetParameter

pytestmark = pytest.mark.unit

MODULE = """
from pathlib import Path
import caffe
Path(__file__).with_suffix(".ran").touch()

class {name}(caffe.Layer):
    def setup(self, bottom, top): pass
    def reshape(self, bottom, top): top[0].reshape(*bottom[0].data.shape)
    def forward(self, bottom, top): top[0].data[...] = bottom[0].data + 1
    def backward(self, top, propagate_down, bottom): bottom[0].diff[...] = top[0].diff
"""
NET = """
layer {{ name: "x" type: "Input" top: "x" input_param {{ shape {{ dim: 1 dim: 3 dim: 4 dim: 4 }} }} }}
layer {{ name: "mine" type: "Python" bottom: "x" top: "y" python_param {{ module: "{module}" layer: "{name}" }} }}
layer {{ name: "loss" type: "Reduction" bottom: "y" top: "loss" loss_weight: 1 }}
"""
SOLVER = 'net: "nets/net.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 1 snapshot_prefix: "snap" '


@pytest.fixture
def stranger(tmp_path, monkeypatch, request):
    """A folder `nets` with a prototxt and, beside it, its module, which leaves a trace when it is imported; the name of
    that module. The working folder is another one."""
    name = "stranger_" + "".join(c if c.isalnum() else "_" for c in request.node.name)
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets" / f"{name}.py").write_text(MODULE.format(name="Plus"))
    (tmp_path / "nets" / "net.prototxt").write_text(NET.format(module=name, name="Plus"))
    (tmp_path / "solver.prototxt").write_text(SOLVER)
    weights = NetParameter(layer=[{"name": "mine", "type": "Python"}])
    (tmp_path / "w.caffemodel").write_bytes(weights.SerializeToString())
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "cat.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("CAFFE_PYTHON_LAYERS", name)   # so that it is put back after what the flag does
    handlers, levels = list(glog.logger.handlers), (glog.logger.level, glog.solver_logger.level)
    yield name
    glog.logger.handlers[:] = handlers
    glog.logger.setLevel(levels[0])
    glog.solver_logger.setLevel(levels[1])


def ran(name):
    return (Path("nets") / f"{name}.ran").exists()


def test_python_layers_are_always_there():
    assert "Python" in caffe.layer_type_list()


def test_the_module_is_found_beside_the_prototxt(stranger):
    """No PYTHONPATH, another working folder: the folder of the prototxt is enough, also for a solver's net."""
    net = caffe.Net("nets/net.prototxt", caffe.TEST)
    net.blobs["x"].data[...] = 2
    net.forward()
    assert (net.blobs["y"].data == 3).all()
    caffe.SGDSolver("solver.prototxt").step(1)


def test_the_error_lists_the_places(stranger, tmp_path, monkeypatch):
    monkeypatch.delenv("CAFFE_PYTHON_LAYERS")
    (tmp_path / "nets" / "net.prototxt").write_text(NET.format(module="never_written", name="Plus"))
    with pytest.raises(caffe.LayerError, match="there is no module 'never_written'") as e:
        caffe.Net("nets/net.prototxt", caffe.TEST)
    text = str(e.value)
    assert str(tmp_path) in text and str(tmp_path / "nets") in text and sys.path[-1] in text
    assert "nets/net.prototxt:3" in text and "'mine'" in text and "PYTHONPATH" in text


COMMANDS = [
    ["train", "-solver", "solver.prototxt"],
    ["test", "-model", "nets/net.prototxt", "-weights", "w.caffemodel", "-iterations", "1"],
    ["time", "-model", "nets/net.prototxt", "-iterations", "1"],
    ["extract_features", "w.caffemodel", "nets/net.prototxt", "y", "out.npz", "1", "npz"],
    ["classify", "cat.png", "out.npy", "-model_def", "nets/net.prototxt", "-pretrained_model", "w.caffemodel"],
    ["detect", "windows.csv", "out.csv", "-model_def", "nets/net.prototxt", "-pretrained_model", "w.caffemodel"],
    ["summary", "nets/net.prototxt"],
]


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda a: a[0])
@pytest.mark.parametrize("rule", ["none", "layers,other"])
def test_the_flag_forbids(stranger, capsys, arguments, rule):
    """The variable allows the module: the flag goes before it."""
    Path("windows.csv").write_text("filename,xmin,ymin,xmax,ymax\ncat.png,0,0,3,3\n")
    assert cli.main([*arguments, "-python_layers", rule]) == 1
    said = capsys.readouterr().err
    assert f"module '{stranger}' is not allowed" in said and "-python_layers" in said and "'mine'" in said
    assert not ran(stranger)


@pytest.mark.parametrize("arguments", COMMANDS[:3] + COMMANDS[-1:], ids=lambda a: a[0])
def test_the_flag_allows(stranger, capsys, monkeypatch, arguments):
    monkeypatch.setenv("CAFFE_PYTHON_LAYERS", "none")
    assert cli.main(arguments) == 1 and not ran(stranger)
    assert cli.main([*arguments, f"-python_layers=other,{stranger}"]) == 0, capsys.readouterr().err
    assert ran(stranger)


def test_every_command_that_builds_a_net_has_the_flag(capsys):
    """The others refuse it, so that nobody believes to be safe."""
    building = {name for name in commands.COMMANDS if (Path(commands.__file__).parent / (
        ("import_" if name == "import" else name.replace("-", "_")) + ".py")).exists()}
    building -= {"upgrade_net_proto_text", "upgrade_net_proto_binary", "upgrade_solver_proto_text", "convert_imageset",
                 "compute_image_mean", "parse_log", "plot_log", "explain-crop", "lint", "draw", "import"}
    for name in building:
        with pytest.raises(SystemExit):
            cli.main([name, "-help"])
        assert "python_layers" in capsys.readouterr().out, name
    assert cli.main(["draw", "a", "b", "-python_layers", "none"]) == 1


def test_in_a_process_of_its_own(stranger):
    done = subprocess.run([sys.executable, "-m", "caffe", "summary", "nets/net.prototxt", "--python_layers=none"],
                          capture_output=True, text=True, env={"PYTHONPATH": str(Path(caffe.__file__).parents[1])})
    assert done.returncode == 1 and "not allowed" in done.stderr and not ran(stranger)
