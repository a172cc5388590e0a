"""Prototxt files: what is read, where layers are, and what an error says of each kind of bad text."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe.errors import CaffeError, NetError, ParseError, WeightsError
from caffe.proto import blobs, caffe_pb2, text

pytestmark = pytest.mark.unit

NET = """\
# layer { this is a comment }
name: "layer { in a string }"
layer {
  name: "data" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 3 } }
}
layer: < name: 'a # no comment' type: "ReLU" bottom: "data" top: "a" >

layer { name: "b \\" layer {" type: "Pooling" bottom: "a"
  # }
  top: "b" pooling_param { pool: AVE } } layer { name: "c" }
"""


@pytest.mark.tiny
def test_layer_lines():
    assert text.layer_lines(NET) == [3, 7, 9, 11]


@pytest.mark.parametrize(
    "source, lines",
    [
        ("", []),
        ("layers {\n}\nlayers{}", [1, 3]),
        ("layer\n{\n}\n", [1]),
        ("\r\n layer {\r\n}\r\nlayer {}", [2, 4]),
        ('layer: [{\nname: "a"},\n\n{name: "b"}\n]\nlayer {}', [1, 4, 6]),
        ("state { phase: TEST }\ninput_shape { dim: 1 }\nlayer {}", [3]),
    ],
)
def test_layer_lines_of_odd_layouts(source, lines):
    assert text.layer_lines(source) == lines


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 3),
            st.sampled_from(["{}", "<>"]),
            st.sampled_from(["", "# layer {\n", 'name: "layer {}"\n']),
            st.sampled_from(["layer", "layers"]),
        ),
        max_size=8,
    )
)
def test_layer_lines_by_construction(blocks):
    source, expected = "", []
    for blank, braces, body, word in blocks:
        source += "\n" * blank
        expected.append(source.count("\n") + 1)
        source += f"{word} {braces[0]}\n{body}{braces[1]}\n"
    assert text.layer_lines(source) == expected


@pytest.mark.tiny
def test_load_net_from_a_file_and_from_text(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text("\ufeff" + NET, encoding="utf-8")
    for source, file in ((path, str(path)), (str(path), str(path)), (NET, None)):
        net = text.load_net(source)
        assert net.file == file and net.lines == [3, 7, 9, 11]
        assert [layer.name for layer in net.param.layer] == ["data", "a # no comment", 'b " layer {', "c"]
        assert net.param.layer[2].pooling_param.pool == caffe_pb2.PoolingParameter.AVE
        assert text.read_net_prototxt(source) == net.param


def test_lines_follow_an_upgrade():
    net = text.load_net(
        'input: "x"\ninput_dim: 1 input_dim: 1 input_dim: 1 input_dim: 1\nlayers { name: "a" }\n'
    )
    assert [layer.name for layer in net.param.layer] == ["input", "a"]
    assert net.lines == [None, 3]
    assert text.read_net_prototxt('input: "x"\n').input == ["x"]  # as written


BAD_TEXT = {  # text: (line, in the message, in the help)
    'layer {\n  nmae: "x"\n}\n': (2, "LayerParameter has no field 'nmae'", "did you mean name"),
    'layer { type: "C"\n convolution_param {\n kernel_sise: 3 } }\n': (
        3,
        "ConvolutionParameter has no field 'kernel_sise'",
        "kernel_size",
    ),
    "layer {\n\n kernel_h: 3 }\n": (
        3,
        "has no field 'kernel_h'",
        "inside convolution_param or pooling_param",
    ),
    "base_lr: 0.1\n": (1, "NetParameter has no field 'base_lr'", "looks like the prototxt of a solver"),
    "layer { zzzzzz: 1 }\n": (1, "zzzzzz", "the fields of LayerParameter are blobs, bottom"),
    "layer { pooling_param {\n pool: MAXX } }\n": (
        2,
        "(expected MAX or AVE or STOCHASTIC)",
        "did you mean MAX?",
    ),
    "layer { pooling_param {\n pool: 7 } }\n": (2, "no value '7'", "use one of these"),
    "state {\n phase: TRIAN }\n": (2, "Phase has no value 'TRIAN' (expected TRAIN or TEST)", "TRAIN"),
    "layers { type: CONVOLUTON }\n": (1, "V1LayerParameter.LayerType has no value", "CONVOLUTION"),
    'layer { name: "a" }\n\nlayer {\n  name: "b"\n': (3, "never closed", "close it"),
    'layer { name: "a }\n}\n': (1, "quote", "line"),
    "layer { name: 3\n}\n": (1, "Expected string", "line"),
    "layer { }\n}\n": (2, "", "line"),
    'name: "a"\nname: "b"\n': (2, "multiple", "line"),
    "layer { top: 1e5 }\n": (1, "string", "line"),
    "layer { clip_param {\n min: 1 } }\n": (None, "layer[0].clip_param.max", "no default"),
    "layer {" * 101 + "\n": (1, "nested too deeply", "prototxt"),
}


@pytest.mark.parametrize("source", BAD_TEXT)
def test_bad_text(source, tmp_path):
    line, message, help = BAD_TEXT[source]
    path = tmp_path / "bad.prototxt"
    path.write_text(source)
    with pytest.raises(ParseError) as error:
        text.load_net(path)
    assert error.value.file == str(path) and error.value.line == line
    assert message in str(error.value) and help in error.value.help
    if line:
        assert str(error.value).startswith(f"{path}:{line}: ")
    with pytest.raises(ParseError) as error:
        text.load_net(source)
    assert error.value.file is None and error.value.line == line


def test_a_hundred_levels_are_read():
    depth = text.MAX_DEPTH
    with pytest.raises(ParseError, match="has no field"):
        text.load_net("layer {" * depth + "}" * depth + "\n")


BAD_FILES = {
    "html": (b"<!DOCTYPE html><html></html>", "an HTML page", "raw file"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS", ".prototxt"),
    "hdf5": (b"\x89HDF\r\n\x1a\n", "HDF5", ".prototxt"),
    "utf-16": ("name: 'a'".encode("utf-16"), "UTF-16", "UTF-8"),
    "latin-1": (b'name: "a"\nlayer {}\n# caf\xe9\n', "byte 0xe9", "UTF-8"),
    "weights": (b"\x0a\x03net\xa2\x06\x00\x00\xff\xfe", "binary data", "not the weights"),
    "weights in ASCII": (b"\x0a\x03net\x00", "binary data", "not the weights"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_bad_files(kind, tmp_path):
    data, found, help = BAD_FILES[kind]
    path = tmp_path / "bad.prototxt"
    path.write_bytes(data)
    with pytest.raises(ParseError) as error:
        text.load_net(path)
    assert error.value.file == str(path) and found in str(error.value) and help in error.value.help
    assert error.value.line == (3 if kind == "latin-1" else None)


def test_files_that_are_not_there(tmp_path):
    for read in (text.load_net, text.read_net_prototxt, text.read_solver_prototxt, text.load_solver):
        with pytest.raises(ParseError, match="is not there.*\nhelp: check the path"):
            read(tmp_path / "none.prototxt")
        with pytest.raises(ParseError, match="cannot be read"):
            read(tmp_path)
        with pytest.raises(ParseError, match="no file name"):
            read("")
    with pytest.raises(WeightsError, match="is not there"):
        text.read_caffemodel(tmp_path / "none.caffemodel")


def test_size_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(text, "MAX_BYTES", 100)
    path = tmp_path / "big.prototxt"
    path.write_text("#" * 101)
    with pytest.raises(ParseError, match="too large"):
        text.load_net(path)
    with pytest.raises(ParseError, match="too large"):
        text.load_net("#" * 100 + "\n")
    path.write_text("#" * 100)
    assert not text.load_net(path).param.layer


def test_solver(tmp_path):
    path = tmp_path / "solver.prototxt"
    path.write_text('net: "n.prototxt"\nsolver_type: ADAM\nbase_lr: 0.01\n')
    assert text.read_solver_prototxt(path).solver_type == caffe_pb2.SolverParameter.ADAM
    solver = text.load_solver(path)
    assert solver.type == "Adam" and not solver.HasField("solver_type")
    assert solver.snapshot_prefix == str(tmp_path / "solver")
    path.write_text('net: "n.prototxt"\nmomentun: 0.9\n')
    with pytest.raises(ParseError, match="solver.prototxt:2: .*'momentun'.*\nhelp: did you mean momentum"):
        text.load_solver(path)
    path.write_text('layer {\n name: "a" }\n')
    with pytest.raises(ParseError, match="prototxt of a net, where that of a solver"):
        text.load_solver(path)


def test_read_caffemodel_upgrades(tmp_path):
    net = caffe_pb2.NetParameter(name="old", input=["data"])
    net.layers.add(name="a", type=caffe_pb2.V1LayerParameter.CONVOLUTION).blobs.add(
        data=[1, 2], num=2, channels=1, height=1, width=1
    )
    path = tmp_path / "w.caffemodel"
    path.write_bytes(net.SerializeToString())
    new = text.read_caffemodel(path)
    assert [(layer.name, layer.type) for layer in new.layer] == [("a", "Convolution")]
    assert not new.input and not new.layers
    assert blobs.blob_array(new.layer[0].blobs[0]).tolist() == [[[[1]]], [[[2]]]]


def test_write_prototxt_round_trip(tmp_path):
    param = text.load_net(NET).param
    param.layer[0].loss_weight.append(0.1)
    path = tmp_path / "out.prototxt"
    text.write_prototxt(param, path)
    assert text.load_net(path).param == param
    assert "loss_weight: 0.1\n" in path.read_text()  # the shortest text of a float32, not of its double
    with pytest.raises(CaffeError, match="cannot write"):
        text.write_prototxt(param, tmp_path / "none" / "x")


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                "layer",
                "layers",
                "{",
                "}",
                "<",
                ">",
                ":",
                "[",
                "]",
                ",",
                ";",
                '"',
                "'",
                "\\",
                "#",
                "\n",
                "name",
                "3",
                "-",
                ".",
                "type",
                "pool",
                "MAX",
                "input",
                "é",
                " ",
                "pooling_param",
            ]
        ),
        max_size=30,
    )
)
def test_any_text_is_read_or_refused(pieces):
    source = " ".join(pieces) + "\n"
    try:
        net = text.load_net(source)
    except (ParseError, NetError):
        return
    assert len(net.lines) == len(net.param.layer)
