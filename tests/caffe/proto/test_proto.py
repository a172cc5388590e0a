"""The schema against the table of Caffe's format, and arrays in binary files against their wire form by
hand."""

from __future__ import annotations

import copy
import csv
import os
import pickle
import struct
import subprocess
import sys
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import descriptor_pb2
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from caffe.errors import ShapeError, WeightsError
from caffe.proto import blobs, caffe_pb2, schema

pytestmark = pytest.mark.unit

FIELD = descriptor_pb2.FieldDescriptorProto
HERE = Path(__file__).parent

# What caffe.proto has beyond the table, for the layers of forks (its last section): fields, messages, enums.
FORK_FIELDS = {
    "LayerParameter": {
        "bn_param": 45, "upsample_param": 1137, "interp_param": 163, "shuffle_channel_param": 164,
        "permute_param": 202, "prior_box_param": 203, "detection_output_param": 204, "norm_param": 206,
        "roi_pooling_param": 8266711, "smooth_l1_loss_param": 8266712, "psroi_pooling_param": 1149,
        "annotated_data_param": 200, "multibox_loss_param": 201, "detection_evaluate_param": 205,
        "video_data_param": 207, "dense_image_data_param": 1138, "forward_type": 1145, "backward_type": 1146,
        "forward_math": 1147, "backward_math": 1148, "debug": 149, "cudnn_math_override": 150,
    },
    "BlobProto": {"raw_data_type": 10, "raw_diff_type": 11, "raw_data": 12, "raw_diff": 13},
    "NetParameter": {
        "default_forward_type": 11, "default_backward_type": 12, "default_forward_math": 13,
        "default_backward_math": 14, "global_grad_scale": 15, "global_grad_scale_adaptive": 16,
        "default_conv_algos_override": 17, "reduce_buckets": 18, "default_cudnn_math_override": 19,
        "eltwise_mem_sharing": 20,
    },
    "SolverParameter": {
        "rampup_interval": 1041, "rampup_lr": 1042, "min_lr": 43, "solver_data_type": 44,
        "store_blobs_in_old_format": 45, "momentum_policy": 46, "max_momentum": 47, "momentum_power": 48, "larc": 49,
        "larc_policy": 50, "larc_eta": 51, "weight_decay_policy": 52, "weight_decay_power": 53,
        "test_and_snapshot_last_epochs": 54, "larc_turbo": 55, "max_weight_decay": 56, "eval_type": 241,
        "ap_version": 242, "plateau_winsize": 243, "show_per_class_result": 244,
    },
    "TransformationParameter": {
        "resize_param": 8, "noise_param": 9, "emit_constraint": 10, "crop_h": 11, "crop_w": 12, "distort_param": 13,
        "expand_param": 14, "use_gpu_transform": 1008, "random_seed": 1009, "img_rand_resize_lower": 1010,
        "img_rand_resize_upper": 1011, "rand_resize_ratio_lower": 1012, "rand_resize_ratio_upper": 1013,
        "vertical_stretch_lower": 1014, "vertical_stretch_upper": 1015, "horizontal_stretch_lower": 1016,
        "horizontal_stretch_upper": 1017, "interpolation_algo_down": 1018, "interpolation_algo_up": 1019,
        "allow_upscale": 1020, "forward_packing": 1021, "display": 1022, "num_labels": 1023,
    },
    "DataParameter": {"threads": 11, "parser_threads": 12, "cache": 13, "shuffle": 14, "precache": 16},
    "ImageDataParameter": {
        "short_side": 13, "threads": 14, "cache": 15, "precache": 16, "dataset_share_per_node": 17,
    },
    "BatchNormParameter": {"scale_filler": 5, "bias_filler": 6, "scale_bias": 7, "engine": 15},
    "ConvolutionParameter": {"cudnn_convolution_algo_seeker": 19, "conv_algos_override": 20},
    "DropoutParameter": {"engine": 2, "random_seed": 3, "scale_train": 1002, "sample_weights_test": 1003},
    "ELUParameter": {"lambda": 2},
    "LossParameter": {"label_smoothing": 4, "weight_by_label_freqs": 1003, "class_weighting": 1004},
    "PoolingParameter": {"ceil_mode": 1013, "torch_pooling": 40},
}
FORK_MESSAGES = {
    "caffe." + name for name in (
        "BNParameter", "UpsampleParameter", "InterpParameter", "ShuffleChannelParameter", "PermuteParameter",
        "NormalizeParameter", "PriorBoxParameter", "DetectionOutputParameter", "NonMaximumSuppressionParameter",
        "SaveOutputParameter", "ROIPoolingParameter", "SmoothL1LossParameter", "PSROIPoolingParameter",
        "DenseImageDataParameter", "MultiBoxLossParameter", "DetectionEvaluateParameter", "AnnotatedDataParameter",
        "BatchSampler", "Sampler", "SampleConstraint", "EmitConstraint", "ResizeParameter", "NoiseParameter",
        "SaltPepperParameter", "DistortionParameter", "ExpansionParameter", "VideoDataParameter",
    )
}
FORK_ENUMS = {
    "caffe." + name for name in (
        "Type", "BNParameter.BNMode", "BNParameter.Engine", "PriorBoxParameter.CodeType", "BatchNormParameter.Engine",
        "DropoutParameter.Engine", "ConvolutionParameter.CuDNNConvolutionAlgorithmSeeker",
        "TransformationParameter.InterpolationAlgo", "TransformationParameter.Packing", "EmitConstraint.EmitType",
        "AnnotatedDataParameter.AnnotationType", "VideoDataParameter.VideoType",
        *(f"MultiBoxLossParameter.{kind}Type" for kind in ("LocLoss", "ConfLoss", "Match", "Mining")),
        *(f"ResizeParameter.{kind}_mode" for kind in ("Resize", "Pad", "Interp")),
    )
}


