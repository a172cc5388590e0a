"""The public names of pycaffe are here, `import caffe` stays light, and it lives beside other users of protobuf."""
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import caffe

SURFACE = json.loads((Path(__file__).parent / "api_surface.json").read_text())
pytestmark = pytest.mark.tiny


def owner(path: str, toy):
    if path == "caffe.Net()":
        return caffe.SGDSolver(toy()).net
    if path == "caffe.SGDSolver()":
        return caffe.SGDSolver(toy())
    if path in ("caffe", "caffe.io", "caffe.coord_map", "caffe.draw"):
        return importlib.import_module(path)
    return getattr(caffe, path.split(".")[1])


@pytest.mark.parametrize("path", SURFACE)
def test_public_names_are_here(path, toy):
    missing = [name for name in SURFACE[path] if not hasattr(owner(path, toy), name)]
    assert not missing


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, capture_output=True, text=True,
                          cwd=Path(__file__).parents[2]).stdout


def test_import_loads_no_torch():   # its time: benchmarks/startup.py
    assert python("import caffe, sys; print('torch' in sys.modules)").strip() == "False"


def test_net_spec_loads_no_torch():
    said = python("from caffe import layers as L, params as P; import caffe, sys; n = caffe.NetSpec();"
                  "n.x = L.Input(shape=dict(dim=[1])); str(n.to_proto()); print('torch' in sys.modules)")
    assert said.strip() == "False"


def test_another_module_may_register_the_same_schema():
    # as OpenCV's tools or a vendored caffe_pb2 do: the same file name and messages in protobuf's default pool
    code = """
from google.protobuf import descriptor_pb2, descriptor_pool
from caffe.proto import schema
file = descriptor_pb2.FileDescriptorProto()
schema.DESCRIPTOR.CopyToProto(file)
other = descriptor_pool.Default().Add(file) if hasattr(descriptor_pool.Default(), 'Add') else None
if other is None:
    descriptor_pool.Default().AddSerializedFile(file.SerializeToString())
import caffe
from caffe.proto import caffe_pb2
print(caffe_pb2.NetParameter(name='beside').name)
"""
    assert python(code).strip() == "beside"


def test_names_that_do_not_exist_say_so():
    with pytest.raises(AttributeError, match="no attribute 'Nett'"):
        _ = caffe.Nett
    assert {"Net", "SGDSolver", "io"} <= set(dir(caffe))
