"""Pictures of nets: SVG that is written here, DOT text, and PNG (and whatever else) through Graphviz's `dot`.

In the SVG each layer is a box, coloured by its kind, and each blob an arrow; layers stand in rows by the longest way
from the input, so that data flows one way.
"""
from __future__ import annotations

import os
import shutil
import subprocess
from collections import defaultdict
from dataclasses import dataclass, field
from html import escape
from typing import Any

from .errors import CaffeError
from .files import atomic_write
from .proto import proto_fields
from .proto.netfilter import of_phase

_FILLS = (   # the first that fits a type's name; the rest are grey
    (("Input", "Data", "Parameter"), "#fdf0c4"), (("Loss",), "#f6cbc6"), (("Accuracy",), "#f6cbc6"),
    (("onvolution", "InnerProduct", "Embed", "LSTM", "RNN"), "#cfe0f5"), (("Pool", "SPP", "Crop"), "#d6ecd2"),
    (("Concat", "Eltwise", "Slice", "Split"), "#e6d8f0"),
)
_ROW, _GAP, _HEIGHT, _MARGIN = 26, 22, 38, 16
_CHAR = 6.7   # width of a character of the 11 px monospaced labels, in px


@dataclass(eq=False)
class _Node:
    """A layer, or a bend (no `lines`) where an arrow passes a row."""

    lines: list[str]
    fill: str = ""
    row: int = 0
    at: float = 0.0
    width: float = 10.0
    below: list[_Node] = field(default_factory=list)
    above: list[_Node] = field(default_factory=list)


def describe(layer: Any, display_lrm: bool = False) -> list[str]:
    """The lines of a layer's box: its name, and its type with the numbers that matter."""
    words, own = [layer.type], proto_fields.own_param(layer)
    names = {f.name for f in own.DESCRIPTOR.fields} if own is not None else set()
    if "kernel_size" in names:
        if layer.type == "Pooling":
            words[0] = own.DESCRIPTOR.fields_by_name["pool"].enum_type.values_by_number[own.pool].name + " pooling"
        if getattr(own, "global_pooling", False):
            words.append("global")
        else:
            words += [f"{stem[0]}{_pair(own, stem)}" for stem, default in
                      (("kernel", ""), ("stride", "1"), ("pad", "0")) if _pair(own, stem) not in ("", default)]
    if "num_output" in names:
        words.append(f"→ {own.num_output}")
    if layer.type == "Crop":
        words.append("offset " + " ".join(map(str, own.offset or [0])))
    if display_lrm and layer.param:
        words.append("lr " + " ".join(f"{p.lr_mult:g}" for p in layer.param))
    return [layer.name, " ".join(words)]


def _pair(own: Any, stem: str) -> str:
    """A window's size as text: 3, or 3x5."""
    if own.HasField(f"{stem}_h") or own.HasField(f"{stem}_w"):
        return f"{getattr(own, stem + '_h')}x{getattr(own, stem + '_w')}"
    value = getattr(own, "kernel_size" if stem == "kernel" else stem)
    values = list(value) if hasattr(value, "extend") else [value]
    return "x".join(map(str, values if len(set(values)) > 1 else values[:1]))


def edges(net: Any) -> list[tuple[int, int, str]]:
    """(producer, consumer, blob) for each bottom: indices of layers. An in-place layer becomes the blob's producer."""
    made: dict[str, int] = {}
    out = []
    for i, layer in enumerate(net.layer):
        out += [(made[b], i, b) for b in layer.bottom if b in made]
        made.update(dict.fromkeys(layer.top, i))
    return out