def rows(name):
    with open(HERE / "schema" / name, newline="") as file:
        return list(csv.DictReader(file))


FIELDS = {name: list(group) for name, group in groupby(rows("fields.csv"), key=lambda row: row["message"])}
ENUMS = {name: list(group) for name, group in groupby(rows("enums.csv"), key=lambda row: row["enum"])}
LABELS = {
    "optional": FIELD.LABEL_OPTIONAL,
    "required": FIELD.LABEL_REQUIRED,
    "repeated": FIELD.LABEL_REPEATED,
}


def described(message_name):
    """What our descriptor says of a message's fields, in protobuf's own form."""
    file = descriptor_pb2.FileDescriptorProto.FromString(caffe_pb2.DESCRIPTOR.serialized_pb)
    message = next(message for message in file.message_type if message.name == message_name)
    return {field.name: field for field in message.field}


@pytest.mark.tiny
@pytest.mark.parametrize("full_name", FIELDS)
def test_fields(full_name):
    name = full_name.removeprefix("caffe.")
    ours = described(name)
    extra = FORK_FIELDS.get(name, {})
    assert set(ours) == {row["field"] for row in FIELDS[full_name]} | set(extra)
    assert {field: ours[field].number for field in extra} == extra
    assert not set(extra.values()) & {int(row["number"]) for row in FIELDS[full_name]}
    live = getattr(caffe_pb2, name).DESCRIPTOR.fields_by_name
    for row in FIELDS[full_name]:
        field = ours[row["field"]]
        assert field.number == int(row["number"])
        assert field.label == LABELS[row["label"]]
        if row["type"].startswith("caffe."):
            assert field.type_name == "." + row["type"]
            assert field.type == (FIELD.TYPE_ENUM if row["type"] in ENUMS else FIELD.TYPE_MESSAGE)
        else:
            assert field.type == FIELD.Type.Value("TYPE_" + row["type"].upper())
        assert field.options.packed == (row["packed"] == "packed")
        default = live[row["field"]].default_value
        if not row["default"]:
            assert not field.HasField("default_value")
        elif row["type"] in ENUMS:
            assert live[row["field"]].enum_type.values_by_number[default].name == row["default"]
        elif row["type"] in ("float", "double"):
            assert default == pytest.approx(float(row["default"]), rel=1e-6)
        else:
            assert str(default) == row["default"]


