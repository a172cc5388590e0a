"""caffe explain-crop against the offsets of the published nets, and against coord_map on the same net as a NetSpec."""
from pathlib import Path

import numpy as np
import pytest

import caffe
from caffe import cli
from caffe import layers as L
from caffe.commands.explain_crop import describe, explain
from caffe.coord_map import coord_map_from_to
from caffe.errors import NetError
from caffe.inspect.geometry import derive_crops

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("net, offsets", [("fcn32s", [19]), ("fcn16s", [5, 27]), ("fcn8s", [5, 9, 31])])
def test_published_offsets(net, offsets):
    found = explain(f"prototxt/{net}/deploy.prototxt")
    assert [one.offset for one in found] == [[o] for o in offsets]
    assert all(one.agrees for one in found)


def test_the_derivation_goes_layer_by_layer():
    (one,) = explain("prototxt/fcn32s/deploy.prototxt")
    assert one.common == "data"
    assert one.reference == ()
    totals = {step.layer: step.total for step in one.upper}
    # pad 100 with a 3 x 3 kernel moves by 99; each pooling halves; fc6's 7 x 7 kernel takes 3 more
    assert totals["conv1_1"][1:] == (1, 99)
    assert np.allclose(totals["pool1"][1:], [[0.5], [49.25]])
    assert np.allclose(totals["pool5"][1:], [[1 / 32], [(99 - 31 * 0.5) / 32]])
    assert np.allclose(totals["fc6"][2], (99 - 15.5) / 32 - 3)
    assert np.allclose(totals["upscore"][1:], [[1], [19]])
    text = describe(one)
    assert "x + 19" in text and "offset 19; the prototxt says 19: they agree" in text


def spec(kernel, stride, pad, written):
    n = caffe.NetSpec()
    n.data = L.Input(shape=dict(dim=[1, 1, 60, 60]))
    n.conv = L.Convolution(n.data, num_output=1, kernel_size=kernel, stride=stride, pad=pad)
    n.up = L.Deconvolution(n.conv, convolution_param=dict(num_output=1, kernel_size=2 * stride, stride=stride))
    n.score = L.Crop(n.up, n.data, crop_param=dict(axis=2, offset=written))
    return n


@pytest.mark.parametrize("kernel, stride, pad", [(3, 1, 3), (4, 2, 6), ([3, 5], 1, [4, 3]), (8, 4, 7)])
def test_agrees_with_coord_map_of_the_net_spec(kernel, stride, pad):
    n = spec(kernel, stride, pad, 0)
    _, scale, shift = coord_map_from_to(n.up, n.data)
    (one,) = derive_crops(n.to_proto())
    assert np.allclose(one.scale, scale)
    assert np.allclose(one.shift, shift)


def test_a_wrong_offset_is_status_1(tmp_path, capsys):
    path = tmp_path / "net.prototxt"
    published = Path("prototxt/fcn8s/deploy.prototxt").read_text()
    path.write_text(published.replace("offset: 31", "offset: 34"))
    assert cli.main(["explain-crop", str(path)]) == 1
    assert "offset 31; the prototxt says 34: THEY DISAGREE" in capsys.readouterr().out
    assert cli.main(["explain-crop", str(path), "-layer", "score_pool3c"]) == 0
    with pytest.raises(NetError, match="score_pool3c"):
        explain(str(path), "score_pool3")


@pytest.mark.parametrize("kernel, stride, pad, problem", [
    (6, 2, 0, "negative"), (4, 2, 6, ""), (3, 2, 6, "fractional"),   # offsets -1, 6 and 6.5
])
def test_offsets_that_cannot_be(kernel, stride, pad, problem):
    (one,) = derive_crops(spec(kernel, stride, pad, 0).to_proto())
    assert problem in one.problem
    assert bool(one.problem) == bool(problem)


def test_another_scale_and_no_common_blob():
    n = caffe.NetSpec()
    n.data = L.Input(shape=dict(dim=[1, 1, 60, 60]))
    n.pool = L.Pooling(n.data, kernel_size=2, stride=2)
    n.other = L.Input(shape=dict(dim=[1, 1, 8, 8]))
    n.scaled = L.Crop(n.data, n.pool)
    n.apart = L.Crop(n.data, n.other)
    scaled, apart = derive_crops(n.to_proto())
    assert "scale" in scaled.problem
    assert "share no blob" in apart.problem
    assert "no offset" in describe(apart)


@pytest.mark.parametrize("kernel, stride", [(3, 0), ([3, 3], [1, 1, 1])])
def test_layers_that_make_no_sense_have_no_map(kernel, stride):
    n = caffe.NetSpec()
    n.data = L.Input(shape=dict(dim=[1, 1, 60, 60]))
    n.conv = L.Convolution(n.data, num_output=1, kernel_size=kernel, stride=stride)
    n.score = L.Crop(n.conv, n.data)
    (one,) = derive_crops(n.to_proto())
    assert "share no blob" in one.problem
    assert "no offset" in describe(one)
