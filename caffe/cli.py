"""The `caffe` command: train, test, time and device_query, with the flags and log lines of BVLC Caffe's."""
from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from . import commands, flags
from .commands import COMMANDS
from .errors import CaffeError, DeviceError

if TYPE_CHECKING:
    import torch

    from .solvers.solver import Solver

# torch and the engine are imported by the actions: `caffe -help` answers at once


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (by default sys.argv); returns the exit status: 0, 1, or 130 after Ctrl-C."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if words and words[0] in COMMANDS:
            return commands.run(words[0], words[1:])
        line = flags.parse(words)
        if line.version:
            from . import __version__

            print(f"caffe-lungo {__version__}")
        elif line.help or not line.action:
            print(flags.usage(line.action))
            return 0 if line.help else 1
        else:
            return _run(line)
    except CaffeError as problem:
        if os.environ.get("CAFFE_TRACEBACK"):
            traceback.print_exc()
        else:
            print("\n".join([f"caffe: {problem}", *getattr(problem, "__notes__", [])]), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("caffe: interrupted", file=sys.stderr)
        return 130
    return 0


def _run(line: flags.CommandLine) -> int:
    from . import glog

    glog.init_log(line.minloglevel if "minloglevel" in line.given else None)
    if line.action == "train" and (processes := _processes(line)) > 1:
        from . import parallel

        return parallel.launch(processes, [line.action, *(f"-{name}={getattr(line, name)}" for name in line.given)])
    if line.log_dir and os.environ.get("RANK", "0") == "0":
        glog.log_to_folder(line.log_dir)
    if "python_layers" in line.given:
        os.environ["CAFFE_PYTHON_LAYERS"] = line.python_layers
    for name in line.unused:
        glog.logger.warning("-%s has no effect on `caffe %s`", name, line.action)
    {"train": train, "test": test, "time": time, "device_query": device_query}[line.action](line)
    return 0


def _need(line: flags.CommandLine, name: str, why: str) -> str:
    value: str = getattr(line, name)
    if not value:
        raise CaffeError(f"caffe {line.action} needs -{name}", help=f"-{name} FILE: {why}")
    return value


def _stages(line: flags.CommandLine) -> list[str]:
    return [stage.strip() for stage in line.stage.split(",") if stage.strip()]


# ------------------------------------------------------------------ devices
def _gpu_ids(text: str) -> list[int]:
    if text == "all":
        import torch

        return list(range(torch.cuda.device_count()))
    try:
        ids = [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise CaffeError("-gpu takes device numbers separated by ',', or 'all'", found=text,
                         help="`caffe device_query` lists them") from None
    if len(set(ids)) < len(ids):
        raise CaffeError("-gpu names a device twice", found=text, help="one process trains on each")
    return ids


def _processes(line: flags.CommandLine) -> int:
    """How many processes -gpu asks `train` to start: one for each of several devices. Raises DeviceError."""
    ids = _gpu_ids(line.gpu)
    if len(ids) < 2:
        return 1
    import torch

    from . import parallel, state

    if parallel.world() > 1 or not torch.cuda.is_available():   # they have been started; _choose_device complains
        return 1
    for i in ids:
        state._require_cuda(i)
    return len(ids)


def _choose_device(line: flags.CommandLine, place: int | None = None) -> None:
    """Set the mode from -gpu, whose device number `place` is for this process when there may be several.

    Raises DeviceError when there is no such device.
    """
    import torch

    from . import state
    from .glog import logger as log

    ids = _gpu_ids(line.gpu)
    if line.gpu and not torch.cuda.is_available():
        raise DeviceError(f"-gpu {line.gpu}: no GPU here", found=f"torch {torch.__version__} that sees none",
                          help="leave -gpu out to compute on the CPU, or install a CUDA build of PyTorch")
    if len(ids) > 1 and place is None:
        raise DeviceError(f"caffe {line.action} computes on one device", found=f"-gpu {line.gpu}",
                          expected="one number", help=f"-gpu {ids[0]}")
    if ids and (place or 0) >= len(ids):
        raise DeviceError("there are more processes than devices", found=f"-gpu {line.gpu}: {len(ids)} device(s)",
                          help="start as many processes on each machine as -gpu has devices")
    if not ids:
        log.info("Use CPU.")
        state.set_mode_cpu()
        return
    state.set_device(ids[place or 0])
    state.set_mode_gpu()
    log.info("Use GPU with device ID %d", ids[place or 0])
    log.info("GPU device name: %s", torch.cuda.get_device_name(ids[place or 0]))


def device_query(line: flags.CommandLine) -> None:
    """Show the processor's threads and the CUDA devices (those of -gpu, or all)."""
    import platform

    import torch

    from .glog import logger as log

    log.info("torch %s, Python %s, %s", torch.__version__, platform.python_version(), platform.platform())
    log.info("CPU: %d threads for one layer, %s, %s", torch.get_num_threads(), platform.machine(),
             torch.backends.cpu.get_cpu_capability())
    ids = _gpu_ids(line.gpu or "all")
    if not ids:
        log.info("No CUDA device: torch was %s.", f"built for CUDA {torch.version.cuda}" if torch.version.cuda
                 else "built without CUDA")
    for i in ids:
        if i >= torch.cuda.device_count() or i < 0:
            raise DeviceError(f"there is no GPU {i}", found=f"{torch.cuda.device_count()} device(s)",
                              help="device numbers start at 0")
        p: Any = torch.cuda.get_device_properties(i)
        log.info("Device id:                     %d", i)
        log.info("Name:                          %s", p.name)
        log.info("Major revision number:         %d", p.major)
        log.info("Minor revision number:         %d", p.minor)
        log.info("Total global memory:           %d", p.total_memory)
        log.info("Number of multiprocessors:     %d", p.multi_processor_count)


# ------------------------------------------------------------------ actions
def train(line: flags.CommandLine) -> None:
    """Train from -solver, afresh, from -weights or from -snapshot; perhaps as one of several processes.

    Ctrl-C snapshots and stops.
    """
    path = _need(line, "solver", "the solver prototxt")
    if line.snapshot and line.weights:
        raise CaffeError("-snapshot and -weights exclude each other",
                         help="give -snapshot to resume training, or -weights to finetune")
    import torch

    from . import parallel
    from .glog import solver_logger as log
    from .proto import text
    from .solvers.signals import SignalHandler
    from .solvers.solver import make_solver

    param = text.load_solver(path)
    if "level" in line.given:
        param.train_state.level = line.level
    param.train_state.stage.extend(_stages(line))
    if not line.gpu and param.HasField("solver_mode") and param.solver_mode == type(param).GPU:
        if torch.cuda.is_available():
            line.gpu = "all" if parallel.world() > 1 else str(param.device_id)
        else:
            log.warning("%s says solver_mode: GPU, but torch %s sees no CUDA device: training on the CPU",
                        path, torch.__version__)
    if line.snapshot or line.weights:
        del param.weights[:]
        param.weights.extend([line.weights] if line.weights else [])
    with parallel.joined(), SignalHandler(line.sigint_effect, line.sighup_effect) as signals:
        _choose_device(line, parallel.local_rank())
        solver = make_solver(param, path)
        solver.set_action_function(signals.requested)
        solver.net.release_blobs = not param.debug_info
        if line.snapshot:
            log.info("Resuming from %s", line.snapshot)
            solver.restore(line.snapshot)
        if parallel.world() > 1:
            nccl = parallel.NCCL(solver, b"")   # `joined` knows the others
            nccl.bcast()
            solver.add_callback(nccl)
        log.info("Starting Optimization")
        with _progress(solver):
            solver.solve()
    log.info("Optimization Done.")


@contextmanager
def _progress(solver: Solver) -> Iterator[None]:
    """A progress bar below the log while training; only where stderr is a terminal, and only the root's."""
    from . import state

    if not sys.stderr.isatty() or state.solver_rank():
        yield
        return
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    with tqdm(total=solver.max_iter, initial=solver.iter, unit="it", dynamic_ncols=True) as bar:
        def advance() -> None:
            bar.set_postfix_str(f"loss {solver.smoothed_loss:g}", refresh=False)
            bar.update()

        solver.add_callback(lambda: None, advance)
        with logging_redirect_tqdm([logging.getLogger("caffe")]):
            yield


def test(line: flags.CommandLine) -> None:
    """Score -model with -weights on -iterations batches: every output of each batch, and the means."""
    model = _need(line, "model", "the net prototxt")
    weights = _need(line, "weights", "its .caffemodel")
    if line.iterations < 1:
        raise CaffeError("-iterations must be at least 1", found=line.iterations, help="50 is the default")
    from . import TEST, outputs
    from .glog import logger as log
    from .net import Net
    from .solvers import solver_nets

    _choose_device(line)
    net = Net(model, phase=TEST, level=line.level, stages=_stages(line))
    solver_nets.forward_only(net)
    solver_nets.load_weights(net, weights)
    log.info("Running for %d iterations.", line.iterations)
    loss = 0.0
    sums: list[torch.Tensor] = []
    for i in range(line.iterations):
        loss += net.forward_loss()
        sums = outputs.add(net, sums)
        for name, tensor in zip(net.outputs, outputs.values(net), strict=True):
            if tensor.numel() > outputs.MAX_PRINTED:
                log.info("Batch %d, %s: %d values, not printed", i, name, tensor.numel())
                continue
            for value in tensor.flatten().tolist():
                log.info("Batch %d, %s = %g", i, name, value)
    log.info("Loss: %g", loss / line.iterations)
    for name, tensor in zip(net.outputs, sums, strict=True):
        if tensor.numel() <= outputs.MAX_PRINTED:
            for value in (tensor / line.iterations).flatten().tolist():
                log.info("%s = %g%s", name, value, outputs.loss_note(net, name, value))


def time(line: flags.CommandLine) -> None:
    """Time every layer of -model, forward and backward, over -iterations passes."""
    model = _need(line, "model", "the net prototxt")
    if line.iterations < 1:
        raise CaffeError("-iterations must be at least 1", found=line.iterations, help="50 is the default")
    if line.phase not in ("TRAIN", "TEST"):
        raise CaffeError("-phase must be TRAIN or TEST", found=line.phase, help="TRAIN is the default")
    from . import TEST, TRAIN
    from .inspect import timing
    from .net import Net

    _choose_device(line)
    net = Net(model, phase=TRAIN if line.phase == "TRAIN" else TEST, level=line.level, stages=_stages(line))
    times = timing.measure(net, line.iterations)
    timing.report(times)
    if line.json:
        timing.write_json(times, net, line.json)
