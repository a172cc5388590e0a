"""The experiments of chapter 2 on features and keypoints, and tools/correspond.py, with a tiny net and tiny figures."""

import json
import sys

import numpy as np
import pytest
from google.protobuf import text_format
from PIL import Image

import caffe
from caffe import layers as L
from data import figures
from tools import correspond
from tools.experiments import features, keypoints, locality, prediction
from tools.experiments.features import Classifier
from tools.experiments.registry import Context, experiments

pytestmark = pytest.mark.unit
LAYERS = ("conv1", "fire3/concat", "fire5/concat", "fire7/concat", "fire9/concat")


@pytest.fixture(scope="module")
def tiny_net(tmp_path_factory):
    """A prototxt and caffemodel whose layers have SqueezeNet's names."""
    folder = tmp_path_factory.mktemp("net")
    n = caffe.NetSpec()
    n.data = top = L.Input(input_param=dict(shape=dict(dim=[1, 3, 64, 64])))
    for layer, stride in zip(LAYERS, (2, 2, 2, 1, 1), strict=True):
        n[layer] = L.Convolution(top, num_output=6, kernel_size=3, stride=stride, pad=1)
        n[f"{layer}/relu"] = top = L.ReLU(n[layer], in_place=True)
    (folder / "net.prototxt").write_text(text_format.MessageToString(n.to_proto()))
    net = caffe.Net(str(folder / "net.prototxt"), caffe.TEST)
    draw = np.random.default_rng(0)
    for weights, _ in net.params.values():
        weights.data[...] = draw.normal(0, np.sqrt(2 / weights.data[0].size), weights.data.shape)
    net.save(str(folder / "net.caffemodel"))
    return folder


@pytest.fixture(scope="module")
def tiny_figures(tmp_path_factory):
    return figures.write(tmp_path_factory.mktemp("set") / "figures", counts={"train": 20, "val": 8}, size=96)


@pytest.fixture
def context(tmp_path, tiny_net, tiny_figures, monkeypatch):
    from correspondence.grids import read_net

    monkeypatch.setenv("CAFFE_LUNGO_FIGURES", str(tiny_figures))
    monkeypatch.setenv("CAFFE_LUNGO_PHOTOS", str(tiny_figures / "JPEGImages"))
    tiny = Classifier("tiny", read_net(tiny_net / "net.prototxt"), tiny_net / "net.caffemodel", (104, 117, 123), LAYERS,
                      "fire7/concat", "fire9/concat", True, 32)
    for module in (keypoints, prediction, locality):
        monkeypatch.setattr(module, "classifier", lambda context: tiny)
    monkeypatch.setattr(keypoints, "SMALL_VALUES", [1e-6, 1e-5])
    monkeypatch.setattr(keypoints, "SHOWN", 2)
    monkeypatch.setattr(locality, "SMALL_LIMIT", 400)
    monkeypatch.setattr(locality, "SMALL_IMAGES", 1)
    monkeypatch.setattr(locality, "AVERAGED", (2, 4))
    monkeypatch.setattr(prediction, "LIMITS", {"train": (3, None), "val": (2, None)})

    def at(name):
        (tmp_path / f"{name}-small").mkdir(exist_ok=True)
        return Context(tmp_path / f"{name}-small", small=True)

    return at


def shown(context, result):
    """Every picture that a result names is there and is no plain one."""
    for file, _ in result.pictures:
        assert np.asarray(Image.open(context.folder / file).convert("L")).std() > 5
    json.dumps(result.record())
    assert all(len(claim) == 3 and isinstance(claim[2], bool | np.bool_) for claim in result.claims)


def test_table_2_3_and_figures_2_5_and_2_7(context):
    result = keypoints.classification(context("table2.3"))
    shown(context("table2.3"), result)
    rows = result.tables[0].rows
    assert list(rows)[:5] == [f"sift {radius}" for radius in (10, 20, 40, 80, 160)] and len(rows) == 11
    assert all(0 <= ours <= 100 for row in rows.values() for _, ours in row)
    assert max(row[-1][1] for row in rows.values()) > rows["the commonest name"][-1][1]   # something is learned
    result = keypoints.sweep(context("fig2.7"))
    shown(context("fig2.7"), result)
    result = keypoints.localization(context("fig2.5"))
    shown(context("fig2.5"), result)
    assert all(0 <= row[1][1] <= 100 for row in result.tables[0].rows.values())


