"""Pains 4 and 5: nets that say nothing but background, and labels that are not what the loss takes."""
import logging
import re

import numpy as np
import pytest
from PIL import Image

import caffe
import surgery
from caffe.proto import caffe_pb2
from data import open_dataset
from data.palette import voc_palette, write_indexed_png
from surgery.errors import WeightsError
from tools import check_data
from tools.scoring import score

pytestmark = pytest.mark.unit

# no fillers, as in FCN's prototxts: what gets no weights is zero
CONVS = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 2 dim: 4 dim: 4 } } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 3 kernel_size: 1 } }
layer { name: "conv2" type: "Convolution" bottom: "conv1" top: "score"
  convolution_param { num_output: 21 kernel_size: 1 } }
"""


@pytest.fixture
def make(tmp_path):
    """make(prototxt, phase=caffe.TEST) -> net."""
    def net(text, phase=caffe.TEST):
        path = tmp_path / "net.prototxt"
        path.write_text(text)
        return caffe.Net(str(path), phase)
    return net


@pytest.fixture
def weights(tmp_path):
    """weights({layer: [arrays]}) -> path of a caffemodel."""
    def write(layers):
        net = caffe_pb2.NetParameter()
        for name, arrays in layers.items():
            layer = net.layer.add(name=name, type="Convolution")
            layer.blobs.extend(caffe.io.array_to_blobproto(np.asarray(array, np.float32)) for array in arrays)
        path = tmp_path / "w.caffemodel"
        path.write_bytes(net.SerializeToString())
        return str(path)
    return write


CONV1 = [np.ones((3, 2, 1, 1)), np.ones(3)]
CONV2 = [np.ones((21, 3, 1, 1)), np.ones(21)]


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_4_weights_of_another_net_are_told(make, weights, caplog):
    net = make(CONVS)
    report = net.copy_from(weights({"conv1_1": CONV1, "conv2_1": CONV2}))
    assert not net.forward(data=np.ones((1, 2, 4, 4)))["score"].any()   # the complaint
    assert (report.copied, report.dropped) == ([], ["conv1_1", "conv2_1"])
    assert report.left_at_filler == ["conv1", "conv2"]
    (told,) = warnings(caplog)
    assert "nothing was copied" in told and "conv1_1" in told


@pytest.mark.parametrize("form", ["caffemodel", "hdf5"])
def test_4_one_layer_that_got_nothing_is_told(make, weights, caplog, form, tmp_path):
    source = weights({"conv1": CONV1, "fc6": CONV2})
    if form == "hdf5":
        h5py = pytest.importorskip("h5py")
        source = str(tmp_path / "w.h5")
        with h5py.File(source, "w") as file:
            for name, arrays in (("conv1", CONV1), ("fc6", CONV2)):
                for i, array in enumerate(arrays):
                    file[f"data/{name}/{i}"] = np.asarray(array, np.float32)
    net = make(CONVS)
    report = net.copy_from(source)
    assert (report.copied, report.dropped, report.left_at_filler) == (["conv1"], ["fc6"], ["conv2"])
    assert not net.forward(data=np.ones((1, 2, 4, 4)))["score"].any()
    (told,) = warnings(caplog)
    assert "all zero" in told and told.endswith(": conv2")


def test_4_all_is_well_and_nothing_is_told(make, weights, caplog):
    report = make(CONVS).copy_from(weights({"conv1": CONV1, "conv2": CONV2}))
    assert report.copied == ["conv1", "conv2"] and not report.coerced + report.dropped + report.left_at_filler
    assert str(report).splitlines()[0] == "copied: conv1, conv2"
    assert not warnings(caplog)


def test_4_old_files_are_coerced_and_shared_parameters_are_filled(make, weights):
    net = make("""
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 4 } } }
        layer { name: "a" type: "InnerProduct" bottom: "x" top: "a" param { name: "w" }
          inner_product_param { num_output: 4 bias_term: false } }
        layer { name: "b" type: "InnerProduct" bottom: "a" top: "b" param { name: "w" }
          inner_product_param { num_output: 4 bias_term: false } }""")
    report = net.copy_from(weights({"a": [np.eye(4)[None, None]]}))
    assert (report.copied, report.coerced, report.left_at_filler) == (["a"], ["a"], [])
    assert net.forward(x=[[1, 2, 3, 4]])["b"].tolist() == [[1, 2, 3, 4]]


def test_4_transplant_refuses_to_go_on_with_zeros(make, weights, capsys):
    net = make(CONVS)
    report = surgery.transplant_weights(net, weights({"conv1": CONV1}))
    assert re.search(r"^left at filler +conv2 ", capsys.readouterr().out, re.MULTILINE)
    with pytest.raises(WeightsError, match="conv2.*all weights are 0"):
        surgery.check_weights(net, report)


def test_4_a_loss_of_3_04452_is_explained(tmp_path, caplog):
    """ln 21: what FCN's users saw for ever when the classifier's weights did not arrive."""
    data = """layer { name: "data" type: "DummyData" top: "data" top: "label" dummy_data_param {
        shape { dim: 1 dim: 2 dim: 4 dim: 4 } shape { dim: 1 dim: 1 dim: 4 dim: 4 }
        data_filler { type: "gaussian" } data_filler { type: "constant" value: 15 } } }"""
    loss = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "score" bottom: "label" top: "loss" }'
    relu = 'layer { name: "relu" type: "ReLU" bottom: "conv1" top: "conv1" } layer { name: "conv2"'
    text = data + CONVS.split("\n", 2)[2].replace('layer { name: "conv2"', relu).replace(
        "num_output: 21", "num_output: 21 bias_term: false") + loss
    (tmp_path / "train.prototxt").write_text(text)
    (tmp_path / "solver.prototxt").write_text(
        f'net: "{tmp_path}/train.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 99 snapshot_after_train: false')
    caplog.set_level(logging.INFO, logger="caffe.solver")
    solver = caffe.get_solver(str(tmp_path / "solver.prototxt"))
    solver.step(70)
    assert float(solver.net.blobs["loss"].data) == pytest.approx(3.04452, abs=1e-5)   # the complaint
    first, later = warnings(caplog)
    assert "'conv1' (the ReLU 'relu' after it passes no gradient at 0)" in first and "Were the weights loaded" in first
    assert "3.04452 for 50 iterations, which is ln(21)" in later


# ---------------------------------------------------------------------- 5. labels
LOSS = """
layer {{ name: "data" type: "Input" top: "score" top: "label"
  input_param {{ shape {{ dim: 1 dim: 3 dim: 2 dim: 2 }} shape {{ dim: 1 dim: 1 dim: 2 dim: 2 }} }} }}
