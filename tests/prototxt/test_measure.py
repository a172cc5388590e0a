"""Parameters, receptive fields and strides: the thesis's tables, and brute force on chains of layers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import caffe
from caffe import layers as L
from caffe import params as P
from prototxt import build, measure
from prototxt.errors import NetError
from prototxt.measure import trace
from surgery import read_net


@pytest.mark.tiny
@pytest.mark.parametrize(
    ("name", "conv_layers", "millions", "field"),
    [("fcn-alexnet", 8, 57, 355), ("fcn32s", 16, 134, 404)],
)
def test_table_3_1(name, conv_layers, millions, field):
    m = measure(build(name))
    assert (m.conv_layers, round(m.learned / 1e6), m.receptive_field, m.stride) == (
        conv_layers, millions, field, 32,
    )


@pytest.mark.tiny
def test_table_3_1_googlenet_has_the_field_of_the_net_before_the_average_pooling_went():
    """The thesis drops the final 7x7 average pooling (3.3.1) but gives the field with it: 907, not 715."""
    described = measure(build("fcn-googlenet"))
    tabulated = measure(build("fcn-googlenet", average_pool=True))
    for m in (described, tabulated):
        assert (m.conv_layers, round(m.learned / 1e6), m.stride) == (22, 6, 32)
    assert tabulated.receptive_field == 907
    assert described.receptive_field == 907 - 6 * 32 == 715


@pytest.mark.unit
def test_table_2_1_alexnet_layer_by_layer():
    traces, _ = trace(build("fcn-alexnet"))
    rows = {name: (int(traces[name].field), int(traces[name].stride)) for name in traces}
    assert [rows[name] for name in ("conv1", "conv2", "conv3", "conv4", "conv5", "pool5")] == [
        (11, 4), (51, 8), (99, 16), (131, 16), (163, 16), (195, 32),
    ]  # fmt: skip


def _chain(steps):
    n = caffe.NetSpec()
    n.data = top = L.Input(input_param=dict(shape=dict(dim=[1, 1, 200, 200])))
    for index, (kind, kernel, stride, pad) in enumerate(steps):
        pad = min(pad, kernel - 1)
        if kind == "pool":
            top = L.Pooling(top, pool=P.Pooling.MAX, kernel_size=kernel, stride=stride, pad=pad)
        else:
            top = L.Convolution(top, num_output=1, kernel_size=kernel, stride=stride, pad=pad)
        n[f"blob{index}"] = top
    return n.to_proto()


_steps = st.lists(
    st.tuples(st.sampled_from(["conv", "pool"]), st.integers(1, 4), st.integers(1, 3), st.integers(0, 2)),
    min_size=1, max_size=4,
)


@pytest.mark.unit
@settings(max_examples=60, deadline=None)
@given(_steps)
def test_field_stride_and_centre_against_the_pixels_each_unit_is_connected_to(steps):
    net = _chain(steps)
    traces, _ = trace(net)
    low = high = np.arange(200)
    for _, kernel, stride, pad in steps:  # first and last pixel behind each unit, beyond the edges too
        pad = min(pad, kernel - 1)
        offsets = np.arange(-40, len(low) + 40)
        extended_low = np.interp(offsets, np.arange(len(low)), low) + _beyond(offsets, low)
        extended_high = np.interp(offsets, np.arange(len(high)), high) + _beyond(offsets, high)
        count = (len(low) + 2 * pad - kernel) // stride + 1
        starts = np.arange(count) * stride - pad + 40
        low, high = extended_low[starts], extended_high[starts + kernel - 1]
    last = traces[f"blob{len(steps) - 1}"]
    assert np.all(high - low + 1 == float(last.field))
    assert np.allclose((low + high) / 2, float(last.centre) + np.arange(len(low)) * float(last.stride))


def _beyond(offsets, values):
    """What continues an arithmetic row `values` outside its ends."""
    step = values[1] - values[0]
    return np.where(offsets < 0, offsets, np.maximum(offsets - len(values) + 1, 0)) * step


@pytest.mark.unit
@settings(max_examples=25, deadline=None)
@given(_steps, st.integers(20, 40), st.integers(20, 40))
def test_shapes_are_the_engines(steps, height, width):
    net = _chain(steps)
    net.layer[0].input_param.shape[0].dim[2:] = [height, width]
    try:
        traces, _ = trace(net)
    except NetError:  # a kernel that the shrunken blob has no room for
        return
    built = _net(net)
    for name, blob in built.blobs.items():
        if name in traces:
            assert tuple(blob.data.shape[1:]) == traces[name].shape


@pytest.mark.unit
@pytest.mark.parametrize("name", ["squeezenet-fcn4s", "small-fcn8s"])
@pytest.mark.parametrize("size", [(32, 32), (45, 60), (47, 33)])
def test_shapes_and_parameter_counts_of_whole_nets_are_the_engines(name, size):
    definition = build(name, shape=(1, 3, *size))
    traces, counts = trace(definition)
    net = _net(definition)
    for blob, found in traces.items():
        assert tuple(net.blobs[blob].data.shape[1:]) == found.shape
    assert [count for count, _ in counts] == [b.data.size for blobs in net.params.values() for b in blobs]


CLASSIFIER = """
input: "data" input_dim: 1 input_dim: 3 input_dim: 20 input_dim: 20
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 4 kernel_size: 3 } }
layer { name: "norm" type: "BatchNorm" bottom: "conv" top: "conv" }
layer { name: "scale" type: "Scale" bottom: "conv" top: "conv" scale_param { bias_term: true } }
layer { name: "elu" type: "ELU" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param { kernel_size: 2 stride: 2 } }
layer { name: "bias" type: "Bias" bottom: "pool" top: "biased" }
layer { name: "flat" type: "Flatten" bottom: "biased" top: "flat" }
layer { name: "fc" type: "InnerProduct" bottom: "flat" top: "fc" inner_product_param { num_output: 5 } }
"""


@pytest.mark.unit
def test_a_classifier_of_another_time(tmp_path):
    """A file with the old way of stating an input, layers of residual nets, and a fully connected layer."""
    path = tmp_path / "net.prototxt"
    path.write_text(CLASSIFIER)
    definition, net = read_net(path), caffe.Net(str(path), caffe.TEST)
    _, counts = trace(definition)
    assert [count for count, _ in counts] == [b.data.size for blobs in net.params.values() for b in blobs]
    found = measure(definition)
    assert found.fixed == 2 * 4 + 1 and found.conv_layers == 2
    assert found.learned == (3 * 9 * 4 + 4) + 2 * 4 + 4 + (4 * 9 * 9 * 5 + 5)
    assert (found.receptive_field, found.stride) == (20, 2)   # the last layer sees the whole image


def _net(definition):
    import tempfile

    with tempfile.NamedTemporaryFile("w", suffix=".prototxt") as file:
        file.write(str(definition))
        file.flush()
        return caffe.Net(file.name, caffe.TEST)


@pytest.mark.unit
def test_what_cannot_be_measured_is_refused():
    n = caffe.NetSpec()
    n.data = L.Input(input_param=dict(shape=dict(dim=[1, 1, 9, 9])))
    n.top = L.Reduction(n.data)
    with pytest.raises(NetError, match="no rule for layer 'top'"):
        measure(n.to_proto())
    net = build("small-fcn16s")
    next(layer for layer in net.layer if layer.name == "upscore2c").crop_param.offset[0] = 0
    with pytest.raises(NetError, match="not aligned"):
        measure(net)
    del net.layer[0]
    with pytest.raises(NetError, match="'data', which no layer"):
        measure(net)


@pytest.mark.unit
def test_layers_of_other_nets_have_the_engines_shapes_and_parameters():
    n = caffe.NetSpec()
    n.data = L.Input(input_param=dict(shape=dict(dim=[1, 6, 17, 20])))
    n.a, n.b = L.Slice(n.data, slice_point=[2], ntop=2)
    n.norm = L.LRN(n.a, local_size=3, norm_region=P.LRN.WITHIN_CHANNEL)
    n.batch = L.BatchNorm(n.norm)
    n.bias = L.Bias(n.batch)
    n.pool = L.Pooling(n.bias, kernel_size=3, stride=2, round_mode=P.Pooling.FLOOR)
    n.elu = L.ELU(n.b)
    net = n.to_proto()
    traces, counts = trace(net)
    built = _net(net)
    assert {name: trace.shape for name, trace in traces.items()} == {
        name: tuple(blob.data.shape[1:]) for name, blob in built.blobs.items() if name in traces}
    assert [count for count, _ in counts] == [b.data.size for blobs in built.params.values() for b in blobs]
    assert (int(traces["norm"].field), int(traces["pool"].field), int(traces["pool"].stride)) == (3, 5, 2)


@pytest.mark.unit
def test_windows_that_are_not_square_are_refused_not_read_as_something_else():
    for options in (dict(kernel_h=1, kernel_w=7), dict(kernel_size=3, stride_h=2, stride_w=1)):
        n = caffe.NetSpec()
        n.data = L.Input(input_param=dict(shape=dict(dim=[1, 1, 9, 12])))
        n.top = L.Convolution(n.data, num_output=1, **options)
        with pytest.raises(NetError, match="height and width"):
            trace(n.to_proto())
    n.top = L.Pooling(n.data, global_pooling=True)
    with pytest.raises(NetError, match="not square"):
        trace(n.to_proto())
