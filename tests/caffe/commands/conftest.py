"""What the tests of the commands share: running one, tiny images, and a net small enough to check by hand."""
import numpy as np
import pytest
from PIL import Image

import caffe
from caffe import cli, glog

# the score of class c is the mean over the image of (c + 1) * channel c
DEPLOY = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 4 dim: 3 dim: 4 dim: 6 } } }
layer { name: "pool" type: "Pooling" bottom: "data" top: "pool" pooling_param { pool: AVE global_pooling: true } }
layer { name: "score" type: "InnerProduct" bottom: "pool" top: "score"
  inner_product_param { num_output: 3 bias_term: false } }
"""


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """run(*arguments) -> (exit status, what was printed and logged); the working folder is tmp_path."""
    levels = glog.logger.level, glog.solver_logger.level
    handlers = list(glog.logger.handlers)
    monkeypatch.delenv("GLOG_minloglevel", raising=False)
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        status = cli.main([str(a) for a in arguments])
        out = capsys.readouterr()
        return status, out.out + out.err

    yield run
    glog.logger.handlers[:] = handlers
    glog.logger.setLevel(levels[0])
    glog.solver_logger.setLevel(levels[1])


@pytest.fixture
def images(tmp_path):
    """write(number, height, width, suffix) -> the RGB arrays; files tmp_path/img/I.suffix and tmp_path/list.txt."""
    def write(number=4, height=8, width=10, suffix="png"):
        (tmp_path / "img").mkdir(exist_ok=True)
        arrays = np.random.default_rng(0).integers(0, 256, (number, height, width, 3), np.uint8)
        for i, array in enumerate(arrays):
            Image.fromarray(array).save(tmp_path / "img" / f"{i}.{suffix}")
        (tmp_path / "list.txt").write_text("".join(f"{i}.{suffix} {i * 10}\n" for i in range(number)))
        return arrays

    return write


@pytest.fixture
def deploy(tmp_path):
    """The paths of DEPLOY and its weights."""
    path = tmp_path / "deploy.prototxt"
    path.write_text(DEPLOY)
    net = caffe.Net(str(path), caffe.TEST)
    net.params["score"][0].data[...] = np.diag([1, 2, 3])
    net.save(str(tmp_path / "deploy.caffemodel"))
    return str(path), str(tmp_path / "deploy.caffemodel")
