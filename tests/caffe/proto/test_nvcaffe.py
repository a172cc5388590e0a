"""NVCaffe's files: arrays of any precision in caffemodels and solver states, its prototxts' fields, refused or said."""
from __future__ import annotations

import logging
import time
from pathlib import Path

import numpy as np
import pytest

import caffe
from caffe.errors import LayerError, SolverError, WeightsError
from caffe.proto import blobs, caffe_pb2, forks, schema
from caffe.solvers import lr_policy

pytestmark = pytest.mark.unit
KINDS = {"<f8": caffe_pb2.DOUBLE, "<f4": caffe_pb2.FLOAT, "<f2": caffe_pb2.FLOAT16}
NET = """
layer {{ name: "x" type: "Input" top: "x" input_param {{ shape {{ dim: 1 dim: 3 }} }} }}
layer {{ name: "fc" type: "InnerProduct" bottom: "x" top: "y" {layer}
        inner_product_param {{ num_output: 2 weight_filler {{ type: "xavier" }} }} }}
{net}
"""
VALUES = [np.array([[1.5, -2, 0.25], [3, 65504, -1e-3]]), np.array([0.5, -0.125])]


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def build(net="", layer="", phase=caffe.TEST):
    Path("net.prototxt").write_text(NET.format(net=net, layer=layer))
    return caffe.Net("net.prototxt", phase)


def saved(dtype, kind=None, data=None, dims=(2, 3)):
    """A caffemodel as NVCaffe writes it, the first array's fields as given."""
    out = caffe_pb2.NetParameter(name="nv")
    layer = out.layer.add(name="fc", type="InnerProduct")
    for i, value in enumerate(VALUES):
        blob = layer.blobs.add(raw_data=value.astype(dtype).tobytes(), raw_data_type=KINDS[dtype])
        blob.shape.dim.extend(dims if i == 0 else value.shape)
        if i == 0 and kind == "none":
            blob.ClearField("raw_data_type")
        elif i == 0 and kind is not None:
            blob.raw_data_type = kind
        if i == 0 and data is not None:
            blob.raw_data = data
    Path("nv.caffemodel").write_bytes(out.SerializeToString())


@pytest.mark.tiny
@pytest.mark.parametrize("dtype", KINDS)
def test_weights_of_every_precision(dtype):
    saved(dtype)
    net = build()
    net.copy_from("nv.caffemodel")
    for blob, value in zip(net.params["fc"], VALUES, strict=True):
        np.testing.assert_array_equal(blob.data, value.astype(dtype).astype(np.float32))
        assert blob.data.dtype == np.float32
    net.save("ours.caffemodel")                        # BVLC Caffe's form again
    ours = caffe_pb2.NetParameter.FromString(Path("ours.caffemodel").read_bytes()).layer[1].blobs[0]
    assert not ours.HasField("raw_data") and list(ours.data) == list(net.params["fc"][0].data.ravel())


@pytest.mark.parametrize("messages", [schema.MESSAGES, schema.raw_messages()])
@pytest.mark.parametrize("dtype", KINDS)
def test_arrays_in_both_schemas(messages, dtype):
    value = np.arange(6).reshape(2, 3).astype(dtype)
    blob = messages["BlobProto"](raw_data=value.tobytes(), raw_data_type=KINDS[dtype], raw_diff=(-value).tobytes(),
                                 raw_diff_type=KINDS[dtype])
    blob.shape.dim.extend([2, 3])
    np.testing.assert_array_equal(blobs.blob_array(blob), value)
    np.testing.assert_array_equal(blobs.blob_array(blob, diff=True), -value)
    np.testing.assert_array_equal(caffe.io.blobproto_to_array(blob), value)


def test_double_data_goes_first():
    """As in NVCaffe: a file that has both holds the same values."""
    blob = blobs.BlobProto(raw_data=b"\0" * 8, raw_data_type=caffe_pb2.FLOAT)
    blob.double_data.append(np.array([1.0, 2.0]).tobytes())
    blob.shape.dim.append(2)
    assert blobs.blob_array(blob).tolist() == [1, 2]


@pytest.mark.parametrize("arguments, message", [
    ({"dtype": "<f2", "data": b"\0" * 11}, "garbled"),
    ({"dtype": "<f2", "data": b"\0" * 10}, "does not fit its shape"),
    ({"dtype": "<f2", "data": b""}, "does not fit its shape"),
    ({"dtype": "<f4", "kind": caffe_pb2.FLOAT16}, "does not fit its shape"),
    ({"dtype": "<f2", "kind": caffe_pb2.INT}, "no type that blobs have"),
    ({"dtype": "<f2", "kind": "none"}, "no type that blobs have"),
    ({"dtype": "<f2", "dims": (2**40, 3)}, "no blob can have"),
    ({"dtype": "<f2", "dims": (2**31 - 1, 2**31 - 1)}, "does not fit its shape"),
])
def test_damaged_arrays_are_refused(arguments, message):
    saved(**arguments)
    net = build()
    before = time.process_time()
    with pytest.raises(WeightsError, match=message):
        net.copy_from("nv.caffemodel")
    assert time.process_time() - before < 1


