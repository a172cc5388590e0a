"""Snapshots: Caffe's .caffemodel and .solverstate, and a JSON file with what Caffe's format leaves out.

A snapshot of iteration N is `<prefix>_iter_N.caffemodel`, `<prefix>_iter_N.solverstate` and
`<prefix>_iter_N.solverstate.json` (with snapshot_format HDF5: `.caffemodel.h5`, `.solverstate.h5` and
`.solverstate.h5.json`). The JSON holds the solver's type, the engine's random generators, the loss window of
`average_loss`, and what layers with `get_state` return; without it a resumed run does what plain Caffe does.
Of several processes it holds all this for each: the root's, and under "ranks" that of the others.
Python's and NumPy's own global generators are not part of it: a Python layer that draws from them returns
their state in its `get_state`.
"""
from __future__ import annotations

import base64
import json
import os
import re
import shutil
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .. import state, weights
from ..data import hdf5_reader
from ..errors import CaffeError, SnapshotError, WeightsError
from ..files import atomic_path
from ..glog import solver_logger as log
from ..proto import blobs as proto_blobs
from ..proto import caffe_pb2, wire

if TYPE_CHECKING:
    from ..net import Net
    from .solver import Solver

SIDECAR_VERSION = 1


@dataclass
class SavedState:
    """What a .solverstate holds: `learned_net` is the path of the weights as it was written, if any."""

    iteration: int
    current_step: int
    learned_net: str | None
    history: list[np.ndarray]


def probe(prefix: str) -> None:
    """Make sure that files can be written at `prefix`. Raises SnapshotError, before any work is lost."""
    folder = Path(prefix).parent
    try:
        handle, name = tempfile.mkstemp(prefix=f".{Path(prefix).name}.", suffix=".tmp", dir=folder)
        os.close(handle)
        os.unlink(name)
    except (OSError, ValueError) as problem:
        help = (f"mkdir -p {folder}" if not os.path.exists(folder) else f"check the permissions of {folder}")
        raise SnapshotError(f"cannot write snapshots: {getattr(problem, 'strerror', None) or problem}", file=folder,
                            found=f"snapshot_prefix \"{prefix}\"",
                            help=f"{help}, or set another snapshot_prefix") from problem


def require_room(solver: Solver) -> None:
    """Make sure that one snapshot fits on the disk. Raises SnapshotError, before any work is lost."""
    weights = sum(blob.count for layer in solver.net.layers for blob in layer.blobs)
    need = 4 * (weights * (2 if solver.param.snapshot_diff else 1) + sum(blob.count for blob in solver.history))
    folder = Path(solver.param.snapshot_prefix).parent
    if (free := shutil.disk_usage(folder).free) < need:
        raise SnapshotError("there is no room for a snapshot", file=folder, found=f"{free / 2**20:.1f} MiB free",
                            expected=f"at least {need / 2**20:.1f} MiB for weights and solver state",
                            help="free some space, or set snapshot_prefix to another disk")


def require_hdf5() -> Any:
    """The module h5py; SnapshotError where it is missing."""
    try:
        import h5py
    except ImportError as problem:
        raise SnapshotError("snapshot_format HDF5 needs the package h5py",
                            help="pip install h5py, or set snapshot_format: BINARYPROTO") from problem
    return h5py


def newest(prefix: str) -> Path | None:
    """The solver state with the highest iteration among the snapshots at `prefix`; None if there is none."""
    folder, stem = Path(prefix).parent, Path(prefix).name
    pattern = re.compile(re.escape(stem) + r"_iter_(\d+)\.solverstate(\.h5)?")
    found = [(int(m[1]), path) for path in folder.glob("*") if (m := pattern.fullmatch(path.name))]
    return max(found)[1] if found else None


