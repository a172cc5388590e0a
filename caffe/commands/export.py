"""caffe export: a net as ONNX (.onnx), as a torch program (.pt2), or its parameters as .safetensors; checked."""
from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from ..errors import CaffeError
from ._flags import python_layers

if TYPE_CHECKING:
    import numpy as np

_LOAD = {
    ".onnx": 'session = onnxruntime.InferenceSession("{path}")\n'
             "{outputs} = session.run(None, {{{feed}}})",
    ".pt2": 'program = torch.export.load("{path}").module()\n'
            'outputs = program({inputs})   # {{"{first}": tensor, ...}}',
    ".safetensors": 'caffe.Net(prototxt, caffe.TEST, weights="{path}")\n'
                    'safetensors.torch.load_file("{path}")   # for caffe.convert.module.torch_module(net)',
}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", required=True, help="a deploy prototxt")
    parser.add_argument("--weights", required=True, help="its weights")
    parser.add_argument("--to", required=True, help="the file to write: .onnx, .pt2 or .safetensors")
    parser.add_argument("--end", help="the last layer (default: all outputs of the net)")
    parser.add_argument("--input", help="what to check with, and the inputs' shapes: x.npy, or x.npz with an array "
                                        "per input (default: noise in the prototxt's shapes)")
    python_layers(parser)


def run(options: argparse.Namespace) -> int:
    suffix = os.path.splitext(options.to)[1]
    if suffix not in _LOAD:
        raise CaffeError("unknown format", file=options.to, found=suffix or "no suffix", expected=", ".join(_LOAD),
                         help="the suffix of -to says what to write")
    if suffix == ".safetensors" and (options.end or options.input):
        raise CaffeError("a .safetensors file holds parameters alone, all of them", file=options.to,
                         help="leave out -end and -input")
    import caffe

    net = caffe.Net(options.model, caffe.TEST, weights=options.weights)
    if suffix == ".safetensors":
        from ..convert.safetensors_file import save_safetensors

        print(f"{options.to}: {save_safetensors(net, options.to)} numbers, read back bit for bit")
        print("load it with\n" + _LOAD[suffix].format(path=options.to))
        return 0
    inputs = _inputs(options.input, net.inputs) if options.input else None
    if suffix == ".onnx":
        from ..convert.onnx_export import export_onnx as export
    else:
        from ..convert.torch_export import export_torch as export
    done = export(net, options.to, options.end, inputs)
    for what, shapes in (("input", done.inputs), ("output", done.outputs)):
        for name, shape in shapes.items():
            print(f"{what} {name}: {' x '.join(map(str, shape)) or 'one number'}")
    print(f"{options.to}: largest difference {done.difference:.2g} of an output's largest magnitude")
    feed = ", ".join(f'"{name}": {_variable(name)}' for name in done.inputs)
    print("load it with\n" + _LOAD[suffix].format(path=options.to, feed=feed, first=next(iter(done.outputs)),
                                                  inputs=", ".join(map(_variable, done.inputs)),
                                                  outputs=", ".join(map(_variable, done.outputs)) + ","))
    return 0


def _variable(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name)


def _inputs(path: str, names: list[str]) -> dict[str, np.ndarray]:
    """{input: array} of an .npy file (of a net with one input) or .npz file."""
    import numpy as np

    try:
        loaded = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as e:
        raise CaffeError("is no array", file=path, found=str(e), expected=".npy or .npz",
                         help="write it with numpy.save or numpy.savez") from e
    if not isinstance(loaded, np.ndarray):
        return dict(loaded)
    if len(names) != 1:
        raise CaffeError("the net has several inputs", file=path, found=", ".join(names),
                         help="numpy.savez one array per input, by name")
    return {names[0]: loaded}
