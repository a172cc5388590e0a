"""Files from strangers: damaged, lying about sizes, nested without end. Each loads or is refused by our own errors.

The whole run is `make fuzz`; here each reader gets a few inputs, and every kind of input that once broke one.
"""
from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import caffe
from caffe import memory
from caffe.data import datum
from caffe.proto import blobs, caffe_pb2, text
from caffe.solvers import snapshot

h5py = pytest.importorskip("h5py")

ROOT = Path(__file__).resolve().parents[2]
READERS = ("net_prototxt", "net_build", "solver_prototxt", "caffemodel", "caffemodel_hdf5", "solverstate",
           "solverstate_hdf5", "sidecar", "mean", "datum", "lmdb_record", "onnx", "safetensors", "hdf5_data",
           "hdf5_list", "image_list")
INPUT = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: %s } } }\n'

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_every_reader_on_damaged_files(tmp_path):
    """120 inputs each, in a process that has 1 GiB more than what it loads, and a second for each input."""
    done = subprocess.run([sys.executable, str(ROOT / "fuzz/run.py"), "--target", *READERS, "--seed", "11",
                           "--inputs", str(120 * len(READERS)), "--keep", str(tmp_path / "faults")],
                          capture_output=True, text=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stdout + done.stderr


def refused(error, read, *args, says=""):
    """`read` raises `error` within a second of processor time, with a message that can be printed."""
    begun = time.process_time()
    with pytest.raises(error) as caught:
        read(*args)
    assert time.process_time() - begun < 1
    assert says in str(caught.value) and caught.value.help
    return caught.value


def net(content):
    Path("net.prototxt").write_text(content)
    return caffe.Net("net.prototxt", caffe.TEST)


# ------------------------------------------------------------------ prototxts
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.sampled_from('layer{}<>[]:;,"\'\\#\n name1-.e_\x00é'), max_size=60))
def test_any_text_is_a_net_or_a_parse_error(content):
    try:
        text.parse_text(content, caffe_pb2.NetParameter())
    except caffe.ParseError as problem:
        assert str(problem)


@pytest.mark.parametrize("opened", ["layer { ", "{", "<", "layer < ", "layer [{ "])
def test_nesting_without_end(opened):
    refused(caffe.CaffeError, text.parse_text, opened * 200_000, caffe_pb2.NetParameter())


@pytest.mark.parametrize("quote", ['"', "'"])
def test_a_string_that_never_ends_is_found_in_linear_time(quote):
    refused(caffe.ParseError, text.parse_text, "name: " + f"{quote}\\" * 500_000, caffe_pb2.NetParameter())


@pytest.mark.parametrize("content", [
    INPUT % (2**40),
    INPUT % (2**62),
    INPUT % "1048576 dim: 1048576",
    INPUT % -4,
    INPUT % "2 dim: 3" + 'layer { name: "y" type: "InnerProduct" bottom: "x" top: "y" inner_product_param '
    '{ num_output: 2147483647 } }',
    INPUT % "2 dim: 3 dim: 4 dim: 4" + 'layer { name: "y" type: "Convolution" bottom: "x" top: "y" convolution_param '
    '{ num_output: 4294967295 kernel_size: 4294967295 pad: 4294967295 } }',
    'layer { name: "y" type: "DummyData" top: "y" dummy_data_param { shape { dim: 1099511627776 } } }',
    INPUT % "2 dim: 3" + 'layer { name: "y" type: "Tile" bottom: "x" top: "y" tile_param { tiles: 2147483647 } }',
])
def test_sizes_that_no_machine_has(content):
    problem = refused(caffe.ShapeError, net, content)
    line = content.count("\n", 0, content.rindex("layer {")) + 1
    assert problem.layer in ("x", "y") and problem.file == f"net.prototxt:{line}"