@pytest.mark.parametrize("full_name", ENUMS)
def test_enums(full_name):
    expected = {row["name"]: int(row["number"]) for row in ENUMS[full_name]}
    owner, _, name = full_name.removeprefix("caffe.").rpartition(".")
    scope = getattr(caffe_pb2, owner) if owner else caffe_pb2
    assert dict(getattr(scope, name).items()) == expected
    for value, number in expected.items():
        assert getattr(scope, value) == number


def test_nothing_beyond_the_table():
    messages = {"caffe." + name for name in schema.MESSAGES}
    assert messages == set(FIELDS) | FORK_MESSAGES and not FORK_MESSAGES & set(FIELDS)
    ours = set()
    for name, message in caffe_pb2.DESCRIPTOR.message_types_by_name.items():
        ours |= {f"caffe.{name}.{enum}" for enum in message.enum_types_by_name}
    ours |= {"caffe." + name for name in caffe_pb2.DESCRIPTOR.enum_types_by_name}
    assert ours == set(ENUMS) | FORK_ENUMS


def test_module_as_programs_use_it():
    assert (caffe_pb2.TRAIN, caffe_pb2.TEST) == (0, 1)
    assert caffe_pb2.Phase.Value("TEST") == 1 and caffe_pb2.Phase.Name(0) == "TRAIN"
    assert caffe_pb2.PoolingParameter.PoolMethod.Value("AVE") == caffe_pb2.PoolingParameter.AVE == 1
    net = caffe_pb2.NetParameter(name="n")
    net.layer.add(type="Pooling").pooling_param.pool = caffe_pb2.PoolingParameter.AVE
    assert pickle.loads(pickle.dumps(net)) == net == copy.deepcopy(net)
    assert set(caffe_pb2.__all__) >= {"NetParameter", "TRAIN", "Phase", "DESCRIPTOR"}


BESIDE = """
from google.protobuf import descriptor_pb2, descriptor_pool
other = descriptor_pb2.FileDescriptorProto(name="caffe.proto", package="caffe", syntax="proto2")
other.message_type.add(name="BlobProto").field.add(name="data", number=99, label=3, type=2)
pool = descriptor_pool.Default()
def register():
    pool.AddSerializedFile(other.SerializeToString())
    return pool.FindMessageTypeByName("caffe.BlobProto")
ORDER
assert [f.number for f in theirs.fields] == [99]
assert caffe_pb2.BlobProto.DESCRIPTOR.fields_by_name["data"].number == 5
net = blobs.NetParameter()
net.layer.add(name="a").blobs.append(blobs.array_blob(numpy.arange(3.0)))
assert list(caffe_pb2.NetParameter.FromString(net.SerializeToString()).layer[0].blobs[0].data) == [0, 1, 2]
"""


@pytest.mark.parametrize("implementation", ["upb", "python"])
@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_beside_another_schema_in_the_default_pool(first, implementation):
    steps = ["import numpy; from caffe.proto import caffe_pb2, blobs", "theirs = register()"]
    script = BESIDE.replace("ORDER", "\n".join(steps if first == "ours" else steps[::-1]))
    environment = os.environ | {"PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": implementation}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment,
        capture_output=True,
        text=True,
        cwd=HERE.parents[2],
    )
    assert done.returncode == 0, done.stderr


# The wire form, by hand: protobuf's encoding written with struct alone.


def varint(number):
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def chunk(number, content):
    return varint(number << 3 | 2) + varint(len(content)) + content


def net_with(blob, name=b"conv"):
    return chunk(1, b"net") + chunk(100, chunk(1, name) + chunk(2, b"Convolution") + chunk(7, blob))


SHAPE = chunk(7, chunk(1, varint(2) + varint(3)))
VALUES = (1.5, -2.0, 0.0, 1e-30, float("inf"), 7.0)
PACKED = struct.pack("<6f", *VALUES)


def unpacked(number, wire_type, pattern, values):
    return b"".join(varint(number << 3 | wire_type) + struct.pack(pattern, value) for value in values)


