"""Older formats against the nets that BVLC Caffe's rules make of them, written out by hand."""

from __future__ import annotations

import logging

import pytest
from google.protobuf import text_format

from caffe.errors import NetError, SolverError
from caffe.proto import blobs, caffe_pb2
from caffe.proto.upgrade import SOLVER_TYPES, V0_TYPES, V1_TYPES, upgrade_net, upgrade_solver

pytestmark = pytest.mark.unit


def net(source):
    return text_format.Parse(source, caffe_pb2.NetParameter())


def raw(message):
    return blobs.NetParameter.FromString(message.SerializeToString())


def check(old, new):
    """`old` upgrades to `new` in both schemas, and a second time changes nothing."""
    for convert in (lambda message: message, raw):
        param, expected = convert(net(old)), convert(net(new))
        assert upgrade_net(param)
        assert text_format.MessageToString(param) == text_format.MessageToString(expected)
        assert not upgrade_net(param) or any(layer.type == "BatchNorm" for layer in param.layer)
        assert param == expected


V0 = """
name: "v0" input: "data" input_dim: 2 input_dim: 3 input_dim: 8 input_dim: 9 force_backward: true
layers { layer { name: "pad1" type: "padding" pad: 2 } bottom: "data" top: "pad1" }
layers { layer { name: "conv1" type: "conv" num_output: 4 biasterm: false kernelsize: 3 stride: 2 group: 2
                 weight_filler { type: "gaussian" std: 0.1 } bias_filler { value: 1 }
                 blobs_lr: 1 blobs_lr: 2 weight_decay: 1 weight_decay: 0
                 blobs { num: 1 channels: 1 height: 1 width: 2 data: 5 data: 6 } }
         bottom: "pad1" top: "conv1" }
layers { layer { name: "relu" type: "relu" } bottom: "conv1" top: "conv1" }
layers { layer { name: "pad2" type: "padding" pad: 1 } bottom: "conv1" top: "pad2" }
layers { layer { name: "pool" type: "pool" pool: AVE kernelsize: 3 stride: 2 } bottom: "pad2" top: "pool" }
layers { layer { name: "lrn" type: "lrn" local_size: 3 alpha: 0.1 beta: 0.5 k: 2 } bottom: "pool" top: "lrn" }
layers { layer { name: "drop" type: "dropout" dropout_ratio: 0.25 } bottom: "lrn" top: "lrn" }
layers { layer { name: "ip" type: "innerproduct" num_output: 5 biasterm: true } bottom: "lrn" top: "ip" }
layers { layer { name: "cat" type: "concat" concat_dim: 1 } bottom: "ip" bottom: "ip" top: "cat" }
"""
V0_UPGRADED = """
name: "v0" force_backward: true
layer { name: "input" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 8 dim: 9 } } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
        param { lr_mult: 1 decay_mult: 1 } param { lr_mult: 2 decay_mult: 0 }
        blobs { num: 1 channels: 1 height: 1 width: 2 data: 5 data: 6 }
        convolution_param { num_output: 4 bias_term: false pad: 2 kernel_size: 3 stride: 2 group: 2
                            weight_filler { type: "gaussian" std: 0.1 } bias_filler { value: 1 } } }
layer { name: "relu" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "pool" type: "Pooling" bottom: "conv1" top: "pool"
        pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 } }
layer { name: "lrn" type: "LRN" bottom: "pool" top: "lrn" lrn_param { local_size: 3 alpha: 0.1 beta: 0.5 k:
2 } } layer { name: "drop" type: "Dropout" bottom: "lrn" top: "lrn" dropout_param { dropout_ratio: 0.25 } }
layer { name: "ip" type: "InnerProduct" bottom: "lrn" top: "ip"
        inner_product_param { num_output: 5 bias_term: true } }
layer { name: "cat" type: "Concat" bottom: "ip" bottom: "ip" top: "cat" concat_param { concat_dim: 1 } }
"""


@pytest.mark.tiny
def test_v0():
    check(V0, V0_UPGRADED)