layer {{ name: "loss" type: "{type}" bottom: "score" bottom: "label" top: "loss" {more} }}
"""


@pytest.mark.parametrize("type", ["SoftmaxWithLoss", "Accuracy"])
@pytest.mark.parametrize("value", [255, 3, -1, 128])   # void without ignore_label, counted from 1, -1, gray of a colour
def test_5_a_label_out_of_range_is_an_error(make, type, value):
    net = make(LOSS.format(type=type, more=""))
    net.blobs["label"].data[0, 0, 1, 0] = value
    with pytest.raises(caffe.DataError) as error:
        net.forward()
    text = str(error.value)
    assert "layer 'loss'" in text and f"label {value} is out of range" in text and "net.prototxt:4" in text
    assert "3 classes" in text and "(0, 0, 1, 0) of blob 'label'" in text and "ignore_label" in text


def test_5_the_ignored_value_counts_as_nothing(make):
    net = make(LOSS.format(type="SoftmaxWithLoss", more="loss_param { ignore_label: 255 }"))
    net.blobs["label"].data[0, 0, 1, :] = 255
    assert net.forward()["loss"] == pytest.approx(np.log(3))


@pytest.fixture
def folder(tmp_path):
    """A set of three classes in VOC's layout, one picture 'a' for train."""
    for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "classes.txt").write_text("ground\ncat\ndog\n")
    (tmp_path / "ImageSets/Segmentation/train.txt").write_text("a\n")
    Image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(tmp_path / "JPEGImages/a.png")
    return tmp_path