ENCODINGS = {
    "packed": SHAPE + chunk(5, PACKED),
    "packed, shape last": chunk(5, PACKED) + SHAPE,
    "packed in two chunks": SHAPE + chunk(5, PACKED[:8]) + chunk(5, PACKED[8:]),
    "one by one": SHAPE + unpacked(5, 5, "<f", VALUES),
    "mixed": SHAPE + chunk(5, PACKED[:8]) + unpacked(5, 5, "<f", VALUES[2:]),
    "doubles": SHAPE + chunk(8, struct.pack("<6d", *VALUES)),
    "doubles one by one": SHAPE + unpacked(8, 1, "<d", VALUES),
    "doubles win": SHAPE + chunk(5, struct.pack("<6f", *range(6))) + chunk(8, struct.pack("<6d", *VALUES)),
}


@pytest.mark.tiny
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_read_net_reads_every_legal_encoding(encoding, tmp_path):
    path = tmp_path / "w.caffemodel"
    path.write_bytes(net_with(ENCODINGS[encoding]))
    net = blobs.read_net(path)
    assert net.layer[0].name == "conv"
    blob = net.layer[0].blobs[0]
    array = blobs.blob_array(blob)
    assert array.dtype == np.float32 and array.shape == (2, 3)
    np.testing.assert_array_equal(array.ravel(), np.array(VALUES, np.float32))
    assert all(
        isinstance(part, bytes) for part in (*blob.data, *blob.double_data)
    )  # no number was unpacked


def test_read_net_of_older_formats(tmp_path):
    one_by_one = chunk(5, b"") + unpacked(5, 5, "<f", VALUES) + varint(1 << 3) + varint(6)
    v1 = chunk(2, chunk(4, b"c") + chunk(6, one_by_one))
    v0 = chunk(2, chunk(1, chunk(1, b"c") + chunk(50, one_by_one)))
    for i, data in enumerate((v1, v0)):
        path = tmp_path / f"{i}.caffemodel"
        path.write_bytes(data)
        layer = blobs.read_net(path).layers[0]
        blob = (layer if i == 0 else layer.layer).blobs[0]
        assert b"".join(blob.data) == PACKED
        assert blobs.blob_shape(blob) == (6, 0, 0, 0)


def test_raw_write_is_byte_for_byte_the_ordinary_one(tmp_path):
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    raw = blobs.NetParameter(name="net")
    raw.layer.add(name="a", type="X").blobs.append(blobs.array_blob(array, diff=array + 1))
    plain = caffe_pb2.NetParameter(name="net")
    blob = plain.layer.add(name="a", type="X").blobs.add()
    blob.shape.dim.extend(array.shape)
    blob.data.extend(array.ravel().tolist())
    blob.diff.extend((array + 1).ravel().tolist())
    blobs.write_message(raw, tmp_path / "raw")
    blobs.write_message(plain, tmp_path / "plain")
    assert (tmp_path / "raw").read_bytes() == (tmp_path / "plain").read_bytes()
    assert blobs.array_blob(array, array + 1, fast=False) == blob
    np.testing.assert_array_equal(blobs.blob_array(blob), array)
    np.testing.assert_array_equal(
        blobs.blob_array(blobs.read_net(tmp_path / "raw").layer[0].blobs[0], diff=True), array + 1
    )


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.float32, hnp.array_shapes(min_dims=0, max_dims=5, max_side=4)), st.booleans())
def test_arrays_survive_the_round_trip(array, fast):
    blob = blobs.array_blob(array, fast=fast)
    again = type(blob).FromString(blob.SerializeToString())
    np.testing.assert_array_equal(blobs.blob_array(again), array)


def test_array_of_other_layout_and_type():
    array = np.arange(6.0).reshape(2, 3).T  # float64, Fortran order
    np.testing.assert_array_equal(blobs.blob_array(blobs.array_blob(array)), array.astype(np.float32))


def test_array_shares_the_bytes():
    blob = blobs.array_blob(np.zeros(4))
    assert not blobs.blob_array(blob).flags.owndata
    with pytest.raises(ValueError):
        blobs.blob_array(blob)[0] = 1


def test_legacy_shape_comes_first():
    blob = blobs.array_blob(np.arange(6.0))
    blob.height, blob.width, blob.num, blob.channels = 2, 3, 1, 1
    assert blobs.blob_array(blob).shape == (1, 1, 2, 3)


