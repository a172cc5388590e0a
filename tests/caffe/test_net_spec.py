"""Nets written in Python: what they become, how they are named, and what wrong calls say."""

from __future__ import annotations

import copy
import subprocess
import sys

import numpy as np
import pytest
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st

import caffe
import caffe.layers
from caffe import layers as L
from caffe import net_spec
from caffe import params as P
from caffe.errors import LayerError
from caffe.proto import caffe_pb2

pytestmark = pytest.mark.unit


def net(source):
    return text_format.Parse(source, caffe_pb2.NetParameter())


def input_(**kwargs):
    return L.Input(shape=dict(dim=[1, 3, 8, 8]), **kwargs)


INPUT = "input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } }"


@pytest.mark.tiny
def test_named_net():
    n = caffe.NetSpec()
    n.data, n.label = L.DummyData(
        shape=[dict(dim=[5, 1]), dict(dim=5)], transform_param=dict(scale=0.5), ntop=2
    )
    n.conv = L.Convolution(
        n.data,
        kernel_size=[3, 5],
        num_output=2,
        weight_filler=dict(type="xavier"),
        param=[dict(lr_mult=1, name="w"), dict(lr_mult=2)],
    )
    n.relu = L.ReLU(n.conv, in_place=True)
    n["pool"] = L.Pooling(
        n.relu, pool=P.Pooling.AVE, kernel_size=2, loss_weight=3, include=dict(phase=caffe.TEST)
    )
    n.up = L.Deconvolution(
        n.pool, convolution_param=dict(num_output=1, kernel_size=4), propagate_down=[False]
    )
    n.py = L.Python(n["up"], module="m", layer="X", param_str="{'a': 1}")
    n.quiet = L.Silence(n.label, ntop=0)
    assert n.to_proto() == net("""
        layer { name: "data" type: "DummyData" top: "data" top: "label" transform_param { scale: 0.5 }
                dummy_data_param { shape { dim: 5 dim: 1 } shape { dim: 5 } } }
        layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" param { lr_mult: 1 name: "w" }
                param { lr_mult: 2 } convolution_param { kernel_size: 3 kernel_size: 5 num_output: 2
                weight_filler { type: "xavier" } } }
        layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
        layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" loss_weight: 3
                pooling_param { pool: AVE kernel_size: 2 } include { phase: TEST } }
        layer { name: "up" type: "Deconvolution" bottom: "pool" top: "up" propagate_down: false
                convolution_param { num_output: 1 kernel_size: 4 } }
        layer { name: "py" type: "Python" bottom: "up" top: "py"
                python_param { module: "m" layer: "X" param_str: "{'a': 1}" } }
        layer { name: "quiet" type: "Silence" bottom: "label" }
    """)
    assert list(n.tops) == ["data", "label", "conv", "relu", "pool", "up", "py", "quiet"]


@pytest.mark.tiny
def test_unnamed_net():
    data, label = L.DummyData(ntop=2)
    first = L.ReLU(L.InnerProduct(data, num_output=2), in_place=True)
    second = L.InnerProduct(first, num_output=3)
    expected = net("""
        layer { name: "DummyData1" type: "DummyData" top: "DummyData1" top: "DummyData2" }
        layer { name: "InnerProduct1" type: "InnerProduct" bottom: "DummyData1" top: "InnerProduct1"
                inner_product_param { num_output: 2 } }
        layer { name: "ReLU1" type: "ReLU" bottom: "InnerProduct1" top: "InnerProduct1" }
        layer { name: "InnerProduct2" type: "InnerProduct" bottom: "InnerProduct1" top: "InnerProduct2"
                inner_product_param { num_output: 3 } }
        layer { name: "L" type: "EuclideanLoss" bottom: "InnerProduct2" bottom: "DummyData2" top:
        "EuclideanLoss1" } layer { name: "Silence1" type: "Silence" bottom: "DummyData2" }
    """)
    loss, quiet = L.EuclideanLoss(second, label, name="L"), L.Silence(label, ntop=0)
    assert caffe.to_proto(loss, quiet) == expected
    del expected.layer[-1]
    assert loss.to_proto() == expected


def test_a_name_given_later_counts_and_the_rest_is_made_up():
    n = caffe.NetSpec()
    hidden = L.ReLU(input_())
    n.out = L.Concat(hidden, hidden)
    n.data = hidden.fn.inputs[0]
    proto = n.to_proto()
    assert [layer.name for layer in proto.layer] == ["data", "ReLU1", "out"]
    assert list(proto.layer[2].bottom) == ["ReLU1", "ReLU1"]
    assert n.to_proto() == proto  # a second time the same: nothing is counted twice