def test_5_check_data_shows_the_histogram(folder, capsys):
    write_indexed_png(folder / "SegmentationClass/a.png", [[0, 0, 1, 2, 255]] * 4)
    assert check_data.main([str(folder)]) == 0
    table = [row.split() for row in capsys.readouterr().out.splitlines() if row[:4].strip().isdigit()]
    rows = {name: rest for _, name, *rest in table}
    assert rows["ground"] == ["8", "50.000", "1"] and rows["cat"] == ["4", "25.000", "1"] and rows["void"][0] == "4"


@pytest.mark.parametrize("label, words", [
    (np.uint8([[0, 0, 1, 2, 3]] * 4), "value 3 in 4 pixels; the classes are 0..2"),   # counted from 1
    (voc_palette()[[[0, 0, 1, 2, 15]] * 4], "colour-coded"),
])
def test_5_check_data_and_the_data_layer_name_the_file(folder, capsys, tmp_path, label, words):
    Image.fromarray(label).save(folder / "SegmentationClass/a.png")
    assert check_data.main([str(folder)]) == 1
    told = capsys.readouterr().err
    assert "SegmentationClass/a.png" in told and words in told
    (tmp_path / "net.prototxt").write_text(
        'layer { name: "data" type: "Python" top: "data" top: "label" python_param { module: "layers.segdata" '
        f"layer: \"SegDataLayer\" param_str: \"{{'data': '{folder}', 'split': 'train'}}\" }} }}")
    with pytest.raises(caffe.CaffeError) as error:
        caffe.Net(str(tmp_path / "net.prototxt"), caffe.TRAIN).forward()
    assert "SegmentationClass/a.png" in str(error.value)


def classifier(make, bias):
    """A net that gives every pixel the class of the highest bias, or of the brightest channel where they are equal."""
    net = make("""
        layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 4 dim: 5 } } }
        layer { name: "score" type: "Convolution" bottom: "data" top: "score"
          convolution_param { num_output: 3 kernel_size: 1 } }""")
    net.params["score"][0].data[...] = np.eye(3)[:, :, None, None]
    net.params["score"][1].data[...] = bias
    return net


@pytest.fixture
def coloured(folder):
    """The set with labels 0 and 2 and a picture whose brightest channel (of blue, green, red) is the label."""
    label = np.uint8([[0, 0, 0, 2, 2]] * 4)
    write_indexed_png(folder / "SegmentationClass/a.png", label)
    Image.fromarray(200 * np.eye(3, dtype=np.uint8)[:, ::-1][label]).save(folder / "JPEGImages/a.png")
    return open_dataset(str(folder))


def test_4_predictions_of_one_class_are_told(make, coloured):
    names = coloured.classes
    told = score(classifier(make, [999, 0, 0]), coloured, "train", progress=False).warning(names)
    assert told.startswith("every pixel is predicted as ground")
    sound = score(classifier(make, 0), coloured, "train", progress=False)
    assert sound.metrics.pixel_acc == 1 and sound.warning(names) is None


def test_5_predictions_are_never_black(make, coloured, tmp_path):
    score(classifier(make, [0, 999, 0]), coloured, "train", out_dir=tmp_path / "out", progress=False)
    with Image.open(tmp_path / "out/a.png") as image:
        assert image.mode == "P" and np.unique(image).tolist() == [1]       # class indices, as VOC's server wants them
        assert np.asarray(image.convert("RGB"))[0, 0].tolist() == [128, 0, 0]   # and VOC's colour of class 1