# ------------------------------------------------------------------ writing
def write(solver: Solver, running: str | None = None) -> str:
    """Write the snapshot of this iteration and return the path of its solver state.

    `running` goes into its JSON file, by default the `running_state` of now.

    All its files are complete on the disk before the first gets its name, the solver state gets it last.
    Raises SnapshotError (nothing is written then) when the disk refuses, SolverError when a parameter is NaN.
    """
    hdf5 = solver.param.snapshot_format == caffe_pb2.SolverParameter.HDF5
    base = f"{solver.param.snapshot_prefix}_iter_{solver.iter}"
    model = base + (".caffemodel.h5" if hdf5 else ".caffemodel")
    target = base + (".solverstate.h5" if hdf5 else ".solverstate")
    solver.require_finite_parameters()
    kind = "HDF5" if hdf5 else "binary proto"
    log.info("Snapshotting to %s file %s", kind, model)
    log.info("Snapshotting solver state to %s file %s", kind, target)
    saved = SavedState(solver.iter, solver.current_step, model, _history_arrays(solver))
    with ExitStack() as stack:   # left in reverse order: the model takes its name first, the state last
        paths = [stack.enter_context(atomic_path(name, error=SnapshotError))
                 for name in (target, target + ".json", model)]
        state_path, sidecar_path, model_path = paths
        if hdf5:
            _write_hdf5(saved, state_path)
        else:
            proto_blobs.write_pieces(_pieces(saved), state_path, error=SnapshotError)
        try:
            (weights.save_hdf5 if hdf5 else weights.save)(solver.net, model_path, solver.param.snapshot_diff)
        except WeightsError as problem:
            raise SnapshotError(problem.message, file=model, found=problem.found, help=problem.help) from problem
        sidecar_path.write_text(running or running_state(solver), encoding="utf-8")
        for path in paths:   # so that only renames are left to do
            with open(path, "rb+") as file:
                os.fsync(file.fileno())
    return target


def _history_arrays(solver: Solver) -> list[np.ndarray]:
    # a history that was never written is not allocated for this either
    return [np.zeros(blob.shape, np.float32) if solver.untouched(blob) else blob.tensor().cpu().numpy()
            for blob in solver.history]


def _pieces(saved: SavedState) -> list[wire.Piece]:
    head = proto_blobs.SolverState(iter=saved.iteration, learned_net=saved.learned_net,
                                   current_step=saved.current_step)
    return [head.SerializeToString(),
            *(piece for array in saved.history for piece in wire.field(3, wire.blob(array)))]


def _write_hdf5(saved: SavedState, path: Path) -> None:
    with require_hdf5().File(path, "w") as f:
        f["iter"] = np.array([saved.iteration], np.int32)
        f["learned_net"] = np.bytes_(saved.learned_net or "")
        f["current_step"] = np.array([saved.current_step], np.int32)
        group = f.create_group("history")
        for i, array in enumerate(saved.history):
            group[str(i)] = array


def running_state(solver: Solver) -> str:
    """What the JSON file of a snapshot would hold now. Raises SnapshotError for a layer's odd `get_state`."""
    content = {
        "version": SIDECAR_VERSION, "solver_type": solver.type, "iter": solver.iter,
        "random": {k: base64.b64encode(v).decode() for k, v in state.random_states().items()},
        "losses": solver.recent_losses, "train": _layer_states(solver.net),
        "test": [_layer_states(net) for net in solver.test_nets]}
    return json.dumps(content, indent=1)


def state_of_all(solver: Solver) -> str:
    """`running_state`, on the root with that of every other process in "ranks"; each must call this."""
    texts = [running_state(solver)]
    if solver.parallel:
        texts = solver.parallel.gather(texts[0])
    own, *others = map(json.loads, texts)
    return json.dumps({**own, "ranks": others} if others else own, indent=1)


def _layer_states(net: Net) -> dict[str, Any]:
    states = {}
    for layer in net.layers:
        if hasattr(layer, "get_state") and hasattr(layer, "set_state"):
            value = layer.get_state()
            try:
                json.dumps(value)
            except (TypeError, ValueError) as problem:
                raise SnapshotError(
                    f"get_state returned what JSON cannot hold: {problem}", layer=layer.name,
                    help="return plain numbers, strings, lists and dicts: array.tolist()") from problem
            states[layer.layer_param.name] = value
    return states


