"""`caffe import FILE -to DIR/NAME`: torchvision's weights or an ONNX graph as NAME.prototxt and NAME.caffemodel."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import CaffeError
from ._flags import numbers, switch


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", help="a state dict of torchvision's vgg16, alexnet or googlenet as .pth, .pt or "
                                       ".safetensors, or a graph as .onnx")
    parser.add_argument("--to", required=True, metavar="DIR/NAME", help="writes NAME.prototxt and NAME.caffemodel")
    parser.add_argument("--input_shape", default="", help="N,C,H,W where the file leaves it open; default 1,3,224,224 "
                                                          "for torchvision")
    switch(parser, "bgr", "torchvision: take BGR in 0..255 minus the mean, as Caffe's nets do, not RGB in 0..1")


def run(options: argparse.Namespace) -> int:
    from .. import state

    shape = numbers(options.input_shape, "input_shape") or None
    kind = Path(options.source).suffix.lower()
    state.set_mode_cpu()
    if kind == ".onnx":
        if options.bgr:
            raise CaffeError("-bgr is for torchvision's weights, whose preprocessing is known", file=options.source,
                             help="leave out -bgr")
        from ..convert.onnx_import import import_onnx
        result = import_onnx(options.source, shape)
    elif kind in (".pth", ".pt", ".safetensors"):
        from ..convert.torchvision_import import import_torchvision
        result = import_torchvision(options.source, options.bgr, shape)
    else:
        raise CaffeError("cannot tell what this file is", file=options.source, found=kind or "no ending",
                         expected=".pth, .pt, .safetensors or .onnx", help="name it by what it holds")
    written = result.write(options.to)
    net = result.net
    parameters = sum(blob.count for layer in net.layers for blob in layer.blobs)
    print(f"{result.definition.name or 'net'}: {len(result.definition.layer)} layers, {parameters:,} parameters")
    for name in net.inputs:
        print(f"input {name}: {' x '.join(map(str, net.blobs[name].shape))}")
    for name, difference in result.differences.items():
        print(f"output {name}: {' x '.join(map(str, net.blobs[name].shape))}, differs from the source's by "
              f"{difference:.2g} of its largest magnitude")
    for note in result.notes:
        print(note)
    print("wrote " + " and ".join(written))
    return 0
