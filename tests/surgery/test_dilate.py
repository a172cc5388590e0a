"""Shift-and-stitch is the net at every place of its window, and filter dilation is shift-and-stitch (thesis 3.2.2)."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.signal import correlate2d

import caffe
from prototxt import build
from prototxt.files import text
from prototxt.measure import trace
from surgery import dilate, read_net, shift_and_stitch
from surgery.errors import LayerError, ShapeError
from surgery.shift_and_stitch import trunk

SMALL = """
conv1 Convolution data convolution_param { num_output: 3 kernel_size: 3 stride: 2 }
relu1 ReLU conv1
pool1 Pooling conv1 pooling_param { pool: MAX kernel_size: 2 stride: 2 }
conv2 Convolution pool1 convolution_param { num_output: 4 kernel_size: 2 }
"""


def image(height, width, seed=1):
    return np.random.default_rng(seed).normal(size=(1, 2, height, width)).astype(np.float32)


def dilated(net, folder, top, **options):
    """The dilated net of `net`, with its weights from a file."""
    path, weights = folder / "dilated.prototxt", folder / "weights.caffemodel"
    path.write_text(text(dilate(net.source, top, **options)))
    net.save(str(weights))
    made = caffe.Net(str(path), caffe.TEST, weights=str(weights))
    assert {name: blobs[0].data.shape for name, blobs in made.params.items()} == {
        name: net.params[name][0].data.shape for name in made.params}
    return made


def run(net, picture, top):
    net.blobs["data"].reshape(*picture.shape)
    net.reshape()
    net.forward(data=picture)
    return net.blobs[top].data.copy()


def assert_equal(found, expected):
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * max(1.0, float(np.abs(expected).max())))


@pytest.mark.tiny
def test_shift_and_stitch_is_the_net_at_every_place_of_its_window(make_net):
    net, picture = make_net(SMALL, (1, 2, 40, 40)), image(23, 26)
    dense = shift_and_stitch(net, net.source, picture, "conv2")
    field = 3 + 1 * 2 + 1 * 4
    assert dense.values.shape == (1, 4, 23 - field + 1, 26 - field + 1)
    assert dense.origin == (field - 1) // 2   # the first field covers pixels 0 to field - 1
    assert net.blobs["data"].data.shape == (1, 2, 40, 40)
    for y in range(dense.values.shape[2]):
        for x in range(dense.values.shape[3]):
            one = run(net, picture[:, :, y : y + field, x : x + field], "conv2")
            np.testing.assert_allclose(dense.values[:, :, y, x], one[:, :, 0, 0], rtol=1e-5, atol=1e-5)


@pytest.mark.unit
def test_the_padding_of_the_image_is_part_of_the_map(make_net):
    padded = make_net(SMALL.replace("kernel_size: 3", "kernel_size: 3 pad: 5"), (1, 2, 40, 40))
    plain, picture = make_net(SMALL, (1, 2, 40, 40)), image(11, 17)
    dense = shift_and_stitch(padded, padded.source, picture, "conv2")
    by_hand = shift_and_stitch(plain, plain.source, np.pad(picture, ((0, 0), (0, 0), (5, 5), (5, 5))), "conv2")
    assert_equal(dense.values, by_hand.values)
    assert dense.origin == by_hand.origin - 5


@pytest.mark.unit
@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 99))
@settings(deadline=None, max_examples=25)
def test_the_formula_for_the_rarefied_filter(kernel, stride, seed):
    """Every sample of a filter on the subsampled input is one of f' on the full input, and the other way round."""
    draw = np.random.default_rng(seed)
    f, full = draw.normal(size=(kernel, kernel)), draw.normal(size=(17, 19))
    rarefied = np.array([[f[i // stride, j // stride] if i % stride == j % stride == 0 else 0
                          for j in range(stride * (kernel - 1) + 1)] for i in range(stride * (kernel - 1) + 1)])
    dense = correlate2d(full, rarefied, mode="valid")
    for y in range(stride):
        for x in range(stride):
            coarse = correlate2d(full[y::stride, x::stride], f, mode="valid")
            np.testing.assert_allclose(dense[y::stride, x::stride], coarse, atol=1e-12)


@pytest.mark.unit
def test_caffes_dilation_is_that_filter(make_net, tmp_path):
    layers = "pool Pooling data pooling_param { kernel_size: 1 stride: 3 }\n" \
             "conv Convolution pool convolution_param { num_output: 1 kernel_size: 3 bias_term: false }"
    net, picture = make_net(layers, (1, 1, 20, 20)), image(15, 18)[:, :1]
    f = np.zeros((7, 7))
    f[::3, ::3] = net.params["conv"][0].data[0, 0]
    found = run(dilated(net, tmp_path, "conv"), picture, "conv")
    np.testing.assert_allclose(found[0, 0], correlate2d(picture[0, 0], f, mode="valid"), atol=1e-5)


@st.composite
def nets(draw):
    """Lines of a random net for `make_net`: convolutions and poolings of total stride up to 8, ReLU, LRN, Dropout."""
    lines, top, stride, pad = [], "data", 1, draw(st.integers(0, 3))
    for index in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(["Convolution", "Pooling"]))
        kernel, step = draw(st.integers(1, 3)), draw(st.integers(1, 3))
        step = step if stride * step <= 8 else 1
        pads = pad if index == 0 and (kind == "Convolution") else 0
        window = f"kernel_size: {kernel} stride: {step} pad: {pads}"
        name, stride = f"layer{index}", stride * step
        if kind == "Convolution":
            more = f"dilation: {draw(st.integers(1, 2))} group: {draw(st.sampled_from([1, 2]))}"
            lines.append(f"{name} {kind} {top} convolution_param {{ num_output: 2 {window} {more} }}")
        else:
            pool = draw(st.sampled_from(["MAX", "AVE"]))
            lines.append(f"{name} {kind} {top} pooling_param {{ pool: {pool} {window} }}")
        top = name
        if draw(st.booleans()):
            lines.append(f"relu{index} {draw(st.sampled_from(['ReLU', 'Dropout']))} {top}")
        if draw(st.integers(0, 3)) == 0:
            lines.append(f"norm{index} LRN {top} lrn_param {{ local_size: 3 alpha: 0.5 }}")
            top = f"norm{index}"
    return "\n".join(lines), top