@pytest.mark.slow
def test_table_2_4_and_figure_2_8_share_predictions(context):
    result = prediction.prediction(context("table2.4"))
    shown(context("table2.4"), result)
    assert list(result.tables[0].rows) == ["SIFT", "SIFT+prior", "fire7/concat", "fire7/concat+prior"]
    kept = context("table2.4").folder / "predictions.json"
    made = kept.stat().st_mtime_ns
    result = prediction.examples(context("fig2.8"))
    shown(context("fig2.8"), result)
    assert kept.stat().st_mtime_ns == made
    found = json.loads(kept.read_text())
    assert set(found) == set(figures.FIGURES)
    assert all(len(rows) == len(each["truth"]) for each in found.values() for rows in each.values())


def test_figures_2_1_and_2_2(context):
    for name, run in (("fig2.1", locality.reconstructions), ("fig2.2", locality.averages)):
        result = run(context(name))
        shown(context(name), result)
    assert "features of" in result.config["database"]["fire9/concat"]


def test_the_numbers_of_the_thesis_are_whole():
    """The printed means are those of the printed rows, up to rounding (the rows are rounded to whole percents)."""
    for kind, row in keypoints.TABLE.items():
        values = [float(value) for value in row.split()]
        assert len(values) == 20 and np.mean(values) == pytest.approx(keypoints.MEANS[kind], abs=1)
    for kind, row in prediction.TABLE.items():
        values = [float(value) for value in row.split()]
        assert len(values) == 20 and np.mean(values) == pytest.approx(prediction.MEANS[kind], abs=0.06)


def test_the_whole_variants_say_what_they_need(tmp_path, monkeypatch):
    monkeypatch.setenv("CAFFE_LUNGO_DATA", str(tmp_path))
    monkeypatch.setenv("CAFFE_LUNGO_MODELS", str(tmp_path))
    known = experiments()
    for name in ("table2.3", "table2.4", "fig2.5", "fig2.7", "fig2.8"):
        missing = [str(need) for need in known[name].missing(Context(tmp_path))]
        assert missing == ["data keypoints", "weights bvlc_reference_caffenet.caffemodel"]
    assert [str(n) for n in known["fig2.1"].missing(Context(tmp_path))][0] == "data voc2011"


def test_caffenet_is_that_of_table_2_1(tmp_path):
    (tmp_path / "bvlc_reference_caffenet.caffemodel").touch()
    net = features.classifier(Context(tmp_path, weights=str(tmp_path / "bvlc_reference_caffenet.caffemodel")))
    from correspondence.grids import FeatureNet

    bare = FeatureNet(net.definition, None, [*net.layers, net.whole])
    places = [bare.place(layer, 227, 227) for layer in bare.blobs]
    assert [int(p.field) for p in places] == [11, 51, 99, 131, 163, 195] and places[-1].shape == (256, 6, 6)


def run(capsys, *arguments):
    assert correspond.main([str(a) for a in arguments]) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def test_commands(tiny_net, tiny_figures, tmp_path, capsys, monkeypatch):
    net = ["--net", tiny_net / "net.prototxt", "--weights", tiny_net / "net.caffemodel"]
    picture = sorted((tiny_figures / "JPEGImages").iterdir())[0]
    out = run(capsys, "features", *net, "--layers", "conv1", "fire5/concat", "--out", tmp_path / "f.npz", picture)
    assert "48x48x6" in out and "12x12x6" in out
    with np.load(tmp_path / "f.npz") as made:
        assert made["conv1"].shape == (48, 48, 6) and made["fire5/concat.x"][1] == 8
    out = run(capsys, "reconstruct", *net, "--layers", "fire5/concat", "--pictures", tiny_figures / "JPEGImages",
              "--limit", 300, "--out", tmp_path, picture)
    assert "432 features" in out and (tmp_path / "fire5_concat.png").is_file()
    out = run(capsys, "classify", *net, "--layers", "fire5/concat", "--data", tiny_figures, "--radii", 10, "--scale")
    assert "sift 10" in out and "quadruped" in out
    out = run(capsys, "predict", *net, "--layers", "fire3/concat", "--data", tiny_figures, "--category", "bird",
              "--most", 3, "--whole", "fire9/concat", "--side", 32)
    assert "fire3/concat+prior" in out and "SIFT" in out and "averaged over kinds" in out


def test_commands_say_what_is_wrong(tiny_net, tiny_figures, capsys):
    net = ["--net", str(tiny_net / "net.prototxt")]
    assert correspond.main(["features", "x.jpg", *net, "--layers", "conv9"]) == 1
    assert "no layer or blob 'conv9'" in capsys.readouterr().err
    assert correspond.main(["classify", *net, "--layers", "conv1", "--data", str(tiny_figures / "none")]) == 1
    with pytest.raises(SystemExit):
        correspond.main([])
    assert "COMMAND" in capsys.readouterr().err and sys.stderr