# ------------------------------------------------------------------ reading
def restore(solver: Solver, path: str | os.PathLike[str]) -> None:
    """Put a solver, its nets and the random generators back to a snapshot.

    `path` is the .solverstate; the weights are loaded from the path in it (as written, else beside the
    state). Raises SnapshotError when a file is missing, damaged, no solver state, or of another solver or
    net; the solver is left as it was then. Raises WeightsError when the weights do not fit the net.
    """
    path = os.fspath(path)
    saved = read(path, solver.param.snapshot_prefix)
    extra = _read_sidecar(path, saved.iteration)
    _check_owner(solver, saved, extra, path)
    if saved.learned_net:
        solver.net.copy_from(_find_weights(saved.learned_net, path))
    for blob, array in zip(solver.history, saved.history, strict=True):
        if array.any():
            blob.put(torch.from_numpy(np.array(array, np.float32).reshape(blob.shape)))
        elif not solver.untouched(blob):
            blob.tensor(write=True).zero_()
    solver.iter, solver.current_step = saved.iteration, saved.current_step
    if extra is not None:
        solver.recent_losses = extra.get("losses", [])
        _restore_layers(solver.net, extra.get("train", {}), path)
        for net, states in zip(solver.test_nets, extra.get("test", []), strict=False):
            _restore_layers(net, states, path)
        state.restore_random_states(extra.get("random", {}))


def read(path: str, prefix: str = "") -> SavedState:
    """Read a .solverstate or .solverstate.h5. Raises SnapshotError that names the newest at `prefix`."""
    if not os.path.exists(path):
        other = newest(prefix) if prefix else None
        raise SnapshotError("there is no such snapshot", file=path,
                            help=f"the newest at snapshot_prefix is {other}" if other else "check the path")
    try:
        return _read_hdf5(path) if weights.is_hdf5(path) else _read_proto(path)
    except WeightsError as problem:
        raise SnapshotError(problem.message, file=problem.file or path, found=problem.found,
                            expected=problem.expected, help=problem.help) from problem


def _read_proto(path: str) -> SavedState:
    message = proto_blobs.read_solver_state(path)
    history = []
    for i, blob in enumerate(message.history):
        try:
            history.append(proto_blobs.blob_array(blob))
        except WeightsError as problem:
            raise SnapshotError(
                f"history {i} is damaged: {problem.message}", file=path, found=problem.found,
                expected=problem.expected, help="resume from an earlier snapshot") from problem
    if isinstance(message.learned_net, bytes):   # what protobuf makes of text that is not UTF-8
        raise SnapshotError("is damaged: the name of its weights is not text", file=path,
                            found=repr(message.learned_net[:80]), help="resume from an earlier snapshot")
    return SavedState(message.iter, message.current_step, message.learned_net or None, history)


def _read_hdf5(path: str) -> SavedState:
    with hdf5_reader.reading(path, SnapshotError) as f:
        if "iter" not in f or "history" not in f:
            raise SnapshotError("holds no solver state", file=path,
                                found=f"HDF5 with {', '.join(f) or 'nothing'}",
                                expected="iter, learned_net, current_step, history",
                                help="give the .solverstate.h5, not the .caffemodel.h5")
        net = f["learned_net"][()] if "learned_net" in f and f["learned_net"].shape == () else b""
        numbers = [hdf5_reader.array(f, name, SnapshotError).reshape(-1)[:1] if name in f else np.zeros(1)
                   for name in ("iter", "current_step")]
        history = [hdf5_reader.array(f["history"], str(i), SnapshotError) for i in range(len(f["history"]))]
        return SavedState(int(numbers[0][0]), int(numbers[1][0]),
                          (net.decode() if isinstance(net, bytes) else str(net)) or None, history)


