"""A classifier made convolutional equals the classifier, on its own input and on a sliding window."""

import re
import sys

import numpy as np
import pytest

import caffe
from surgery import convolutionalize, read_net
from surgery.errors import LayerError, ShapeError, WeightsError

TINY = """
conv Convolution data convolution_param { num_output: 6 kernel_size: 3 stride: 2 }
relu ReLU conv
pool Pooling conv pooling_param { pool: MAX kernel_size: 2 stride: 2 }
fc1 InnerProduct pool inner_product_param { num_output: 8 }
relu1 ReLU fc1
drop1 Dropout fc1
fc2 InnerProduct fc1 inner_product_param { num_output: 4 bias_term: false }
prob Softmax fc2
"""
# 15x11 -> conv 7x5 -> pool would clip; 17x13 -> conv 8x6 -> pool 4x3
WINDOW, STRIDE = (17, 13), 4


@pytest.fixture
def converted(make_net, tmp_path):
    """converted(layers, shape, ...): (classifier, convolutional net, report)."""

    def convert(layers, shape=(1, 3, *WINDOW), **options):
        classifier = make_net(layers, shape)
        for blobs in classifier.params.values():
            blobs[0].data[...] /= np.sqrt(blobs[0].data[0].size) * 10  # so that the softmax is soft
        weights = tmp_path / "classifier.caffemodel"
        classifier.save(str(weights))
        out = tmp_path / "fcn.prototxt", tmp_path / "fcn.caffemodel"
        report = convolutionalize(classifier.source, weights, *out, **options)
        return classifier, caffe.Net(str(out[0]), caffe.TEST, weights=str(out[1])), report

    return convert


def forward(net, image):
    net.blobs["data"].reshape(*image.shape)
    net.reshape()
    (output,) = net.forward(data=image).values()
    return output.copy()


def sliding(classifier, image, window, stride):
    """The classifier's output on every window, a stride apart, as N x outputs x rows x columns."""
    rows = range(0, image.shape[2] - window[0] + 1, stride)
    columns = range(0, image.shape[3] - window[1] + 1, stride)
    height, width = window
    outputs = [
        [forward(classifier, image[:, :, row : row + height, column : column + width]) for column in columns]
        for row in rows
    ]
    return np.moveaxis(np.array(outputs), (0, 1), (2, 3)).reshape(len(image), -1, len(rows), len(columns))


def images(height, width):
    return np.random.default_rng(3).uniform(-50, 50, (2, 3, height, width)).astype(np.float32)


@pytest.mark.tiny
@pytest.mark.parametrize("keep_softmax", [True, False])
def test_equals_the_classifier_on_a_sliding_window(converted, keep_softmax):
    classifier, net, report = converted(TINY, keep_softmax=keep_softmax)
    assert report.caveats == () and report.kernels == {"fc1": (4, 3), "fc2": (1, 1)}
    assert net.outputs == (["prob"] if keep_softmax else ["fc2"])
    image = images(WINDOW[0] + 3 * STRIDE, WINDOW[1] + 2 * STRIDE)
    expected = sliding(classifier, image, WINDOW, STRIDE)
    if not keep_softmax:
        expected = np.log(expected)  # scores up to a constant for each place
    found = forward(net, image)
    assert found.shape == expected.shape == (2, 4, 4, 3)
    if not keep_softmax:
        found = found - np.log(np.exp(found).sum(1, keepdims=True))
    assert expected.std(axis=(2, 3)).min() > 1e-3  # the windows do differ
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


VARIANTS = {
    "flatten": TINY.replace("fc1 InnerProduct pool", "flat Flatten pool\nfc1 InnerProduct flat"),
    "transposed": TINY.replace("num_output: 8", "num_output: 8 transpose: true"),
    "global average": """
        conv Convolution data convolution_param { num_output: 6 kernel_size: 3 stride: 4 }
        score Convolution conv convolution_param { num_output: 4 kernel_size: 1 }
        mean Pooling score pooling_param { pool: AVE global_pooling: true }
        prob Softmax mean
    """,
}


