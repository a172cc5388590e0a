"""Training with several processes, one device each: torch.distributed behind pycaffe's `caffe.NCCL`.

Processes come from torchrun, from `caffe train -gpu 0,1` (`launch`), or from a program like Caffe's train.py. GPUs
talk through NCCL; on the CPU, and for what is not a tensor of the net, it is Gloo.
"""
from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist

from . import state
from .errors import DeviceError
from .solvers.updates import Group

if TYPE_CHECKING:
    from .solvers.solver import Solver

REQUESTS = ("none", "snapshot", "stop")   # of two the later one counts
# The others wait while the root tests or snapshots; of a process that is gone they hear at once.
PATIENCE = timedelta(days=7)
_store: dist.Store | None = None   # what the processes that `joined` has in common


class NCCL:
    """Makes one training of the solvers of several processes: `solver.add_callback(NCCL(solver, uid))`.

    Every process calls `caffe.set_solver_count` and `caffe.set_solver_rank`, builds its solver, then this with the
    uid that `NCCL.new_uid()` gave once. Before each update the diffs of all are summed and divided by their number.
    Raises DeviceError when another process is gone.
    """

    def __init__(self, solver: Solver, uid: bytes | str) -> None:
        self.solver = solver
        state.set_multiprocess(True)
        if not dist.is_initialized():
            count = state.solver_count()
            nccl = state.mode() == "GPU" and dist.is_nccl_available()
            with _reaching_others():
                dist.init_process_group("cpu:gloo,cuda:nccl" if nccl else "gloo", timeout=PATIENCE, world_size=count,
                                        store=_store or dist.FileStore(os.fsdecode(uid), count),
                                        rank=state.solver_rank())
        solver.parallel = self

    @staticmethod
    def new_uid() -> bytes:
        """What the processes of one training find each other by, on one machine: the name of a file.

        It goes with the process that calls this, which must outlive the training.
        """
        handle, path = tempfile.mkstemp(prefix="caffe-")
        os.close(handle)
        atexit.register(Path(path).unlink, missing_ok=True)
        return os.fsencode(path)

    def bcast(self) -> None:
        """Give every process the parameters of the root. Call it at the start and after a restore."""
        with _reaching_others():
            for blob in self.solver.net.learnable_params:
                dist.broadcast(blob.tensor(write=True), 0)

    def on_start(self) -> None:
        """Nothing: `add_callback` asks for it."""

    def on_gradients_ready(self) -> None:
        """Replace the diffs of the parameters that learn by their mean over all processes."""
        net = self.solver.net
        diffs = [blob.diff_tensor(write=True)
                 for blob, lr in zip(net.learnable_params, net.params_lr, strict=True) if lr]
        with _reaching_others():
            for part in Group(0, 0, diffs).chunks() if diffs else ():   # small ones travel together
                flat = part.data[0].flatten() if len(part.data) == 1 else torch.cat([d.flatten() for d in part.data])
                dist.all_reduce(flat)
                flat /= state.solver_count()
                if len(part.data) > 1:
                    pieces = flat.split([d.numel() for d in part.data])
                    torch._foreach_copy_(part.data, [p.view_as(d) for p, d in zip(pieces, part.data, strict=True)])

    def __call__(self, layer: int) -> None:
        """For `net.after_backward(nccl)`, what programs do for layer_wise_reduce: nothing, see on_gradients_ready."""

    # ------------------------------------------------------------------ what the solver asks
    def agree(self, request: str) -> str:
        """The strongest request ("none", "snapshot", "stop") of all processes; each must call this."""
        code = torch.tensor(REQUESTS.index(request))
        with _reaching_others():
            dist.all_reduce(code, dist.ReduceOp.MAX)
        return REQUESTS[int(code)]

    def gather(self, text: str) -> list[str]:
        """On the root everybody's text (without "\\0"), in order; elsewhere the own one. Each must call this."""
        raw = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)
        size = torch.tensor(len(raw))
        with _reaching_others():
            dist.all_reduce(size, dist.ReduceOp.MAX)
            padded = torch.zeros(int(size), dtype=torch.uint8)
            padded[:len(raw)] = raw
            if state.solver_rank():
                dist.gather(padded)
                return [text]
            everybody = [torch.empty_like(padded) for _ in range(state.solver_count())]
            dist.gather(padded, everybody)
        return [bytes(t.numpy().tobytes()).rstrip(b"\0").decode() for t in everybody]


@contextmanager
def _reaching_others() -> Iterator[None]:
    try:
        yield
    except RuntimeError as problem:
        raise DeviceError("another process of this training is gone", found=str(problem).split("\n")[0],
                          help="its own message says why; without one it was killed (out of memory?)") from problem


def world() -> int:
    """How many processes torchrun, or `launch`, says there are; 1 without them."""
    return int(os.environ.get("WORLD_SIZE", 1))


def local_rank() -> int:
    """Which process of this machine this one is."""
    return int(os.environ.get("LOCAL_RANK", 0))


@contextmanager
def joined() -> Iterator[None]:
    """Be the solver rank that the environment of torchrun, or `launch`, says; nothing without it.

    Of processes that fail only the first says why: the others fail because it is gone, and end silently.
    """
    global _store
    if world() == 1:
        yield
        return
    try:
        _store, rank, count = next(dist.rendezvous("env://"))
    except (RuntimeError, ValueError) as problem:
        raise DeviceError(f"cannot meet the {world()} processes of WORLD_SIZE", found=str(problem).split("\n")[0],
                          help="start with torchrun, or unset WORLD_SIZE") from problem
    state.set_solver_count(count)
    state.set_solver_rank(rank)
    try:
        yield
    except BaseException as problem:
        if not _first_to_fail(_store) and isinstance(problem, Exception):
            raise SystemExit(1) from None
        problem.add_note(f"in process {rank} of {count}")
        raise
    dist.destroy_process_group()


def _first_to_fail(store: dist.Store) -> bool:
    try:
        return store.add("failed", 1) == 1
    except RuntimeError:   # whoever kept it is gone
        return True


def launch(count: int, words: Sequence[str]) -> int:
    """Run `caffe` with these words in `count` processes of this machine; returns the exit status, as `main`.

    They are told their places as torchrun tells them. SIGINT and SIGHUP go to the root. The first process that
    fails ends the others.
    """
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    environment = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port),
                   "TORCHELASTIC_USE_AGENT_STORE": "True", "WORLD_SIZE": str(count)}
    workers: list[subprocess.Popen[bytes]] = []
    try:
        for rank in map(str, range(count)):   # sessions of their own: Ctrl-C comes here alone
            workers.append(subprocess.Popen(
                [sys.executable, "-m", "caffe", *words], start_new_session=True,
                env={**environment, "RANK": rank, "LOCAL_RANK": rank}))
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda number, frame: workers[0].send_signal(number))
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
        while None in (statuses := [worker.poll() for worker in workers]) and not any(statuses):
            time.sleep(0.1)
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    for rank_, status in enumerate(statuses):
        if status and status < 0:
            print(f"caffe: process {rank_} of {count} was ended by {signal.Signals(-status).name}", file=sys.stderr)
    return next((status if status > 0 else 1 for status in statuses if status), 0)