@pytest.mark.parametrize(
    "data, found", [(PACKED[:20], "5 values"), (PACKED[:21], "21 bytes"), (None, "0 values")]
)
def test_values_that_do_not_fit_the_shape(data, found):
    blob = blobs.BlobProto.FromString(SHAPE + (chunk(5, data) if data else b""))
    with pytest.raises(WeightsError) as error:
        blobs.blob_array(blob)
    assert error.value.found == found
    assert not isinstance(error.value, ShapeError)


BAD_FILES = {
    "html": (b"<!DOCTYPE html>\n<html><body>404</body></html>", "HTML page", "download"),
    "html with space": (b"\n\n  <html lang=en>", "HTML page", "download"),
    "empty": (b"", "empty file", "again"),
    "lfs": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n",
        "Git LFS pointer",
        "git lfs pull",
    ),
    "prototxt": (b'name: "x"\nlayer { type: "Input" }\n', "prototxt", ".caffemodel"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5", ".h5"),
    "zip": (b"PK\x03\x04" + bytes(50), "zip archive", "again"),
    "cut short": (net_with(ENCODINGS["packed"])[:-5], "cut short", "again"),
    "noise": (bytes(range(1, 256)) * 9, "unknown binary", "again"),
    "solver state": (bytes([8, 5]) + chunk(2, b"a_iter_5.caffemodel"), "solver state", "snapshot"),
    "no layers": (chunk(1, b"net\x01"), "no layers", "again"),
    "name not text": (net_with(ENCODINGS["packed"], name=b"\xff\xfe"), "", ""),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_read_net_says_what_the_file_is(kind, tmp_path):
    data, found, help = BAD_FILES[kind]
    path = tmp_path / "w.caffemodel"
    path.write_bytes(data)
    with pytest.raises(WeightsError) as error:
        blobs.read_net(path)
    assert str(path) in str(error.value) and found in str(error.value)
    assert f"{len(data)} bytes" in str(error.value)
    assert help in error.value.help


def test_read_net_of_a_missing_file(tmp_path):
    with pytest.raises(WeightsError, match="is not there"):
        blobs.read_net(tmp_path / "none.caffemodel")
    with pytest.raises(WeightsError, match="cannot be read"):
        blobs.read_net(tmp_path)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 10_000), st.binary(max_size=6))
def test_damaged_files_give_weights_errors_only(tmp_path_factory, start, length, patch):
    data = net_with(ENCODINGS["packed"]) + chunk(100, chunk(1, b"b") + chunk(7, ENCODINGS["one by one"]))
    start %= len(data)
    path = tmp_path_factory.getbasetemp() / "fuzz.caffemodel"
    path.write_bytes(data[:start] + patch + data[start + length % 40 :])
    try:
        for layer in blobs.read_net(path).layer:
            for blob in layer.blobs:
                blobs.blob_array(blob)
    except WeightsError:
        pass


def test_solver_state_and_mean(tmp_path):
    state = blobs.SolverState(iter=7, learned_net="a.caffemodel", current_step=1)
    state.history.append(blobs.array_blob(np.ones((2, 2))))
    blobs.write_message(state, tmp_path / "s")
    again = blobs.read_solver_state(tmp_path / "s")
    assert (again.iter, again.learned_net, again.current_step) == (7, "a.caffemodel", 1)
    np.testing.assert_array_equal(blobs.blob_array(again.history[0]), np.ones((2, 2)))
    mean = caffe_pb2.BlobProto(num=1, channels=1, height=2, width=2, data=[1, 2, 3, 4])
    (tmp_path / "m").write_bytes(mean.SerializeToString())
    np.testing.assert_array_equal(blobs.read_blob(tmp_path / "m"), [[[[1, 2], [3, 4]]]])
    (tmp_path / "w").write_bytes(net_with(ENCODINGS["packed"]))
    with pytest.raises(WeightsError, match="solver state"):
        blobs.read_solver_state(tmp_path / "w")
    mean.height = 3
    (tmp_path / "m").write_bytes(mean.SerializeToString())
    with pytest.raises(WeightsError, match="6 for shape"):
        blobs.read_blob(tmp_path / "m")


def test_write_refuses_a_missing_folder(tmp_path):
    with pytest.raises(WeightsError, match="create the folder"):
        blobs.write_message(blobs.NetParameter(name="a"), tmp_path / "none" / "w")
