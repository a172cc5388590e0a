"""One process uses caffe beside other users of protobuf: ONNX, OpenCV, TensorBoard and another caffe.proto."""
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

# each part is imported by its IMPORT, in some order, and then works by its USE
IMPORT = {
    "caffe": "import caffe\ncaffe.SGDSolver",   # the name loads the engine
    "onnx": "import onnx",
    "cv2": "import cv2",
    "tensorboard": """
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.summary.writer.event_file_writer import EventFileWriter
""",
    "another caffe.proto": """
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
file = descriptor_pb2.FileDescriptorProto(name="caffe.proto", package="caffe", syntax="proto2")
file.message_type.add(name="NetParameter").field.add(name="title", number=1, label=1, type=9)
descriptor_pool.Default().AddSerializedFile(file.SerializeToString())
Theirs = message_factory.GetMessageClass(descriptor_pool.Default().FindMessageTypeByName("caffe.NetParameter"))
""",
}
USE = {
    "caffe": '''
open("net.prototxt", "w").write("""
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 1 dim: 2 dim: 2 } } }
layer { name: "p" type: "Power" bottom: "x" top: "y" power_param { scale: 3 shift: 1 } }""")
net = caffe.Net("net.prototxt", caffe.TEST)
net.save("net.caffemodel")
net.copy_from("net.caffemodel")
assert net.forward(x=[[[[0, 1], [2, 3]]]])["y"].ravel().tolist() == [1, 4, 7, 10]
''',
    "onnx": """
value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1]), \\
    onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
graph = onnx.helper.make_graph([onnx.helper.make_node("Neg", ["x"], ["y"])], "g", value[:1], value[1:])
model = onnx.helper.make_model(graph)
onnx.checker.check_model(model)
assert onnx.load_from_string(model.SerializeToString()).graph.node[0].op_type == "Neg"
""",
    "cv2": """
import numpy
assert cv2.resize(numpy.full((4, 6, 3), 9, numpy.uint8), (3, 2)).tolist() == [[[9] * 3] * 3] * 2
""",
    "tensorboard": """
import os
writer = EventFileWriter("events")
value = summary_pb2.Summary.Value(tag="loss", simple_value=0.5)
writer.add_event(event_pb2.Event(step=7, summary=summary_pb2.Summary(value=[value])))
writer.close()
read = list(EventFileLoader(os.path.join("events", os.listdir("events")[0])).Load())[-1]
assert read.step == 7 and read.summary.value[0].tag == "loss"
""",
    "another caffe.proto": """
from caffe.proto import caffe_pb2
assert Theirs.FromString(Theirs(title="theirs").SerializeToString()).title == "theirs"
assert not hasattr(Theirs(), "layer") and len(caffe_pb2.NetParameter(name="ours").layer) == 0
""",
}
NAMES = list(IMPORT)


@pytest.mark.parametrize("order", [NAMES, NAMES[::-1], NAMES[3:] + NAMES[:3]], ids=" ".join)
def test_every_order_of_imports(order, tmp_path):
    absent = [name for name in ("onnx", "cv2", "tensorboard") if importlib.util.find_spec(name) is None]
    if absent:
        pytest.skip(f"{' and '.join(absent)} not installed")
    code = "\n".join([f"import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r})",
                      *(IMPORT[name] for name in order), *(USE[name] for name in order)])
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
