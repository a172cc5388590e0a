"""Transplants: what is copied, coerced, dropped and left, and that coerced layers compute the same."""

import numpy as np
import pytest

from surgery import read_weights, transplant, transplant_weights
from surgery.errors import WeightsError

CLASSIFIER = """
conv Convolution data convolution_param { num_output: 4 kernel_size: 3 }
fc InnerProduct conv inner_product_param { num_output: 5 }
score InnerProduct fc inner_product_param { num_output: 7 }
"""
FCN = """
conv Convolution data convolution_param { num_output: 4 kernel_size: 3 }
fc Convolution conv convolution_param { num_output: 5 kernel_size: 4 }
score_fr Convolution fc convolution_param { num_output: 3 kernel_size: 1 }
"""
SHAPE = (2, 3, 6, 6)


def names(entries):
    return [(entry.layer, entry.blob) for entry in entries]


@pytest.mark.tiny
def test_classifier_into_fcn(make_net, capsys):
    old, new = make_net(CLASSIFIER, SHAPE), make_net(FCN, SHAPE, seed=1)
    scores = new.params["score_fr"][0].data.copy()
    report = transplant(new, old)
    assert names(report.copied) == [("conv", 0), ("conv", 1), ("fc", 1)]
    assert names(report.coerced) == [("fc", 0)]
    assert names(report.dropped) == [("score", 0), ("score", 1)]
    assert names(report.left_at_filler) == [("score_fr", 0), ("score_fr", 1)]
    assert (new.params["score_fr"][0].data == scores).all()
    table = capsys.readouterr().out
    assert table == f"{report}\n"
    assert "5x64" in table and "5x4x4x4" in table and "3 copied, 1 coerced, 2 dropped, 2 left" in table
    image = np.random.default_rng(2).normal(size=SHAPE)
    old.forward(data=image)
    new.forward(data=image)
    np.testing.assert_allclose(new.blobs["fc"].data[:, :, 0, 0], old.blobs["fc"].data, rtol=1e-4, atol=1e-4)


@pytest.mark.unit
def test_and_back_again(make_net, capsys):
    old, new = make_net(FCN, SHAPE), make_net(CLASSIFIER, SHAPE, seed=1)
    report = transplant(new, old, print_report=False)
    assert capsys.readouterr().out == ""
    assert names(report.coerced) == [("fc", 0)]
    assert (new.params["fc"][0].data.ravel() == old.params["fc"][0].data.ravel()).all()


@pytest.mark.unit
def test_suffix_names_the_layers_of_the_new_net(make_net):
    old = make_net(FCN, SHAPE)
    new = make_net(FCN.replace("conv ", "conv_d ", 1).replace(" conv ", " conv_d "), SHAPE, seed=1)
    report = transplant(new, old, suffix="_d", print_report=False)
    assert names(report.copied) == [("conv_d", 0), ("conv_d", 1)]
    assert {entry.layer for entry in report.dropped} == {"fc", "score_fr"}
    assert (new.params["conv_d"][0].data == old.params["conv"][0].data).all()


@pytest.mark.unit
@pytest.mark.parametrize(
    "conv",
    [
        "num_output: 4 kernel_size: 5",  # more weights: NumPy's flat assignment would repeat them
        "num_output: 2 kernel_size: 3",  # fewer: it would cut them
        "num_output: 12 kernel_h: 1 kernel_w: 3",  # as many, but for other outputs
        "num_output: 4 kernel_h: 1 kernel_w: 9",  # as many, but another window
    ],
)
def test_weights_of_another_shape_are_dropped_not_cut_or_repeated(make_net, conv):
    old = make_net(FCN, SHAPE)
    new = make_net(f"conv Convolution data convolution_param {{ {conv} }}", (1, 3, 12, 12), seed=1)
    before = new.params["conv"][0].data.copy()
    report = transplant(new, old, print_report=False)
    assert ("conv", 0) in names(report.dropped) and ("conv", 0) in names(report.left_at_filler)
    assert (new.params["conv"][0].data == before).all()


@pytest.mark.unit
def test_as_many_numbers_for_other_outputs_are_not_coerced(make_net):
    old = make_net("fc InnerProduct data inner_product_param { num_output: 5 }", (1, 4, 4, 4))
    new = make_net("fc Convolution data convolution_param { num_output: 10 kernel_size: 4 }", (1, 2, 4, 4))
    report = transplant(new, old, print_report=False)
    assert old.params["fc"][0].data.size == new.params["fc"][0].data.size
    assert names(report.dropped) == [("fc", 0), ("fc", 1)] and not report.coerced


@pytest.mark.unit
def test_a_bias_without_a_place_is_dropped(make_net):
    old = make_net(FCN, SHAPE)
    new = make_net(FCN.replace("kernel_size: 3", "kernel_size: 3 bias_term: false"), SHAPE)
    report = transplant(new, old, print_report=False)
    assert names(report.copied)[0] == ("conv", 0) and ("conv", 1) in names(report.dropped)
    assert [entry.why for entry in report.dropped if entry.layer == "conv"] == ["no such parameter"]


@pytest.mark.unit
def test_from_a_file_it_is_the_same(make_net, tmp_path):
    old, one, two = make_net(CLASSIFIER, SHAPE), make_net(FCN, SHAPE, seed=1), make_net(FCN, SHAPE, seed=1)
    path = tmp_path / "old.caffemodel"
    old.save(str(path))
    assert transplant_weights(one, path, print_report=False) == transplant(two, old, print_report=False)
    for name in one.params:
        for a, b in zip(one.params[name], two.params[name], strict=True):
            assert (a.data == b.data).all()


@pytest.mark.unit
def test_old_files_with_four_axes_are_coerced(make_net, tmp_path):
    from caffe.proto import caffe_pb2

    old, new = make_net(CLASSIFIER, SHAPE), make_net(FCN, SHAPE, seed=1)
    net = caffe_pb2.NetParameter()
    for name, kind, dims in (("fc", "INNER_PRODUCT", [(1, 1, 5, 64), (1, 1, 1, 5)]),):
        layer = net.layers.add(name=name, type=kind)
        for source, (num, channels, height, width) in zip(old.params[name], dims, strict=True):
            layer.blobs.add(num=num, channels=channels, height=height, width=width, data=source.data.ravel())
    path = tmp_path / "old.caffemodel"
    path.write_bytes(net.SerializeToString())
    assert read_weights(path)["fc"][0].shape == (1, 1, 5, 64)
    report = transplant_weights(new, path, print_report=False)
    assert names(report.coerced) == [("fc", 0), ("fc", 1)]
    assert (new.params["fc"][0].data.ravel() == old.params["fc"][0].data.ravel()).all()


@pytest.mark.unit
@pytest.mark.parametrize("content", [None, b"<html><body>404</body></html>", b"\x08\x01garbage"])
def test_what_is_no_caffemodel_is_refused(make_net, tmp_path, content):
    path = tmp_path / "w.caffemodel"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WeightsError) as caught:
        transplant_weights(make_net(FCN, SHAPE), path)
    assert str(path) in str(caught.value)
