"""What several commands' options have in common: switches as gflags takes them, the device, and preprocessing."""

from __future__ import annotations

import argparse
from typing import Any

from ..errors import CaffeError


def switch(parser: argparse.ArgumentParser, name: str, help: str) -> None:
    """A flag without a value that also takes gflags' forms: -x, -x=true, -x=1, -x=false, -x=0, -nox."""
    parser.add_argument(f"--{name}", action="store_true", help=help)
    # as options of their own: an optional value would swallow the argument that follows `-x`
    parser.add_argument(f"--{name}=true", f"--{name}=1", dest=name, action="store_true", help=argparse.SUPPRESS)
    parser.add_argument(f"--{name}=false", f"--{name}=0", f"--no{name}", dest=name, action="store_false",
                        default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def python_layers(parser: argparse.ArgumentParser) -> None:
    """-python_layers, of the commands that build nets; `commands.run` obeys it."""
    parser.add_argument("--python_layers", metavar="none|MODULE,...",
                        help="the modules that Python layers may come from, or none; "
                             "in place of the environment variable CAFFE_PYTHON_LAYERS")


def device(parser: argparse.ArgumentParser) -> None:
    """-gpu and -device_id."""
    switch(parser, "gpu", "compute on the GPU")
    parser.add_argument("--device_id", type=int, default=0, help="which GPU (default 0)")


def choose_device(gpu: bool, device_id: int) -> None:
    """Set mode and device. Raises DeviceError when there is no such GPU."""
    from .. import state

    if gpu:
        state.set_device(device_id)
        state.set_mode_gpu()
    else:
        state.set_mode_cpu()


def preprocessing(parser: argparse.ArgumentParser) -> None:
    """The net and how images are brought into it: the options of pycaffe's classify.py and detect.py."""
    parser.add_argument("--model_def", required=True, help="the deploy prototxt")
    parser.add_argument("--pretrained_model", required=True, help="its .caffemodel")
    parser.add_argument("--mean_file", default="", help="mean to subtract: .npy or .binaryproto (default none)")
    parser.add_argument("--input_scale", type=float, help="factor at the end of preprocessing")
    parser.add_argument("--raw_scale", type=float, default=255.0, help="factor before the mean (default 255)")
    parser.add_argument("--channel_swap", default="2,1,0", help="order of the channels; default 2,1,0 (RGB to BGR), "
                                                                "'' to leave them")
    python_layers(parser)
    device(parser)


def settings(options: argparse.Namespace) -> dict[str, Any]:
    """Choose the device, and return the arguments for Classifier and Detector."""
    from ..classifier import load_mean

    choose_device(options.gpu, options.device_id)
    print("GPU mode" if options.gpu else "CPU mode")
    return {"mean": load_mean(options.mean_file) if options.mean_file else None,
            "input_scale": options.input_scale, "raw_scale": options.raw_scale,
            "channel_swap": numbers(options.channel_swap, "channel_swap") or None}


def numbers(text: str, name: str) -> list[int]:
    """Whole numbers separated by commas. Raises CaffeError naming the option."""
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise CaffeError(f"-{name} takes whole numbers separated by ','", found=repr(text),
                         help=f"-{name} 256,256" if name == "images_dim" else f"-{name} 2,1,0") from None