def test_hints_are_said_once_and_only_where_set(caplog):
    build()
    assert not caplog.records
    second = ('layer { name: "r" type: "ReLU" bottom: "y" top: "y" forward_type: FLOAT16 backward_type: FLOAT16 '
              "forward_math: FLOAT } default_forward_type: FLOAT16 global_grad_scale: 1000 reduce_buckets: 6")
    with caplog.at_level(logging.INFO, "caffe"):
        build(second, "forward_type: FLOAT16 cudnn_math_override: 1", caffe.TRAIN)
    said = [r.getMessage() for r in caplog.records if "has no effect" in r.getMessage()]
    for field, place in {"forward_type": "net.prototxt:3: layer 'fc'", "cudnn_math_override": "net.prototxt:3",
                         "backward_type": "net.prototxt:5: layer 'r'", "default_forward_type": "net.prototxt:5",
                         "global_grad_scale": "net.prototxt:5"}.items():
        assert sum(f" {field} has" in line and line.startswith(place) for line in said) == 1, (field, said)
    assert len(said) == 5                              # not the values that are the defaults


@pytest.mark.parametrize("layer, field", [
    ('loss_param { label_smoothing: 0.1 }', "label_smoothing"),
    ('data_param { shuffle: true }', "shuffle"),
    ('transform_param { resize_param { height: 3 } }', "resize_param"),
    ('transform_param { crop_h: 3 }', "crop_h"),
    ('transform_param { img_rand_resize_lower: 3 }', "img_rand_resize_lower"),
    ('dropout_param { scale_train: false }', "scale_train"),
])
def test_settings_that_would_change_the_result_are_refused(layer, field):
    with pytest.raises(LayerError, match=f"{field} .* not implemented") as error:
        build(layer=layer)
    assert "net.prototxt:3" in str(error.value) and error.value.layer == "fc" and error.value.help


def test_layers_of_another_phase_are_not_asked():
    build('layer { name: "d" type: "AnnotatedData" top: "d" include { phase: TRAIN } '
          "transform_param { resize_param { height: 3 } } annotated_data_param { batch_sampler { max_trials: 1 } } }")
    with pytest.raises(LayerError, match="AnnotatedData.*not implemented.*SSD's reader of images with boxes") as error:
        build('layer { name: "d" type: "AnnotatedData" top: "d" }')
    assert "net.prototxt:5" in str(error.value) and "Python" in str(error.value.help)


@pytest.mark.parametrize("field", ["larc: true", "momentum_policy: \"poly\"", "weight_decay_policy: \"poly\"",
                                   "eval_type: \"detection\"", "test_and_snapshot_last_epochs: 1"])
def test_solver_settings_that_are_refused(field):
    build()
    Path("solver.prototxt").write_text(f'net: "net.prototxt"\nbase_lr: 0.1 lr_policy: "fixed"\n# larc: no\n{field}\n')
    with pytest.raises(SolverError, match="not implemented") as error:
        caffe.get_solver("solver.prototxt")
    assert "solver.prototxt:4" in str(error.value)


def test_solver_settings_without_effect(caplog):
    build(phase=caffe.TRAIN)
    Path("solver.prototxt").write_text(
        'net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" larc: false larc_eta: 0.002 snapshot_prefix: "x"\n'
        "solver_data_type: FLOAT16 store_blobs_in_old_format: true min_lr: 0")
    caffe.get_solver("solver.prototxt")
    said = [line for line in map(logging.LogRecord.getMessage, caplog.records) if "has no effect" in line]
    assert [line.split(":")[2].split()[0] for line in sorted(said)] == ["larc_eta", "solver_data_type",
                                                                      "store_blobs_in_old_format"]


def test_rates_that_rise_first_and_have_a_floor():
    p = caffe_pb2.SolverParameter(base_lr=2, lr_policy="poly", power=2, max_iter=100, rampup_interval=10,
                                  rampup_lr=0.5, min_lr=0.1)
    for it in range(100):
        want = 0.5 + 1.5 * (it / 10) ** 2 if it < 10 else 0.1 + 1.9 * (1 - it / 100) ** 2
        assert lr_policy.learning_rate(p, it, 0)[0] == pytest.approx(want)
    p = caffe_pb2.SolverParameter(base_lr=2, lr_policy="step", gamma=0.1, stepsize=10, min_lr=0.1)
    assert [lr_policy.learning_rate(p, it, 0)[0] for it in (0, 10, 20)] == pytest.approx([2, 0.2, 0.1])


def test_a_recurrent_layer_says_that_it_has_no_net_to_debug(caplog):
    Path("lstm.prototxt").write_text("""
        layer { name: "x" type: "Input" top: "x" top: "c"
                input_param { shape { dim: 2 dim: 3 dim: 4 } shape { dim: 2 dim: 3 } } }
        layer { name: "l" type: "LSTM" bottom: "x" bottom: "c" top: "h"
                recurrent_param { num_output: 2 debug_info: true } }""")
    caffe.Net("lstm.prototxt", caffe.TEST)
    assert "layer 'l': debug_info has no effect" in caplog.text


def test_every_field_that_is_listed_exists():
    for name in (*forks.NO_EFFECT, *forks.REFUSED):
        message, field = name.split(".")
        assert field in schema.MESSAGES[message].DESCRIPTOR.fields_by_name, name
    assert not set(forks.NO_EFFECT) & set(forks.REFUSED)
    assert not set(forks.ABSENT_TYPES) & set(caffe.layer_type_list())