# ---------------------------------------------------------------------- SVG
def svg(net: Any, rankdir: str = "TB", phase: str | None = None, display_lrm: bool = False) -> str:
    """The picture of a NetParameter as SVG. `rankdir`: TB (downwards) or LR (to the right); `phase`: TRAIN, TEST, or
    None for all layers. Raises CaffeError for another rankdir, or a net without layers."""
    net = _checked(net, rankdir, phase)
    across = rankdir == "LR"
    nodes = [_node(layer, display_lrm) for layer in net.layer]
    ways, rows = _arrange(nodes, edges(net), across)
    # along the flow each row starts where the one before ends: rows of text are equally high, columns differ
    starts, position = {}, float(_MARGIN)
    for row in sorted(rows):
        starts[row] = position
        position += (max(n.width for n in rows[row]) if across else _HEIGHT) + _ROW
    length = position - _ROW + _MARGIN
    depth = {row: (max(n.width for n in rows[row]) if across else _HEIGHT) for row in rows}
    half = [(n.at - _across(n, across) / 2, n.at + _across(n, across) / 2) for row in rows.values() for n in row]
    low = min(a for a, _ in half) - _MARGIN
    breadth = max(b for _, b in half) + _MARGIN - low

    def point(node: _Node, end: int) -> tuple[float, float]:
        """Where arrows leave (1) or meet (0) a node."""
        along = starts[node.row] + (depth[node.row] if end else 0)
        if across and node.lines:
            along = starts[node.row] + depth[node.row] / 2 + (node.width / 2 if end else -node.width / 2)
        return (along, node.at - low) if across else (node.at - low, along)

    parts = []
    for way, blob in ways:
        parts.append(f'<path d="{_curve(way, point, across)}" marker-end="url(#tip)">'
                     f"<title>{escape(blob)}</title></path>")
    for node in nodes:
        x, y = point(node, 0)
        left, top = (x, y - _HEIGHT / 2) if across else (x - node.width / 2, y)
        middle = left + node.width / 2
        parts.append(
            f'<g><rect x="{left:.1f}" y="{top:.1f}" width="{node.width:.1f}" height="{_HEIGHT}" rx="5" '
            f'fill="{node.fill}"/><text x="{middle:.1f}" y="{top + 16:.1f}" class="name">{escape(node.lines[0])}</text>'
            f'<text x="{middle:.1f}" y="{top + 30:.1f}">{escape(node.lines[1])}</text></g>')
    width, height = (length, breadth) if across else (breadth, length)
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}">',
        f"<title>{escape(net.name or 'net')}</title>",
        "<style>text{font:11px monospace;text-anchor:middle;fill:#222}.name{font-weight:bold}"
        "rect{stroke:#667;stroke-width:1}path{fill:none;stroke:#667;stroke-width:1.2}marker path{fill:#667}</style>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8z"/></marker></defs>',
        '<rect width="100%" height="100%" fill="white" style="stroke:none"/>', *parts, "</svg>", ""])


def _node(layer: Any, display_lrm: bool) -> _Node:
    lines = describe(layer, display_lrm)
    fill = next((color for keys, color in _FILLS if any(key in layer.type for key in keys)), "#eeeeee")
    return _Node(lines, fill, width=max(70.0, max(map(len, lines)) * _CHAR + 16))


def _across(node: _Node, across: bool) -> float:
    """How much room a node takes in its row."""
    return (_HEIGHT if across else node.width) if node.lines else 8.0


def _arrange(nodes: list[_Node], links: list[tuple[int, int, str]], across: bool
             ) -> tuple[list[tuple[list[_Node], str]], dict[int, list[_Node]]]:
    """Give each node its row and its place in it; returns each arrow as the nodes and bends it passes, and its blob,
    and the rows."""
    for start, end, _ in links:   # layers are listed in the order of the flow
        nodes[end].row = max(nodes[end].row, nodes[start].row + 1)
    ways = []
    for start, end, blob in links:
        bends = [_Node([], row=row) for row in range(nodes[start].row + 1, nodes[end].row)]
        way = [nodes[start], *bends, nodes[end]]
        for a, b in zip(way, way[1:], strict=False):
            a.below.append(b)
            b.above.append(a)
        ways.append((way, blob))
    rows: dict[int, list[_Node]] = defaultdict(list)
    for node in nodes:
        rows[node.row].append(node)
    for way, _ in ways:
        for node in way[1:-1]:
            rows[node.row].append(node)
    for row in rows.values():
        _spread(row, across)
    order = sorted(rows)
    for sweep in range(24):   # each node to the mean of its neighbours, from above and from below in turn
        for r in order if sweep % 2 == 0 else reversed(order):
            for node in rows[r]:
                near = node.above if sweep % 2 == 0 else node.below
                if near:
                    node.at = sum(n.at for n in near) / len(near)
            rows[r].sort(key=lambda n: n.at)
            _spread(rows[r], across)
    return ways, rows


def _spread(row: list[_Node], across: bool) -> None:
    """Move the nodes of a row apart as far as needed, and their mean back to where it was."""
    wanted = sum(n.at for n in row) / len(row)
    for a, b in zip(row, row[1:], strict=False):
        b.at = max(b.at, a.at + (_across(a, across) + _across(b, across)) / 2 + _GAP)
    drift = sum(n.at for n in row) / len(row) - wanted
    for node in row:
        node.at -= drift


def _curve(way: list[_Node], point: Any, across: bool) -> str:
    """A path through the bends of an arrow."""
    x, y = point(way[0], 1)
    out = f"M{x:.1f} {y:.1f}"
    for node in way[1:]:
        u, v = point(node, 0)
        if across:
            out += f"C{(x + u) / 2:.1f} {y:.1f} {(x + u) / 2:.1f} {v:.1f} {u:.1f} {v:.1f}"
        else:
            out += f"C{x:.1f} {(y + v) / 2:.1f} {u:.1f} {(y + v) / 2:.1f} {u:.1f} {v:.1f}"
        x, y = u, v
        if not node.lines:
            x, y = point(node, 1)
            out += f"L{x:.1f} {y:.1f}"
    return out