V0_DATA = [  # each setting of the old data layers, and where it is now
    (
        'type: "data" source: "s" batchsize: 4 rand_skip: 3 scale: 0.5 meanfile: "m" cropsize: 7 '
        "mirror: true",
        'type: "Data" transform_param { scale: 0.5 mean_file: "m" crop_size: 7 mirror: true } '
        'data_param { source: "s" batch_size: 4 rand_skip: 3 }',
    ),
    (
        'type: "images" source: "s" batchsize: 4 rand_skip: 3 shuffle_images: true new_height: 5 '
        "new_width: 6",
        'type: "ImageData" image_data_param { source: "s" batch_size: 4 rand_skip: 3 shuffle: true '
        "new_height: 5 new_width: 6 }",
    ),
    (
        'type: "window_data" source: "s" batchsize: 4 det_fg_threshold: 0.6 det_bg_threshold: 0.4 '
        'det_fg_fraction: 0.3 det_context_pad: 16 det_crop_mode: "square"',
        'type: "WindowData" window_data_param { source: "s" batch_size: 4 fg_threshold: 0.6 '
        'bg_threshold: 0.4 fg_fraction: 0.3 context_pad: 16 crop_mode: "square" }',
    ),
    (
        'type: "hdf5_data" source: "s" batchsize: 4',
        'type: "HDF5Data" hdf5_data_param { source: "s" batch_size: 4 }',
    ),
    (
        'type: "hdf5_output" hdf5_output_param { file_name: "f" }',
        'type: "HDF5Output" hdf5_output_param { file_name: "f" }',
    ),
    (
        'type: "infogain_loss" source: "s"',
        'type: "InfogainLoss" infogain_loss_param { source: "s" }',
    ),
]


@pytest.mark.parametrize("old, new", V0_DATA)
def test_v0_data_layers(old, new):
    check(
        f'layers {{ layer {{ name: "a" {old} }} top: "a" }}',
        f'layer {{ name: "a" top: "a" {new} }}',
    )


@pytest.mark.parametrize("old", V0_TYPES)
def test_v0_types(old):
    check(
        f'layers {{ layer {{ name: "a" type: "{old}" }} top: "a" }}',
        f'layer {{ name: "a" type: "{V1_TYPES[V0_TYPES[old]]}" top: "a" }}',
    )


def test_v0_setting_of_another_type_is_left_out_and_said(caplog):
    param = net('layers { layer { name: "a" type: "relu" num_output: 4 } }')
    with caplog.at_level(logging.WARNING, "caffe"):
        upgrade_net(param, file="f.prototxt")
    assert param == net('layer { name: "a" type: "ReLU" }')
    assert "f.prototxt: layer 'a': a relu layer has no 'num_output'" in caplog.text


def test_v0_lines_of_folded_layers_go():
    lines = [3, 4, 7, 8, 9, 10, 11, 12, 13]
    param = net(V0)
    upgrade_net(param, lines=lines)
    assert lines == [None, 4, 7, 9, 10, 11, 12, 13]
    assert len(lines) == len(param.layer)


V0_BAD = {
    'layers { layer { type: "padding" pad: 1 name: "p" } bottom: "x" top: "p" }': "unknown bottom blob 'x'",
    'input: "x" layers { layer { type: "padding" } bottom: "x" top: "p" } '
    'layers { layer { name: "r" type: "relu" } bottom: "p" top: "r" }': "layer 'r': only a conv or pool",
    'input: "x" layers { layer { type: "padding" } bottom: "x" top: "p" } '
    'layers { layer { name: "c" type: "conv" } bottom: "p" bottom: "x" top: "r" }': "conv with 2 bottom",
    'layers { layer { name: "a" type: "convolution" } }': "unknown layer type 'convolution'",
}


@pytest.mark.parametrize("source", V0_BAD)
def test_v0_nets_that_cannot_be_upgraded(source):
    with pytest.raises(NetError, match="(?s)^f.prototxt: .*" + V0_BAD[source].replace("(", r"\(")):
        upgrade_net(net(source), file="f.prototxt")


@pytest.mark.tiny
def test_v1():
    check(
        """
        input: "a" input: "b" input_shape { dim: 1 dim: 2 } input_shape { dim: 3 } layers { name: "c" type:
        CONVOLUTION bottom: "a" top: "c" param: "w" blobs_lr: 1 blobs_lr: 2 weight_decay: 3
                 blob_share_mode: PERMISSIVE loss_weight: 0.5 convolution_param { num_output: 3 kernel_size:
                 2 } include { phase: TEST } exclude { stage: "s" } blobs { data: 1 shape { dim: 1 } } }
        layers { name: "d" type: DATA top: "d" transform_param { mirror: true } data_param {
                 source: "s" scale: 0.5 mean_file: "m" crop_size: 3 mirror: false batch_size: 2 } }
        layers { name: "l" type: SOFTMAX_LOSS bottom: "c" bottom: "b" loss_param { ignore_label: 255 } }
        layers { name: "n" }
    """,
        """
        layer { name: "input" type: "Input" top: "a" top: "b"
                input_param { shape { dim: 1 dim: 2 } shape { dim: 3 } } }
        layer { name: "c" type: "Convolution" bottom: "a" top: "c" loss_weight: 0.5
                param { name: "w" share_mode: PERMISSIVE lr_mult: 1 decay_mult: 3 } param { lr_mult: 2 }
                convolution_param { num_output: 3 kernel_size: 2 } include { phase: TEST } exclude { stage:
                "s" } blobs { data: 1 shape { dim: 1 } } }
        layer { name: "d" type: "Data" top: "d" data_param { source: "s" batch_size: 2 }
                transform_param { scale: 0.5 mean_file: "m" crop_size: 3 mirror: false } }
        layer { name: "l" type: "SoftmaxWithLoss" bottom: "c" bottom: "b" loss_param { ignore_label: 255 } }
        layer { name: "n" }
    """,
    )