@pytest.mark.unit
@given(nets(), st.integers(0, 9), st.integers(0, 9), st.integers(0, 99))
@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
def test_dilation_equals_shift_and_stitch_at_every_pixel(make_net, tmp_path, lines_and_top, more_y, more_x, seed):
    lines, top = lines_and_top
    net = make_net(lines, (1, 2, 64, 64), seed)
    seen = trace(trunk(net.source, top))[0][top]
    begin = seen.centre - (seen.field - 1) / 2
    least = max(1, int(seen.field + 2 * begin))
    picture = image(least + more_y, least + more_x, seed)
    dense = shift_and_stitch(net, net.source, picture, top)
    made = dilated(net, tmp_path, top)
    assert_equal(run(made, picture, top), dense.values)
    after = trace(trunk(net.source, top))[0][top]
    assert after.centre == dense.origin


@pytest.mark.unit
def test_squeezenets_trunk_where_the_field_lies_within_the_image(tmp_path):
    """Its fire modules pad: away from the border dilation equals shift-and-stitch, and at it neither is defined."""
    definition = build("squeezenet-fcn16s", shape=(1, 3, 64, 64))
    source = tmp_path / "net.prototxt"
    source.write_text(text(definition))
    net = caffe.Net(str(source), caffe.TEST)
    net.source = source
    draw = np.random.default_rng(0)
    for blobs in net.params.values():
        fan = blobs[0].data[0].size
        blobs[0].data[...] = draw.normal(size=blobs[0].data.shape) * np.sqrt(2 / fan)
    top = "fire5/concat"   # of stride 8
    picture = draw.normal(size=(1, 3, 120, 104)).astype(np.float32)
    dense = shift_and_stitch(net, source, picture, top)
    with pytest.raises(LayerError, match="keep_padding"):
        dilate(source, top)
    found = run(dilated(net, tmp_path, top, keep_padding=True), picture, top)
    assert found.shape == dense.values.shape
    seen = trace(trunk(source, top))[0][top]
    edge = int((seen.field - 1) / 2 - seen.centre)   # so many places have a field that begins outside
    inner = (..., slice(edge, -edge), slice(edge, -edge))
    assert min(dense.values[inner].shape) > 0 and dense.values[inner].std() > 0.01
    assert_equal(found[inner], dense.values[inner])
    assert not np.allclose(found, dense.values, atol=1e-3)   # the border does differ


REFUSED = {
    "padding inside": (SMALL.replace("kernel_size: 2 }", "kernel_size: 2 pad: 1 }"), "pad 1"),
    "padded max pooling": ("pool Pooling data pooling_param { kernel_size: 2 stride: 2 pad: 1 }", "pad 1"),
    "a fully connected layer": (SMALL + "fc InnerProduct conv2 inner_product_param { num_output: 2 }", "InnerProduct"),
    "global pooling": (SMALL + "all Pooling conv2 pooling_param { global_pooling: true }", "fixed function"),
    "random pooling": (SMALL + "any Pooling conv2 pooling_param { pool: STOCHASTIC kernel_size: 2 }", "fixed function"),
    "windows that are not square": (SMALL.replace("kernel_size: 3", "kernel_h: 3 kernel_w: 2"), "kernel_size"),
    "LRN within channels": (SMALL + "norm LRN conv2 lrn_param { norm_region: WITHIN_CHANNEL }", "within channels"),
    "softmax over rows": (SMALL + "soft Softmax conv2 softmax_param { axis: 2 }", "another axis"),
    "upsampling": (SMALL + "up Deconvolution conv2 convolution_param { num_output: 1 kernel_size: 2 }", "Deconv"),
}


@pytest.mark.unit
@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_equal_is_refused_by_name(make_net, case):
    lines, words = REFUSED[case]
    net = make_net(lines, (1, 2, 40, 40))
    with pytest.raises(LayerError, match=words) as error:
        dilate(net.source)
    assert "help:" in str(error.value)


@pytest.mark.unit
def test_wrong_blobs_and_small_images_are_errors(make_net):
    net = make_net(SMALL, (1, 2, 40, 40))
    with pytest.raises(LayerError, match="no layer makes blob 'score'"):
        dilate(net.source, "score")
    with pytest.raises(ShapeError, match="at least 9 pixels"):
        shift_and_stitch(net, net.source, image(8, 30), "conv2")


@pytest.mark.unit
def test_only_what_the_blob_needs_is_kept(make_net):
    net = make_net(SMALL, (1, 2, 40, 40))
    assert [layer.name for layer in dilate(read_net(net.source), "conv1").layer] == ["data", "conv1", "relu1"]
