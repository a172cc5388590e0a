"""Receptive fields by perturbing pixels; features of whole nets; what is refused."""

import numpy as np
import pytest
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st

import caffe
from caffe import layers as L
from caffe import params as P
from caffe.proto import caffe_pb2
from correspondence.errors import DataError, NetError
from correspondence.grids import FeatureNet, Grid, cut
from prototxt import build

pytestmark = pytest.mark.unit
POSITIVE = dict(type="uniform", min=0.5, max=1)   # no change of a pixel is lost on the way

layers = st.tuples(
    st.sampled_from(["conv", "pool", "fire", "norm", "dilated", "floor"]), st.integers(1, 3), st.integers(1, 2),
    st.integers(0, 1),
)


def random_net(steps):
    """A chain of convolutions, average poolings (rounding up or down), local norms, and branches that are joined."""
    n = caffe.NetSpec()
    n.data = top = L.Input(input_param=dict(shape=dict(dim=[1, 3, 40, 40])))
    for index, (kind, kernel, stride, pad) in enumerate(steps):
        stride, pad = min(stride, kernel), min(pad, kernel - 1)
        common = dict(num_output=2, weight_filler=POSITIVE)
        if kind in ("pool", "floor"):
            top = L.Pooling(top, pool=P.Pooling.AVE, kernel_size=kernel, stride=stride, pad=pad)
            if kind == "floor":
                top.fn.params["round_mode"] = 1
        elif kind == "norm":
            top = L.LRN(top, local_size=3, norm_region=1, alpha=0.1)
        elif kind == "fire":
            small = L.Convolution(top, kernel_size=1, **common)
            top = L.ReLU(L.Concat(small, L.Convolution(top, kernel_size=3, pad=1, **common)), in_place=True)
        elif kind == "dilated":
            top = L.Convolution(top, kernel_size=2 * kernel - 1, dilation=[2], pad=[2 * kernel - 2], **common)
        else:
            top = L.Convolution(top, kernel_size=kernel, stride=stride, pad=pad, **common)
        n[f"blob{index}"] = top
    return n.to_proto()


@settings(max_examples=60)
@given(st.lists(layers, min_size=1, max_size=4), st.integers(9, 22), st.integers(9, 22), st.data())
def test_a_pixel_changes_only_the_features_that_see_it_and_all_on_whose_field_it_is_a_corner(
    steps, height, width, data
):
    name = f"blob{len(steps) - 1}"
    try:
        net = FeatureNet(random_net(steps), None, [name])
        image = np.random.default_rng(len(steps)).uniform(130, 250, (height, width, 3))
        before = net.grids(image)[name]
    except (NetError, caffe.CaffeError):   # shrunk to nothing
        return
    x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    image[y, x] += 60
    changed = (net.grids(image)[name].features != before.features).any(axis=2)
    assert not (changed & ~before.sees((x, y))).any()
    corner = (np.abs(before.centres() - (x, y)) == (before.size - 1) / 2).all(axis=2)
    if not any(kind in ("norm", "dilated") for kind, *_ in steps):   # these may lose a change, or have gaps
        assert changed[corner].all()


def test_the_places_of_alexnet_are_those_of_table_2_1():
    net = FeatureNet(build("fcn-alexnet"), None, ["conv1", "conv3", "pool5"])
    places = {name: net.place(name, 227, 227) for name in net.blobs}
    assert [(int(p.field), int(p.stride)) for p in places.values()] == [(11, 4), (99, 16), (195, 32)]
    assert places["conv1"].centre == 5 - 100   # padded by 100


