"""`caffe time`: how long each layer takes, forward and backward."""
from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field
from typing import Any

import torch

from .. import state
from ..errors import CaffeError
from ..files import atomic_write
from ..glog import logger as log
from ..net import Net


def now() -> float:
    """Seconds on a clock, after the device has done what it was given."""
    if state.mode() == "GPU":
        torch.cuda.synchronize(state.device())
    return time.perf_counter()


class Timer:
    """A stopwatch for programs: `start()`, `stop()`, then `ms`, the milliseconds between them.

    Reading `ms` stops a running one; it is 0 before the first start. A GPU's work counts until it is done.
    """

    def __init__(self) -> None:
        self._started: float | None = None
        self._ms = 0.0

    def start(self) -> None:
        """Begin to measure, unless that was done already."""
        if self._started is None:
            self._started = now()

    def stop(self) -> None:
        if self._started is not None:
            self._ms, self._started = 1000 * (now() - self._started), None

    @property
    def ms(self) -> float:
        self.stop()
        return self._ms


@dataclass
class Times:
    """Mean milliseconds of one iteration: per layer (in the net's order) and of whole passes."""

    layers: list[str]
    types: list[str]
    forward: list[float] = field(default_factory=list)
    backward: list[float] = field(default_factory=list)
    total_forward: float = 0.0
    total_backward: float = 0.0
    forward_backward: float = 0.0
    total: float = 0.0   # of all iterations
    iterations: int = 0


def measure(net: Net, iterations: int) -> Times:
    """Run the net forward and backward, once to warm up and `iterations` times measured."""
    log.info("Performing Forward")
    log.info("Initial loss: %g", net.forward_loss())
    log.info("Performing Backward")
    last = len(net.layers) - 1
    net.backward_loss()
    log.info("*** Benchmark begins ***")
    log.info("Testing for %d iterations.", iterations)
    sums = {"forward": [0.0] * (last + 1), "backward": [0.0] * (last + 1)}
    started = 0.0

    def start(i: int) -> None:
        nonlocal started
        started = now()

    def stop(way: str) -> Any:
        def add(i: int) -> None:
            sums[way][i] += now() - started
        return add

    net.before_forward(start)
    net.after_forward(stop("forward"))
    net.before_backward(start)
    net.after_backward(stop("backward"))
    forward = backward = 0.0
    begin = now()
    for i in range(iterations):
        t0 = now()
        net.forward_loss()
        t1 = now()
        net.backward_loss()
        t2 = now()
        forward, backward = forward + t1 - t0, backward + t2 - t1
        log.info("Iteration: %d forward-backward time: %g ms.", i + 1, 1000 * (t2 - t0))
    total = now() - begin
    per = 1000 / iterations
    return Times(list(net._layer_names), [layer.type for layer in net.layers],
                 [s * per for s in sums["forward"]], [s * per for s in sums["backward"]],
                 forward * per, backward * per, total * per, total * 1000, iterations)


def report(times: Times) -> None:
    """Log the times in the words of Caffe's `time`."""
    log.info("Average time per layer: ")
    for name, forward, backward in zip(times.layers, times.forward, times.backward, strict=True):
        log.info("%10s\tforward: %g ms.", name, forward)
        log.info("%10s\tbackward: %g ms.", name, backward)
    log.info("Average Forward pass: %g ms.", times.total_forward)
    log.info("Average Backward pass: %g ms.", times.total_backward)
    log.info("Average Forward-Backward: %g ms.", times.forward_backward)
    log.info("Total Time: %g ms.", times.total)
    log.info("*** Benchmark ends ***")


def write_json(times: Times, net: Net, path: str | os.PathLike[str]) -> None:
    """Write the times (milliseconds) with what they were measured on. Raises CaffeError."""
    device = torch.cuda.get_device_name(state.device()) if state.mode() == "GPU" else "CPU"
    content = {
        "model": net.file, "device": device, "threads": torch.get_num_threads(), "torch": torch.__version__,
        "iterations": times.iterations, "unit": "ms", "forward": times.total_forward,
        "backward": times.total_backward, "forward_backward": times.forward_backward,
        "layers": [{"name": n, "type": t, "forward": f, "backward": b} for n, t, f, b in zip(
            times.layers, times.types, times.forward, times.backward, strict=True)]}
    atomic_write(path, json.dumps(content, indent=1) + "\n", error=CaffeError)
