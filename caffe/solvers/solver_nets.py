"""The nets of a solver, in Caffe's order: which prototxt, in which phase, level and stages."""
from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ..errors import ParseError, SolverError
from ..glog import logger
from ..glog import solver_logger as log
from ..net import Net
from ..proto import caffe_pb2, forks, text
from . import lr_policy

_TRAIN_FIELDS = ("net", "net_param", "train_net", "train_net_param")


def check_param(p: Any, file: str | None) -> None:
    """Refuse a SolverParameter with values that make no sense. Raises SolverError."""
    for name in ("average_loss", "iter_size"):
        if getattr(p, name) < 1:
            raise SolverError(f"{name} must be at least 1", file=file, found=getattr(p, name),
                              help="1 is the default")
    for name in ("display", "snapshot", "test_interval", "max_iter"):
        if getattr(p, name) < 0:
            raise SolverError(f"{name} must not be negative", file=file, found=getattr(p, name),
                              help="0 turns it off" if name != "max_iter" else "set a number of iterations")
    if any(n < 0 for n in p.test_iter):
        raise SolverError("test_iter must not be negative", file=file, found=list(p.test_iter),
                          help="give the number of batches of a test")
    if p.regularization_type not in ("L1", "L2"):
        raise SolverError("unknown regularization_type", file=file, found=p.regularization_type,
                          expected="L1 or L2", help="L2 is the default")
    lr_policy.check(p, file)
    forks.check(p, file or "", error=SolverError)
    if p.HasField("layer_wise_reduce"):
        logger.info("layer_wise_reduce has no effect: several processes sum their gradients after the backward pass")


def train_net(p: Any, file: str | None) -> Net:
    """The one training net. Raises SolverError when there is none or more than one."""
    given = [f for f in _TRAIN_FIELDS if p.HasField(f)]
    if len(given) != 1:
        raise SolverError("a solver needs one training net", file=file,
                          found=" and ".join(given) or "none", expected=f"one of {', '.join(_TRAIN_FIELDS)}",
                          help="net: \"train_val.prototxt\" serves training and testing")
    return _make(p, file, given[0], getattr(p, given[0]), caffe_pb2.TRAIN, p.train_state)


def test_nets(p: Any, file: str | None) -> list[Net]:
    """Every test_net_param, every test_net, then `net` or `net_param` for the test_iters that are left."""
    sources = [("test_net_param", value) for value in p.test_net_param]
    sources += [("test_net", value) for value in p.test_net]
    generic = [f for f in ("net", "net_param") if p.HasField(f)]
    left = len(p.test_iter) - len(sources)
    if left < 0 or (left > 0 and not generic):
        raise SolverError("test_iter must be given once per test net", file=file,
                          found=f"{len(p.test_iter)} test_iter for {len(sources)} test nets",
                          help="add or remove a test_iter")
    if generic:
        sources += [(generic[0], getattr(p, generic[0]))] * left
    if p.test_state and len(p.test_state) != len(sources):
        raise SolverError("test_state must be given once per test net, or not at all", file=file,
                          found=len(p.test_state), expected=len(sources), help="add or remove a test_state")
    if sources and p.test_interval <= 0:
        raise SolverError("there are test nets but no test_interval", file=file,
                          help="set test_interval to the iterations between two tests, or remove test_iter")
    nets = []
    for i, (field, value) in enumerate(sources):
        net = _make(p, file, field, value, caffe_pb2.TEST, p.test_state[i] if p.test_state else None)
        forward_only(net)
        nets.append(net)
    return nets


def forward_only(net: Net) -> None:
    """Spare a net that only runs forward what backward would need remembered."""
    for layer in net.layers:
        layer.records_graph = False


def let_go(net: Net) -> None:
    """Free what a test net computed, outputs excepted, until its next pass; what came from no bottom stays."""
    kept = [b for i in range(len(net.layers)) if not net._bottom_ids(i) for b in net._top_ids(i)] + net._outputs
    memory = {id(net._blobs[b]._data) for b in kept}   # a Split or Reshape has its bottom's
    for blob in net._blobs:
        if id(blob._data) not in memory:
            blob.release()


def load_weights(net: Net, names: str) -> None:
    """Copy parameters from a comma-separated list of files, in order."""
    for path in filter(None, (part.strip() for part in names.split(","))):
        log.info("Finetuning from %s", path)
        net.copy_from(path)


def _make(p: Any, solver_file: str | None, field: str, value: Any, phase: int, override: Any) -> Net:
    """The net of a field. Its state: the phase, then what the net itself says, then what the solver says."""
    name = caffe_pb2.Phase.Name(phase)
    if isinstance(value, str):
        logger.info("Creating %s net from %s file: %s", name, field, value)
        parsed = text.load_net(_find(value, solver_file))
        param, file, lines = parsed.param, parsed.file or "", parsed.lines
    else:
        logger.info("Creating %s net specified in %s", name, field)
        param, file, lines = caffe_pb2.NetParameter(), solver_file or "", []
        param.CopyFrom(value)
    net_state = caffe_pb2.NetState(phase=phase)
    net_state.MergeFrom(param.state)
    if override is not None:
        net_state.MergeFrom(override)
    param.state.CopyFrom(net_state)
    net = Net.from_param(param, file=file, lines=lines)
    for names in p.weights:
        load_weights(net, names)
    return net


def _find(path: str, solver_file: str | None) -> str:
    if not os.path.exists(path) and solver_file and not os.path.isabs(path):
        for folder in Path(solver_file).resolve().parents:
            if os.path.exists(folder / path):   # False for what no path can be
                raise ParseError(
                    "the net is not there from this working folder", file=solver_file, found=path,
                    help=f"paths in a solver start at the working folder, as in Caffe: cd {folder}")
    return path
