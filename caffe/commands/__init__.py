"""The subcommands of `caffe` beside train, test, time and device_query: one module each.

A module `caffe/commands/NAME.py` (hyphens as underscores) has `arguments(parser)`, which adds its options to an
`argparse.ArgumentParser`, and `run(options) -> int`, which does the work and returns the exit status;
`options.command` is the command's name. Options are written with one dash or two (`-model x`, `--model x`,
`--model=x`), as everywhere in Caffe. Names are listed here, so that `caffe -help` imports none of them.
"""
from __future__ import annotations

import argparse
import importlib
import os
from collections.abc import Sequence
from typing import NoReturn

COMMANDS: dict[str, str] = {
    "upgrade_net_proto_text": "bring a net prototxt of an older format to today's",
    "upgrade_net_proto_binary": "bring a caffemodel of an older format to today's",
    "upgrade_solver_proto_text": "bring a solver prototxt of an older format to today's",
    "convert_imageset": "write a list of images to an LMDB",
    "compute_image_mean": "the mean image of a database",
    "extract_features": "write blobs of a net to LMDB, .npz or HDF5",
    "classify": "class probabilities of images",
    "detect": "scores for windows of images",
    "parse_log": "a training log as CSV tables",
    "plot_log": "the curves of training logs",
    "summary": "shapes, parameters, multiplications, memory, receptive field of a net's layers",
    "explain-crop": "where the offset of each Crop layer comes from",
    "lint": "what is odd in a net or solver prototxt",
    "draw": "a picture of a net",
    "export": "a net as ONNX, safetensors or a torch program, checked before it is written",
    "import": "a prototxt and caffemodel from torchvision's weights or from ONNX",
}


class _Parser(argparse.ArgumentParser):
    """argparse that takes one dash for two and raises our errors instead of ending the process."""

    def error(self, message: str) -> NoReturn:
        from ..errors import CaffeError

        raise CaffeError(f"{self.prog}: {message}", help=f"{self.prog} -help shows the options")


def run(name: str, arguments: Sequence[str]) -> int:
    """Run a command of COMMANDS; returns its exit status. Raises CaffeError."""
    file = "upgrade" if name.startswith("upgrade_") else "import_" if name == "import" else name.replace("-", "_")
    module = importlib.import_module(f".{file}", __name__)
    parser = _Parser(prog=f"caffe {name}", description=COMMANDS[name], allow_abbrev=False)
    parser.set_defaults(command=name)
    module.arguments(parser)
    long = {option for action in parser._actions for option in action.option_strings if option.startswith("--")}
    words = ["-" + word if word.startswith("-") and not word.startswith("--")
             and "-" + word.split("=")[0] in long else word for word in arguments]
    options = parser.parse_args(words)
    if getattr(options, "python_layers", None) is not None:
        os.environ["CAFFE_PYTHON_LAYERS"] = options.python_layers
    status: int = module.run(options)
    return status
