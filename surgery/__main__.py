"""Surgery from the command line.

    python -m surgery convolutionalize IN.prototxt IN.caffemodel OUT.prototxt OUT.caffemodel [--drop-softmax]
    python -m surgery transplant NET.prototxt OLD.caffemodel OUT.caffemodel [--suffix S] [--interp LAYER ...]
"""

from __future__ import annotations

import argparse
import sys

from .errors import CaffeError


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m surgery", description="surgery on nets and weights")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("convolutionalize", help="make a classifier fully convolutional")
    command.add_argument("prototxt_in", help="the classifier's deploy prototxt")
    command.add_argument("weights_in", help="its caffemodel")
    command.add_argument("prototxt_out", help="the convolutional net to write")
    command.add_argument("weights_out", help="the caffemodel to write")
    command.add_argument("--drop-softmax", action="store_true", help="leave out the softmax at the end")
    command = commands.add_parser("transplant", help="weights of one net into another, by layer name")
    command.add_argument("net", help="prototxt of the net that gets the weights (a deploy net)")
    command.add_argument("weights", help="caffemodel of the other net")
    command.add_argument("out", help="the caffemodel to write")
    command.add_argument("--suffix", default="", help="ends the names of the layers in the new net")
    command.add_argument("--interp", nargs="+", default=[], metavar="LAYER",
                         help="Deconvolution layers to set to bilinear upsampling")
    options = parser.parse_args(arguments)
    try:
        return _convolutionalize(options) if options.command == "convolutionalize" else _transplant(options)
    except CaffeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _convolutionalize(options: argparse.Namespace) -> int:
    from .convolutionalize import convolutionalize

    print(convolutionalize(options.prototxt_in, options.weights_in, options.prototxt_out, options.weights_out,
                           keep_softmax=not options.drop_softmax))
    return 0


def _transplant(options: argparse.Namespace) -> int:
    import caffe

    from . import check_weights, interp, transplant_weights

    net = caffe.Net(options.net, caffe.TEST)
    report = transplant_weights(net, options.weights, options.suffix)
    interp(net, options.interp)
    for sentence in check_weights(net, report):
        print(sentence)
    net.save(options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