def reference_names(tops, given):
    """pycaffe's order and numbering, as a plain recursion."""
    counts, done, names = {}, {}, dict(given)

    def name(thing, kind):
        if thing not in names:
            counts[kind] = counts.get(kind, 0) + 1
            names[thing] = f"{kind}{counts[kind]}"
        return names[thing]

    def visit(fn):
        if fn in done:
            return
        for item in fn.inputs:
            visit(item.fn)
        bottoms = [done[item.fn][2][item.n] for item in fn.inputs]
        tops = bottoms if fn.in_place else [name(top, fn.type_name) for top in fn.tops]
        done[fn] = (name(fn.tops[0] if fn.tops else fn, fn.type_name), bottoms, tops)

    for top in tops:
        visit(getattr(top, "fn", top))
    return list(done.values())


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from("AB"),
            st.integers(1, 2),
            st.booleans(),
            st.booleans(),
            st.lists(st.integers(0, 50), min_size=1, max_size=3),
        ),
        max_size=12,
    ),
    st.randoms(),
)
def test_order_and_names_of_any_net(plan, random):
    tops, n = [input_()], caffe.NetSpec()
    for i, (kind, ntop, in_place, named, inputs) in enumerate(plan):
        bottoms = [tops[j % len(tops)] for j in inputs]
        in_place = in_place and ntop == len(bottoms)
        fn = net_spec.Function(kind, bottoms, dict(ntop=ntop, in_place=in_place))
        tops += fn.tops
        if named:
            n[f"n{i}"] = random.choice(tops)
    given_names = {top: name for name, top in n.tops.items()}
    for proto, expected in (
        (n.to_proto(), reference_names(n.tops.values(), given_names)),
        (caffe.to_proto(*tops[::-1]), reference_names(tops[::-1], {})),
    ):
        assert [(layer.name, list(layer.bottom), list(layer.top)) for layer in proto.layer] == expected


def test_deep_nets_need_no_recursion():
    top = input_()
    for _ in range(sys.getrecursionlimit() * 2):
        top = L.ReLU(top)
    assert len(top.to_proto().layer) == sys.getrecursionlimit() * 2 + 1


def test_inputs_must_be_tops():
    data = L.DummyData(ntop=2)
    with pytest.raises(TypeError, match=r"^Silence input 0 is not a Top \(type is <class 'tuple'>\)$"):
        L.Silence(data, ntop=0)
    L.Silence(*data, ntop=0)
    with pytest.raises(TypeError, match="Silence input 1 is not a Top"):
        L.Silence(data[0], "label", ntop=0)
    with pytest.raises(TypeError, match="ntop"):
        L.ReLU(ntop="2")


def test_unknown_parameters_are_refused_where_they_are_written():
    data = input_()
    for call, help in (
        (lambda: L.Convolution(data, kernel_sise=3), "did you mean kernel_size"),
        (lambda: L.Convolution(data, weight_filer={}), "weight_filler"),
        (lambda: L.Pooling(data, lossweight=1), "loss_weight"),
        (lambda: L.ReLU(data, inplace=True), "did you mean in_place"),
        (lambda: L.Dropout(data, zzz=1), "known are dropout_ratio"),
        (lambda: L.Deconvolution(data, kernel_sise=1, num_outptu=2), "help"),
        (lambda: L.ReLU(data, num_output=2), "known are negative_slope, engine"),
    ):
        with pytest.raises(LayerError, match="has no parameter") as error:
            call()
        assert help in str(error.value)


@pytest.mark.parametrize(
    "params, message",
    [
        (
            dict(kernel_size=3),
            "layer 'x': L.Deconvolution has no parameter 'kernel_size'\nhelp: write convolution_param=",
        ),
        (dict(convolution_param=dict(kernel=3)), "layer 'x': ConvolutionParameter has no field 'kernel'"),
        (
            dict(convolution_param=dict(weight_filler=dict(typ="x"))),
            "FillerParameter has no field 'typ'.*\n.*type",
        ),
        (
            dict(convolution_param=dict(engine="CUDN")),
            r"'engine' has no value 'CUDN' \(expected DEFAULT or CAFFE.*\n.*CUDNN",
        ),
    ],
)
def test_errors_while_writing_name_the_layer(params, message):
    n = caffe.NetSpec()
    n.x = L.Deconvolution(input_(), **params)
    with pytest.raises(LayerError, match=message):
        n.to_proto()


