"""caffe draw: every layer is a box, every bottom an arrow, boxes do not overlap, data flows one way."""
import itertools
import re
import shutil
import xml.etree.ElementTree as ET
from collections import Counter

import pytest

from caffe import cli, draw
from caffe.errors import CaffeError
from caffe.proto.text import load_net

pytestmark = pytest.mark.unit

SVG = "{http://www.w3.org/2000/svg}"
NETS = ["fcn8s", "fcn-googlenet", "squeezenet-fcn4s"]


def boxes(picture):
    """{layer: (left, top, right, bottom)}, and the arrows' blobs with their first and last point."""
    root = ET.fromstring(picture)
    found = {}
    for group in root.iter(SVG + "g"):
        r = group.find(SVG + "rect")
        x, y, w, h = (float(r.get(k)) for k in ("x", "y", "width", "height"))
        found[group.find(SVG + "text").text] = (x, y, x + w, y + h)
    arrows = []
    for path in root.findall(SVG + "path"):
        numbers = [float(v) for v in re.findall(r"-?[\d.]+", path.get("d"))]
        arrows.append((path.find(SVG + "title").text, tuple(numbers[:2]), tuple(numbers[-2:])))
    size = tuple(float(root.get(k)) for k in ("width", "height"))
    return found, arrows, size


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("rankdir", ["TB", "LR"])
def test_svg(name, rankdir):
    net = load_net(f"prototxt/{name}/deploy.prototxt").param
    found, arrows, (width, height) = boxes(draw.svg(net, rankdir))
    assert set(found) == {layer.name for layer in net.layer}
    assert Counter(blob for blob, _, _ in arrows) == Counter(b for layer in net.layer for b in layer.bottom)
    for left, top, right, bottom in found.values():
        assert 0 <= left < right <= width and 0 <= top < bottom <= height
    for (_, a), (_, b) in itertools.combinations(found.items(), 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
    axis = 1 if rankdir == "TB" else 0
    for _, start, end in arrows:
        assert start[axis] < end[axis]
    for start, end, _ in draw.edges(net):    # the consumer's box begins behind the producer's
        a, b = found[net.layer[start].name], found[net.layer[end].name]
        assert a[axis + 2] < b[axis]


def test_arrows_touch_their_boxes():
    net = load_net("prototxt/fcn8s/deploy.prototxt").param
    found, arrows, _ = boxes(draw.svg(net))
    assert len(arrows) == len(draw.edges(net))
    for (start, end, blob), (title, first, last) in zip(draw.edges(net), arrows, strict=True):
        assert title == blob
        left, _, right, bottom = found[net.layer[start].name]
        assert left <= first[0] <= right and first[1] == pytest.approx(bottom, abs=0.2)
        left, top, right, _ = found[net.layer[end].name]
        assert left <= last[0] <= right and last[1] == pytest.approx(top, abs=0.2)


def test_in_place_layers_stand_between():
    net = load_net("prototxt/fcn32s/deploy.prototxt").param
    names = [layer.name for layer in net.layer]
    pairs = {(names[a], names[b]) for a, b, _ in draw.edges(net)}
    assert {("conv1_1", "relu1_1"), ("relu1_1", "conv1_2"), ("data", "score")} <= pairs
    assert ("conv1_1", "conv1_2") not in pairs


def test_what_boxes_say():
    net = load_net("prototxt/fcn8s/train.prototxt").param
    by_name = {layer.name: layer for layer in net.layer}
    assert draw.describe(by_name["conv1_1"]) == ["conv1_1", "Convolution k3 p100 → 64"]
    assert draw.describe(by_name["pool1"]) == ["pool1", "MAX pooling k2 s2"]
    assert draw.describe(by_name["score"])[1] == "Crop offset 31"
    assert draw.describe(by_name["conv1_1"], display_lrm=True)[1].endswith("lr 1 2")


def test_command_writes_svg_and_phases(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text("""layer { name: "a<&" type: "Input" top: "x" }
        layer { name: "b" type: "ReLU" bottom: "x" top: "y" include { phase: TRAIN } }""")
    for phase, names in (("TRAIN", {"a<&", "b"}), ("TEST", {"a<&"})):
        assert cli.main(["draw", str(path), str(tmp_path / "o.svg"), "-phase", phase, "-rankdir", "LR"]) == 0
        assert set(boxes((tmp_path / "o.svg").read_text())[0]) == names


def test_png_without_graphviz_says_what_to_do(tmp_path, monkeypatch):
    net = load_net("prototxt/fcn32s/deploy.prototxt").param
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CaffeError, match="Graphviz.*[\\s\\S]*\\.svg"):
        draw.draw_net_to_file(net, tmp_path / "net.png")
    assert not (tmp_path / "net.png").exists()


def test_png_through_dot(tmp_path, monkeypatch):
    """With a stand-in for `dot` where it is not installed: it gets the graph, and what it writes is the file."""
    net = load_net("prototxt/fcn32s/deploy.prototxt").param
    if shutil.which("dot") is None:
        fake = tmp_path / "dot"
        fake.write_text('#!/bin/sh\ntest "$1" = -Tpng || exit 3\nprintf "\\211PNG"\ncat\n')
        fake.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    draw.draw_net_to_file(net, tmp_path / "net.png")
    assert (tmp_path / "net.png").read_bytes().startswith(b"\x89PNG")


def test_dot_text():
    text = draw.dot(load_net("prototxt/fcn32s/deploy.prototxt").param, "LR")
    assert text.startswith("digraph net {\nrankdir=LR;")
    assert 'label="conv1_1\\nConvolution k3 p100' in text
    assert 'n0 -> n1 [tooltip="data"];' in text


def test_pydot_graph():
    pytest.importorskip("pydot")
    net = load_net("prototxt/fcn8s/deploy.prototxt").param
    for labelled in (True, False):
        graph = draw.get_pydot_graph(net, "LR", label_edges=labelled)
        assert len(graph.get_edges()) == len(draw.edges(net))
        assert Counter(e.get("label") for e in graph.get_edges()) == Counter(
            f'"{blob}"' if labelled else None for _, _, blob in draw.edges(net))
    with pytest.raises(CaffeError, match="rankdir"):
        draw.get_pydot_graph(net, "RL")


def test_errors(tmp_path):
    net = load_net("prototxt/fcn32s/deploy.prototxt").param
    with pytest.raises(CaffeError, match="rankdir"):
        draw.svg(net, "XY")
    with pytest.raises(CaffeError, match="no layers"):
        draw.svg(load_net('name: "empty"\n').param)
    with pytest.raises(CaffeError, match="extension"):
        draw.draw_net_to_file(net, tmp_path / "net")