# ---------------------------------------------------------------------- Graphviz
def dot(net: Any, rankdir: str = "TB", phase: str | None = None, display_lrm: bool = False) -> str:
    """The net as text for Graphviz."""
    net = _checked(net, rankdir, phase)
    lines = ["digraph net {", f"rankdir={rankdir};", 'node [shape=box style="rounded,filled" fontname=monospace];']
    for i, layer in enumerate(net.layer):
        node = _node(layer, display_lrm)
        label = "\\n".join(_quoted(line) for line in node.lines)
        lines.append(f'n{i} [label="{label}" fillcolor="{node.fill}"];')
    lines += [f'n{a} -> n{b} [tooltip="{_quoted(blob)}"];' for a, b, blob in edges(net)]
    return "\n".join([*lines, "}", ""])


def get_pydot_graph(caffe_net: Any, rankdir: str, label_edges: bool = True, phase: int | str | None = None,
                    display_lrm: bool = False) -> Any:
    """The net as a graph of pydot, which must be installed (pycaffe's name). `label_edges`: write the blobs' names on
    the edges. Raises CaffeError."""
    try:
        import pydot
    except ImportError as problem:
        raise CaffeError("get_pydot_graph needs pydot", help="pip install pydot, or use draw_net_to_file, which writes "
                                                             ".svg without it") from problem
    net = _checked(caffe_net, rankdir, _phase_name(phase))
    graph = pydot.Dot("net", graph_type="digraph", rankdir=rankdir)
    for i, layer in enumerate(net.layer):
        node = _node(layer, display_lrm)
        label = "\\n".join(_quoted(line) for line in node.lines)
        graph.add_node(pydot.Node(f"n{i}", label=f'"{label}"', shape="box", style='"rounded,filled"',
                                  fillcolor=f'"{node.fill}"'))
    for a, b, blob in edges(net):
        label_of: dict[str, Any] = {"label": f'"{_quoted(blob)}"'} if label_edges else {}
        graph.add_edge(pydot.Edge(f"n{a}", f"n{b}", **label_of))
    return graph


def _phase_name(phase: int | str | None) -> str | None:
    return {0: "TRAIN", 1: "TEST", None: None}.get(phase, phase)   # type: ignore[arg-type]


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")


def draw_net(caffe_net: Any, rankdir: str = "LR", ext: str = "png", phase: int | str | None = None,
             display_lrm: bool = False) -> bytes:
    """A picture of a NetParameter in the format `ext` (pycaffe's name). svg needs nothing, all others Graphviz's
    `dot`. `phase` is caffe.TRAIN, caffe.TEST, or None for all layers. Raises CaffeError."""
    name = _phase_name(phase)
    if ext == "svg":
        return svg(caffe_net, rankdir, name, display_lrm).encode()
    source = dot(caffe_net, rankdir, name, display_lrm)
    program = shutil.which("dot")
    if program is None:
        raise CaffeError(f"a picture as .{ext} needs Graphviz", found="no program `dot` on the PATH",
                         help="name the file .svg, which needs nothing, or install Graphviz (apt install graphviz)")
    done = subprocess.run([program, f"-T{ext}"], input=source.encode(), capture_output=True)
    if done.returncode:
        raise CaffeError(f"Graphviz cannot draw .{ext}: {done.stderr.decode(errors='replace').strip()}",
                         help="use .svg or .png")
    return done.stdout


def draw_net_to_file(caffe_net: Any, filename: str | os.PathLike[str], rankdir: str = "LR",
                     phase: int | str | None = None, display_lrm: bool = False) -> None:
    """Write a picture of a NetParameter; its format is the file's extension. Raises CaffeError."""
    ext = os.path.splitext(filename)[1].lstrip(".").lower()
    if not ext:
        raise CaffeError("the picture's name has no extension", found=os.fspath(filename), help="name it .svg or .png")
    atomic_write(filename, draw_net(caffe_net, rankdir, ext, phase, display_lrm))


def _checked(net: Any, rankdir: str, phase: str | None) -> Any:
    if rankdir not in ("TB", "LR"):
        raise CaffeError("unknown rankdir", found=rankdir, expected="TB (downwards) or LR (to the right)",
                         help="use one of these")
    kept = of_phase(net, phase)[0] if phase is not None else net
    if not kept.layer:
        raise CaffeError("the net has no layers to draw", found=f"phase {phase}" if phase else None,
                         help="is it a solver, or are all layers of another phase?")
    return kept