def _check_owner(solver: Solver, saved: SavedState, extra: dict[str, Any] | None, path: str) -> None:
    if extra is not None and extra.get("solver_type") not in (None, solver.type):
        raise SnapshotError("was written by another solver", file=path, found=extra["solver_type"],
                            expected=solver.type, help="resume with the same solver type; to change it start "
                                                       "afresh with the .caffemodel as weights")
    if len(saved.history) != len(solver.history):
        raise SnapshotError("holds another number of histories", file=path, found=len(saved.history),
                            expected=f"{len(solver.history)} for {solver.type} and "
                                     f"{len(solver.net.learnable_params)} parameters",
                            help="it belongs to another net or solver type; to go on with this one start "
                                 "afresh with the .caffemodel as weights")
    for i, (blob, array) in enumerate(zip(solver.history, saved.history, strict=True)):
        if not weights.same_shape(blob.shape, array.shape):
            raise SnapshotError(f"history {i} has another shape", file=path, found=array.shape,
                                expected=blob.shape, help="it belongs to another net")


def _find_weights(learned_net: str, path: str) -> str:
    """The weights as Caffe looks for them, from the working folder; else by their name beside the state."""
    beside = os.path.join(os.path.dirname(path), os.path.basename(learned_net))
    if not os.path.exists(learned_net) and os.path.exists(beside):
        log.info("%s is not there, taking %s", learned_net, beside)
        return beside
    if not os.path.exists(learned_net):
        raise SnapshotError("its weights are missing", file=path, found=f"neither {learned_net} nor {beside}",
                            help="a snapshot is two files: keep the .caffemodel beside the .solverstate")
    return learned_net


def _read_sidecar(path: str, iteration: int) -> dict[str, Any] | None:
    name = path + ".json"
    try:
        content = json.loads(Path(name).read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("not a JSON object")
    except FileNotFoundError:
        log.info("%s is not there: random generators and data layers start anew, as in Caffe", name)
        return None
    except (OSError, ValueError, RecursionError) as problem:
        raise SnapshotError(f"cannot be read: {problem}", file=name,
                            help="delete it to resume without random states and data positions") from problem
    if content.get("version") != SIDECAR_VERSION or content.get("iter") != iteration:
        raise SnapshotError("does not belong to the solver state beside it", file=name,
                            found=f"version {content.get('version')}, iteration {content.get('iter')}",
                            expected=f"version {SIDECAR_VERSION}, iteration {iteration}",
                            help="delete it to resume without random states and data positions")
    try:
        processes = [content, *content.get("ranks", [])]
        if len(processes) != state.solver_count():
            log.warning("%s is of %d processes, not of %d: random generators and data layers start anew", name,
                        len(processes), state.solver_count())
            return None
        return _checked_sidecar(processes[state.solver_rank()])
    except Exception as problem:   # it is JSON, but whoever wrote it was no snapshot
        raise SnapshotError(f"holds what no snapshot writes: {problem}", file=name,
                            help="delete it to resume without random states and data positions") from problem


def _checked_sidecar(content: dict[str, Any]) -> dict[str, Any]:
    """The content with losses as floats and random states as bytes, each tried on a generator of its own."""
    states = [content.get("train", {}), *content.get("test", [])]
    if not all(isinstance(layers, dict) for layers in states):
        raise ValueError("the states of layers are no object")
    random = {key: base64.b64decode(value, validate=True) for key, value in content.get("random", {}).items()}
    for key, raw in random.items():
        if torch.device(key).type == "cpu":
            torch.Generator().set_state(torch.frombuffer(bytearray(raw), dtype=torch.uint8))
    return {**content, "losses": [float(loss) for loss in content.get("losses", [])], "random": random}


def _restore_layers(net: Net, states: dict[str, Any], path: str) -> None:
    for name, value in states.items():
        layer = net.layer_dict.get(name)
        if layer is None or not hasattr(layer, "set_state"):
            log.warning("%s.json: layer '%s' cannot take its state back: it starts anew", path, name)
            continue
        try:
            layer.set_state(value)
        except CaffeError:
            raise
        except Exception as problem:   # whatever a Python layer raises: say which one
            raise SnapshotError(
                f"set_state failed: {problem}", file=path + ".json", layer=name,
                help="see the exception above; delete the .json to resume without it") from problem