def test_a_blob_larger_than_memory_is_refused_before_it_is_allocated(monkeypatch):
    monkeypatch.setattr(memory, "total", lambda: 2**30)
    monkeypatch.setattr(memory, "available", lambda: 2**25)
    problem = refused(caffe.ShapeError, net, INPUT % 2**29, says="larger than this machine's memory")
    assert (problem.layer, problem.file) == ("x", "net.prototxt:1")
    wide = INPUT % "1 dim: 3" + ('layer { name: "y" type: "InnerProduct" bottom: "x" top: "y" '
                                 'inner_product_param { num_output: 9000000 } }')
    problem = refused(caffe.ShapeError, net, wide, says="memory that is left")
    assert (problem.layer, problem.file) == ("y", "net.prototxt:2")


def test_memory_is_what_the_system_says():
    assert 0 < memory.available() <= memory.total() <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("path", ["a\0b", "x" * 5000])
def test_paths_that_are_none(path):
    refused(caffe.CaffeError, text.load_net, path)
    refused(caffe.CaffeError, blobs.read_net, path)
    Path("solver.prototxt").write_text(f'net: "{path}" base_lr: 1 lr_policy: "fixed"'.replace("\0", "\\000"))
    refused(caffe.CaffeError, caffe.get_solver, "solver.prototxt")


# ------------------------------------------------------------------ blobs
@pytest.mark.parametrize("dims, values", [
    ([2**40], 1), ([-2, -3], 6), ([1] * 100, 1), ([2**40] * 5000, 1), ([0, 2**62, 2**62], 0), ([-1], 0),
])
def test_shapes_that_no_blob_has(dims, values):
    message = caffe_pb2.BlobProto(data=[0] * values)
    message.shape.dim.extend(dims)
    Path("mean.binaryproto").write_bytes(message.SerializeToString())
    refused(caffe.WeightsError, blobs.read_blob, "mean.binaryproto")


def test_a_message_nested_without_end():
    for kind in (b"\x0b", b"\xa3\x06"):   # the start of a group, of a field 1 and of a field 100
        Path("x.caffemodel").write_bytes(kind * 200_000)
        refused(caffe.WeightsError, blobs.read_net, "x.caffemodel")
        refused(caffe.DataError, datum.parse, kind * 200_000)


@pytest.mark.parametrize("name", ["name", "top"])
def test_a_caffemodel_with_strings_that_are_no_text(name):
    layer = {"name": "first", "top": ["first"]}
    old = caffe_pb2.NetParameter(layers=[caffe_pb2.V1LayerParameter(**{name: layer[name]})])
    Path("x.caffemodel").write_bytes(old.SerializeToString().replace(b"first", b"\x80irst"))
    refused(caffe.CaffeError, text.read_caffemodel, "x.caffemodel")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=80))
def test_any_bytes_are_a_datum_or_a_data_error(data):
    try:
        datum.array(datum.parse(data))
    except caffe.DataError as problem:
        assert str(problem)


@pytest.mark.parametrize("channels, height, width", [(2**30, 2**30, 2**30), (-1, -2, 3), (0, 0, 0), (1, 1, 2)])
def test_a_datum_that_claims_other_sizes(channels, height, width):
    refused(caffe.DataError, datum.array, caffe_pb2.Datum(channels=channels, height=height, width=width, data=b"x"))


@pytest.mark.parametrize("side", [10**6, 10**4])
def test_an_image_that_claims_more_than_it_may(side):
    header = side.to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"

    def chunk(kind, content):
        return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")

    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    refused(caffe.DataError, datum.array, caffe_pb2.Datum(encoded=True, data=png))


# ------------------------------------------------------------------ HDF5
ROWS = ('layer { name: "d" type: "HDF5Data" top: "data" top: "label" hdf5_data_param '
        '{ source: "rows.txt" batch_size: 2 } }')


@pytest.mark.parametrize("shape", [(2**40,), (2**30, 2**30), (30_000_000, 100)])
@pytest.mark.parametrize("chunks", [None, True])
def test_hdf5_rows_that_were_never_written(shape, chunks):
    with h5py.File("rows.h5", "w") as f:
        f.create_dataset("data", shape, np.float32, chunks=chunks)
        f.create_dataset("label", (4,), np.float32)
    Path("rows.txt").write_text("rows.h5\n")
    assert refused(caffe.DataError, net, ROWS, says="claims more than").layer == "d"