def test_features_are_the_nets_and_later_layers_do_not_limit_the_image(tmp_path, noise):
    """An InnerProduct has weights for one size of image; a net that is cut off before it takes any."""
    n = caffe.NetSpec()
    n.data = L.Input(input_param=dict(shape=dict(dim=[1, 3, 12, 12])))
    n.conv1 = L.Convolution(n.data, kernel_size=3, num_output=4, weight_filler=dict(type="gaussian", std=0.1))
    n.relu1 = L.ReLU(n.conv1, in_place=True)
    n.fc = L.InnerProduct(n.relu1, num_output=5, weight_filler=dict(type="gaussian", std=0.1))
    (tmp_path / "net.prototxt").write_text(text_format.MessageToString(n.to_proto()))
    whole = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST)
    whole.save(str(tmp_path / "net.caffemodel"))
    files = tmp_path / "net.prototxt", tmp_path / "net.caffemodel"

    image = noise(12, 12)
    whole.blobs["data"].data[0] = (image[:, :, ::-1].astype(np.float32) - (1, 2, 3)).transpose(2, 0, 1)
    whole.forward()
    both = FeatureNet(*files, ["relu1", "fc"], mean=(1, 2, 3))
    made = both.forward(np.stack([image, image]))
    assert np.allclose(made["relu1"][1], whole.blobs["conv1"].data[0], atol=1e-4) and made["relu1"].min() == 0
    assert np.allclose(both.whole(image[None], "fc"), whole.blobs["fc"].data, atol=1e-4)
    with pytest.raises(NetError, match="no grid"):
        both.grids(image)
    larger = FeatureNet(*files, ["conv1"], mean=(1, 2, 3)).grids(noise(20, 31))["conv1"]
    assert larger.shape == (18, 29) and (larger.start, larger.stride, larger.size) == (1, 1, 3)


def test_many_images_go_in_batches(monkeypatch, noise):
    net = FeatureNet(build("small-fcn32s"), None, ["conv2_1"])
    images = np.stack([noise(32, 40, seed) for seed in range(5)])
    at_once = net.forward(images)["conv2_1"]
    monkeypatch.setattr("correspondence.grids.BATCH_PIXELS", 2 * 32 * 40)
    assert np.allclose(net.forward(images)["conv2_1"], at_once, atol=1e-5) and at_once.std() > 0


def test_inputs_of_older_deploy_nets_are_known():
    net = caffe_pb2.NetParameter(input=["data"], input_dim=[10, 3, 8, 8])
    net.layer.add(name="conv1", type="Convolution", bottom=["data"], top=["conv1"])
    net.layer[0].convolution_param.num_output = 2
    net.layer[0].convolution_param.kernel_size.append(5)
    grid = FeatureNet(net, None, ["conv1"]).grids(np.zeros((9, 12, 3)))["conv1"]
    assert grid.shape == (5, 8) and grid.size == 5 and grid.start == 2


@given(st.integers(1, 9), st.integers(1, 9), st.floats(-20, 20), st.sampled_from([1.0, 4.0, 16.0]), st.data())
def test_nearest_by_brute_force(rows, columns, start, stride, data):
    grid = Grid(np.zeros((rows, columns, 1), np.float32), start, stride, 5)
    point = np.array(data.draw(st.tuples(st.floats(-50, 200), st.floats(-50, 200))))
    i, j = grid.nearest([point])[0]
    distances = np.linalg.norm(grid.centres() - point, axis=2)
    assert distances[i, j] == pytest.approx(distances.min())


def test_only_what_is_needed_is_kept():
    short = cut(build("squeezenet-fcn16s"), {"fire2/expand3x3"})
    assert [layer.name for layer in short.layer if layer.type == "Convolution"] == [
        "conv1", "fire2/squeeze1x1", "fire2/expand3x3"]


def test_what_is_wrong_is_said(tmp_path):
    definition = build("small-fcn32s")
    with pytest.raises(NetError, match="no layer or blob 'conv9'"):
        FeatureNet(definition, None, ["conv9"])
    with pytest.raises(NetError, match="cannot be read"):
        FeatureNet(tmp_path / "none.prototxt", None, ["conv1"])
    with pytest.raises(DataError, match="do not fit"):
        FeatureNet(definition, None, ["conv1_1"]).forward(np.zeros((1, 9, 9)))
    n = caffe.NetSpec()
    n.data = L.Input(input_param=dict(shape=dict(dim=[1, 3, 12, 12])))
    n.other = L.Convolution(n.data, kernel_size=3, num_output=4)
    (tmp_path / "net.prototxt").write_text(text_format.MessageToString(n.to_proto()))
    caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST).save(str(tmp_path / "net.caffemodel"))
    with pytest.raises(NetError, match="not the weights"):
        FeatureNet(definition, tmp_path / "net.caffemodel", ["conv1_1"])