@pytest.mark.unit
@pytest.mark.parametrize("variant", VARIANTS)
def test_other_ways_to_end_a_classifier(converted, variant):
    classifier, net, report = converted(VARIANTS[variant])
    assert report.caveats == ()
    image = images(WINDOW[0] + 2 * STRIDE, WINDOW[1] + STRIDE)
    np.testing.assert_allclose(
        forward(net, image), sliding(classifier, image, WINDOW, STRIDE), rtol=1e-3, atol=1e-5
    )


@pytest.mark.unit
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("kernel_size: 3 stride: 2", "kernel_size: 5 stride: 2 pad: 1"), "conv: pads"),
        (("pool: MAX kernel_size: 2", "pool: MAX kernel_size: 3"), "pool: .*clipped"),
    ],
)
def test_where_the_edge_of_the_image_matters_it_says_so(converted, change, words):
    classifier, net, report = converted(TINY.replace(*change))
    assert len(report.caveats) == 1
    name, reason = report.caveats[0].split(": ")
    assert re.match(words, report.caveats[0]) and f"{reason}: {name}" in str(report)
    image = images(*WINDOW)
    own = forward(classifier, image)
    np.testing.assert_allclose(forward(net, image).reshape(own.shape), own, rtol=1e-3, atol=1e-5)
    larger = images(WINDOW[0] + STRIDE, WINDOW[1] + STRIDE)
    assert not np.allclose(  # the caveat is true
        forward(net, larger)[:, :, :2, :2], sliding(classifier, larger, WINDOW, STRIDE), rtol=1e-3, atol=1e-5
    )


@pytest.mark.unit
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("num_output: 8", "num_output: 8 axis: 2"), "axis 2"),
        (("fc1 InnerProduct pool", "row Reshape pool reshape_param { shape { dim: 0 dim: -1 } }\n"
                                   "fc1 InnerProduct row"), "fc1"),
        (("fc1 InnerProduct pool", "flat Flatten pool\nlate Power pool\nfc1 InnerProduct flat"), "read by"),
    ],
)  # fmt: skip
def test_what_has_no_convolutional_form_is_refused_and_leaves_nothing(converted, tmp_path, change, words):
    with pytest.raises(LayerError, match=words):
        converted(TINY.replace(*change))
    assert not list(tmp_path.glob("*fcn*"))


@pytest.mark.unit
def test_a_result_that_differs_from_the_classifier_is_not_written(converted, tmp_path, monkeypatch):
    module = sys.modules["surgery.convolutionalize"]
    right = module._weights
    monkeypatch.setattr(module, "_weights", lambda *arguments: right(*arguments)[::-1])
    with pytest.raises(ShapeError, match="not the classifier's"):
        converted(TINY)
    assert not list(tmp_path.glob("*fcn*"))


@pytest.mark.unit
def test_a_layer_that_sees_the_whole_map_is_a_caveat(converted):
    _, _, report = converted(TINY.replace("prob Softmax fc2", "best ArgMax fc2"))
    assert len(report.caveats) == 1 and "best" in report.caveats[0]


@pytest.mark.unit
def test_sources_are_not_overwritten(make_net, tmp_path):
    net = make_net(TINY, (1, 3, *WINDOW))
    before = net.source.read_text()
    net.save(str(tmp_path / "w.caffemodel"))
    with pytest.raises(WeightsError, match="overwrite"):
        convolutionalize(net.source, tmp_path / "w.caffemodel", net.source, tmp_path / "v.caffemodel")
    assert net.source.read_text() == before


@pytest.mark.unit
def test_fillers_and_names_stay(converted, tmp_path):
    converted(TINY.replace("num_output: 8", 'num_output: 8 weight_filler { type: "xavier" }'))
    layer = next(layer for layer in read_net(tmp_path / "fcn.prototxt").layer if layer.name == "fc1")
    assert (layer.type, layer.convolution_param.weight_filler.type) == ("Convolution", "xavier")
    assert not layer.HasField("inner_product_param")