@pytest.mark.parametrize("content", ["text", None, {"group": 1}])
def test_hdf5_objects_that_are_no_numbers(content):
    with h5py.File("rows.h5", "w") as f:
        f.create_dataset("label", data=np.zeros(4, np.float32))
        if isinstance(content, dict):
            f.create_group("data")
        else:
            f["data"] = content if content else h5py.Empty("f4")
    Path("rows.txt").write_text("rows.h5\n")
    assert refused(caffe.DataError, net, ROWS).layer == "d"


def test_hdf5_weights_and_states_that_claim_terabytes():
    small = net(INPUT % "1 dim: 2" + 'layer { name: "y" type: "InnerProduct" bottom: "x" top: "y" inner_product_param '
                                     '{ num_output: 2 } }')
    with h5py.File("x.caffemodel.h5", "w") as f:
        f.create_dataset("data/y/0", (2**21, 2**21), np.float32, chunks=True)
        f["data/y/1"] = np.zeros(2, np.float32)
    refused(caffe.WeightsError, small.copy_from, "x.caffemodel.h5", says="another shape")
    with h5py.File("x.solverstate.h5", "w") as f:
        f["iter"] = [1]
        f.create_dataset("history/0", (2**21, 2**21), np.float32, chunks=True)
    refused(caffe.SnapshotError, snapshot.read, "x.solverstate.h5", says="claims more than")


def test_hdf5_files_cut_anywhere():
    with io.BytesIO() as file:
        with h5py.File(file, "w") as f:
            f["data/y/0"] = np.zeros((2, 2), np.float32)
        whole = file.getvalue()
    small = net(INPUT % "1 dim: 2" + 'layer { name: "y" type: "InnerProduct" bottom: "x" top: "y" inner_product_param '
                                     '{ num_output: 2 bias_term: false } }')
    for end in range(8, len(whole), 97):
        Path("x.h5").write_bytes(whole[:end])
        refused(caffe.WeightsError, small.copy_from, "x.h5")


# ------------------------------------------------------------------ solver states
@pytest.fixture
def solver():
    Path("net.prototxt").write_text(INPUT % "1 dim: 2" + (
        'layer { name: "y" type: "InnerProduct" bottom: "x" top: "y" inner_product_param { num_output: 2 } }'))
    Path("solver.prototxt").write_text('net: "net.prototxt" base_lr: 1 lr_policy: "fixed" momentum: 0.5 '
                                       'snapshot_format: BINARYPROTO snapshot_prefix: "s"')
    return caffe.get_solver("solver.prototxt")


@pytest.mark.parametrize("change", [
    {"losses": ["x"]}, {"losses": 3}, {"train": []}, {"test": [3]}, {"test": 3}, {"random": {"cpu": "AAAA"}},
    {"random": {"cpu": "?"}}, {"random": {"nowhere": "AAAA"}}, {"random": {"cpu": 3}}, {"random": []},
    {"iter": 10**400}, {"version": None}, {"random": {"cpu": base64.b64encode(bytes(5056)).decode()}},
])
def test_a_sidecar_that_no_snapshot_wrote(solver, change):
    state = snapshot.write(solver)
    sidecar = Path(state + ".json")
    sidecar.write_text(json.dumps({**json.loads(sidecar.read_text()), **change}))
    refused(caffe.SnapshotError, solver.restore, state)
    assert solver.iter == 0


def test_a_sidecar_nested_without_end(solver):
    state = snapshot.write(solver)
    Path(state + ".json").write_text('{"a":' * 100_000)
    refused(caffe.SnapshotError, solver.restore, state)


def test_a_state_whose_weights_have_a_name_that_is_no_text(solver):
    state = Path(snapshot.write(solver))
    state.write_bytes(state.read_bytes().replace(b"s_iter_0.caffemodel", b"s_iter_\xff.caffemodel"))
    refused(caffe.SnapshotError, solver.restore, str(state))