@pytest.mark.parametrize(
    "old, field",
    [("DATA", "data_param"), ("IMAGE_DATA", "image_data_param"), ("WINDOW_DATA", "window_data_param")],
)
def test_transforms_move_out_of_data_layers(old, field):
    check(
        f"layers {{ type: {old} {field} {{ crop_size: 3 }} }}",
        f'layer {{ type: "{V1_TYPES[old]}" {field} {{ }} transform_param {{ crop_size: 3 }} }}',
    )


def test_every_v1_type_and_param_has_a_present_form():
    v1, now = caffe_pb2.V1LayerParameter.DESCRIPTOR, caffe_pb2.LayerParameter.DESCRIPTOR
    assert set(V1_TYPES) == set(v1.enum_types_by_name["LayerType"].values_by_name)
    assert {f.name for f in v1.fields if f.name.endswith("_param")} <= set(now.fields_by_name)
    # Types are the enum's name in camel case, but for abbreviations: none is misspelt or exchanged.
    for old, new in V1_TYPES.items():
        if old not in ("NONE", "SOFTMAX_LOSS"):
            assert new.lower() == old.replace("_", "").lower()
    for old, new in V0_TYPES.items():
        names = {
            "conv": "convolution",
            "pool": "pooling",
            "images": "image_data",
            "innerproduct": "inner_product",
        }
        assert names.get(old, old).upper() == new


def test_both_layer_and_layers_is_refused():
    with pytest.raises(NetError, match="both `layer` and `layers`"):
        upgrade_net(net('layer { name: "a" } layers { name: "b" }'))


def test_inputs():
    check(
        'input: "a" input: "b"'
        + " input_dim: 1 input_dim: 2 input_dim: 3 input_dim: 4" * 2
        + ' layer { name: "l" }',
        'layer { name: "input" type: "Input" top: "a" top: "b" input_param {'
        + " shape { dim: 1 dim: 2 dim: 3 dim: 4 }" * 2
        + ' } } layer { name: "l" }',
    )
    check('input: "a" layer { name: "l" }', 'layer { name: "l" }')  # as caffemodels have it
    for source in ('input: "a" input_dim: 1 input_dim: 2', 'input: "a" input: "b" input_shape { dim: 1 }'):
        with pytest.raises(NetError, match="input"):
            upgrade_net(net(source))


def test_batch_norm_with_three_params_is_frozen():
    check(
        'layer { type: "BatchNorm" param { lr_mult: 1 } param { name: "v" } param { decay_mult: 3 } }',
        'layer { type: "BatchNorm" param { lr_mult: 0 decay_mult: 0 } '
        'param { name: "v" lr_mult: 0 decay_mult: 0 } param { lr_mult: 0 decay_mult: 0 } }',
    )
    for params in ("param { lr_mult: 1 }", "param { lr_mult: 1 } " * 2):
        param = net('layer { type: "BatchNorm" ' + params + "}")
        assert not upgrade_net(param)
        assert param.layer[0].param[0].lr_mult == 1


def test_a_present_net_stays_as_it_is():
    source = 'layer { name: "a" type: "Data" data_param { scale: 2 } } layer { type: "Scale" param { } }'
    param = net(source)
    assert not upgrade_net(param)
    assert param == net(source)


def solver(source):
    return text_format.Parse(source, caffe_pb2.SolverParameter())


@pytest.mark.parametrize("old", SOLVER_TYPES)
def test_solver_type(old):
    param = solver(f"solver_type: {old}")
    assert upgrade_solver(param)
    assert param == solver(f'type: "{SOLVER_TYPES[old]}"')
    assert not upgrade_solver(param)
    assert SOLVER_TYPES[old].upper() == old


def test_both_solver_types_are_refused():
    with pytest.raises(SolverError, match="s.prototxt: both solver_type and type"):
        upgrade_solver(solver('solver_type: SGD type: "SGD"'), file="s.prototxt")


def test_snapshot_prefix(tmp_path):
    for prefix, expected in (
        (None, "a/my.solver"),
        ("p/q", "p/q"),
        (str(tmp_path), str(tmp_path / "my.solver")),
    ):
        param = caffe_pb2.SolverParameter(snapshot_prefix=prefix)
        upgrade_solver(param, file="a/my.solver.prototxt")
        assert param.snapshot_prefix == expected
    param = caffe_pb2.SolverParameter()
    assert not upgrade_solver(param) and not param.HasField("snapshot_prefix")