@pytest.mark.parametrize(
    "params, message",
    [
        (dict(num_output="4"), "'num_output'"),
        (dict(num_output=[4]), "one value, not a list of 1"),
        (dict(num_output=-1), "num_output"),
        (dict(num_output=2.5), "num_output"),
        (dict(weight_filler="xavier"), "takes a dict"),
        (dict(kernel_size=[3, "x"]), "kernel_size"),
        (dict(kernel_size=None), "kernel_size"),
        (dict(name=3), "name"),
    ],
)
def test_values_of_the_wrong_type(params, message):
    with pytest.raises(TypeError, match=r"\(L.Convolution\): .*" + message):
        L.Convolution(input_(), **params).to_proto()


def test_values_of_many_types():
    data = input_()
    proto = L.Convolution(
        data,
        kernel_size=np.array([3, 5]),
        pad=(1, 2),
        num_output=np.int64(4),
        bias_term=np.bool_(False),
        weight_filler=caffe_pb2.FillerParameter(type="gaussian", std=0.5),
        engine="CAFFE",
        stride=[],
        param=[caffe_pb2.ParamSpec(lr_mult=2), dict(decay_mult=0)],
        loss_weight=np.float32(0.5),
    ).to_proto()
    assert (
        proto.layer[1]
        == net("""layer {
        name: "Convolution1" type: "Convolution" bottom: "Input1" top: "Convolution1" loss_weight: 0.5 param
        { lr_mult: 2 } param { decay_mult: 0 } convolution_param { kernel_size: 3 kernel_size: 5 pad: 1 pad:
        2 num_output: 4 bias_term: false weight_filler { type: "gaussian" std: 0.5 } engine: CAFFE } }
    """).layer[0]
    )
    shape = caffe_pb2.BlobShape(dim=[2])
    assert (
        L.Input(shape=[shape, dict(dim=3)], ntop=2)[0].to_proto().layer[0].input_param.shape[1].dim[0] == 3
    )


def test_own_message_comes_before_the_layers_fields():
    # `shape`, `axis` are the message's; `name`, `phase` the layer's; names ending in param always the
    # layer's.
    proto = L.Reshape(
        input_(), shape=dict(dim=[0, -1]), axis=1, name="r", phase=1, reshape_param=dict(num_axes=2)
    ).to_proto()
    assert (
        proto.layer[1]
        == net("""layer { name: "r" type: "Reshape" bottom: "Input1" top: "Reshape1"
    phase: TEST
        reshape_param { shape { dim: 0 dim: -1 } axis: 1 num_axes: 2 } }""").layer[0]
    )


def test_assign_proto():
    layer = caffe_pb2.LayerParameter()
    net_spec.assign_proto(layer, "top", "a")
    net_spec.assign_proto(layer, "param", dict(lr_mult=3))
    net_spec.assign_proto(layer, "convolution_param", dict(kernel_size=3, weight_filler=dict(std=1)))
    assert (
        layer
        == net(
            'layer { top: "a" param { lr_mult: 3 } convolution_param { kernel_size: 3 '
            "weight_filler { std: 1 } } }"
        ).layer[0]
    )


def test_param_name_dict():
    names = net_spec.param_name_dict()
    assert names["InnerProduct"] == "inner_product" and names["LRN"] == "lrn" and names["PReLU"] == "prelu"
    fields = caffe_pb2.LayerParameter.DESCRIPTOR.fields_by_name
    assert {stem + "_param" for stem in names.values()} == {
        name for name in fields if name.endswith("_param")
    }


def test_parameters():
    assert P.Pooling.MAX == 0 and P.Eltwise.PROD == 0 and P.Data.LMDB == 1 and P.Loss.NONE == 3
    with pytest.raises(AttributeError, match="did you mean Pooling"):
        P.Poolin  # noqa: B018
    with pytest.raises(AttributeError):
        P.Pooling.MAXX  # noqa: B018


def test_what_a_net_spec_refuses():
    n = caffe.NetSpec()
    n.data = input_()
    with pytest.raises(AttributeError, match="no top 'dat'; did you mean data"):
        n.dat  # noqa: B018
    with pytest.raises(KeyError, match="no top 'dat'"):
        n["dat"]
    assert not hasattr(n, "x") and "data" in n and "x" not in n
    with pytest.raises(TypeError, match="'pair' must be a Top.*unpack"):
        n.pair = L.DummyData(ntop=2)
    with pytest.raises(TypeError, match="'number'"):
        n.number = 3
    assert list(copy.copy(n).tops) == ["data"]


def test_layers_is_a_package_and_a_namespace():
    assert L is caffe.layers
    assert L.AnyTypeOfYours(input_()).to_proto().layer[1].type == "AnyTypeOfYours"
    assert not hasattr(L, "__wrapped__")
    script = (
        "import sys; from caffe import layers as L, params as P; import caffe; n = caffe.NetSpec();"
        "n.data = L.Input(shape=dict(dim=1)); n.to_proto(); P.Pooling.MAX; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
