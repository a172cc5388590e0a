"""Solvers: training a net by gradient descent, with BVLC Caffe's semantics and pycaffe's API."""
from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from .. import outputs, state
from ..blob import Blob
from ..errors import SolverError, nearest
from ..glog import solver_logger as log
from ..net import Net
from ..proto import caffe_pb2, text
from ..wiring import is_out_of_memory
from . import lr_policy, snapshot, solver_nets, updates, watch

if TYPE_CHECKING:
    from ..parallel import NCCL


class Solver:
    """Trains `net`, and tests `test_nets` with its weights, as a solver prototxt says.

    `Solver(path)` for a solver prototxt (or a SolverParameter, with `file` naming it in messages). Raises
    ParseError, SolverError, SnapshotError when snapshots cannot be written, and what `Net` raises.
    """

    type = "SGD"

    def __init__(self, solver: str | os.PathLike[str] | Any, file: str | None = None) -> None:
        if isinstance(solver, str | os.PathLike):
            file = os.fspath(solver)
            solver = text.load_solver(solver)
        self.file = file
        self.param = type(solver)()
        self.param.CopyFrom(solver)
        if self.param.HasField("type") and self.param.type != self.type:
            log.warning("%s asks for type \"%s\"; this is a %s solver", file, self.param.type, self.type)
        solver_nets.check_param(self.param, file)
        self.rule = updates.RULES[self.type](self.param, file)
        if self.param.snapshot:
            self._check_snapshots()
        if self.param.random_seed >= 0:
            state.set_random_seed(self.param.random_seed + state.solver_rank())
        self.iter = 0
        self.current_step = 0
        self.net = solver_nets.train_net(self.param, file)
        self.test_nets = solver_nets.test_nets(self.param, file)
        self.history = [Blob(p.shape) for _ in range(self.rule.slots) for p in self.net.learnable_params]
        if self.param.snapshot:
            snapshot.require_room(self)
        self.recent_losses: list[float] = []   # the last average_loss losses
        self.last_snapshot: str | None = None
        self.stopped_early = False
        self.resume_point: str | None = None   # while testing: the running state to resume from, see test_all
        self._window_restored = False
        self._callbacks: list[tuple[Callable[[], object], Callable[[], object]]] = []
        self._action: Callable[[], str] | None = None
        self.parallel: NCCL | None = None   # set by caffe.NCCL: the processes that this solver trains with
        self._stuck = watch.StuckLoss(self.net)
        self._weights_looked_at = False

    def __repr__(self) -> str:
        return f"<caffe.{type(self).__name__} of {self.file} at iteration {self.iter}>"

    # ------------------------------------------------------------------ pycaffe's properties
    @property
    def lr(self) -> float:
        """The learning rate of the next update. Reading it advances a multistep policy, as in Caffe."""
        before = self.current_step
        rate, self.current_step = lr_policy.learning_rate(self.param, self.iter, before, self.file)
        if self.param.lr_policy == "multistep" and self.current_step != before:
            log.info("MultiStep Status: Iteration %d, step = %d", self.iter, self.current_step)
        return rate

    @property
    def base_lr(self) -> float:
        return self.param.base_lr

    @base_lr.setter
    def base_lr(self, value: float) -> None:
        self.param.base_lr = value

    max_iter = property(lambda self: self.param.max_iter)
    display = property(lambda self: self.param.display)

    @property
    def smoothed_loss(self) -> float:
        """The mean of the last `average_loss` losses."""
        return math.fsum(self.recent_losses) / max(1, len(self.recent_losses))

    def _check_snapshots(self) -> None:
        if state.solver_rank():   # the root writes them
            return
        if not self.param.HasField("snapshot_prefix"):
            raise SolverError("snapshots are asked for but snapshot_prefix is not set", file=self.file,
                              help="set snapshot_prefix: \"folder/name\", or snapshot_after_train: false")
        if self.param.snapshot_format == caffe_pb2.SolverParameter.HDF5:
            snapshot.require_hdf5()
        snapshot.probe(self.param.snapshot_prefix)

    # ------------------------------------------------------------------ training
    def step(self, n: int) -> None:
        """Train for n iterations. Raises SolverError when the loss is no number."""
        stop = self.iter + n
        if not self._window_restored:
            self.recent_losses = []
        self._window_restored = False
        if not self._weights_looked_at:
            self._weights_looked_at = True
            watch.report_zero_layers(self.net)
        shown_at, shown_iter = time.perf_counter(), self.iter
        p = self.param
        while self.iter < stop:
            self.net.clear_param_diffs()
            test_due = bool(p.test_interval) and self.iter % p.test_interval == 0
            if test_due and (self.iter > 0 or p.test_initialization):
                self.test_all()
                if self.stopped_early:
                    break
            for on_start, _ in self._callbacks:
                on_start()
            display = bool(p.display) and self.iter % p.display == 0
            self._add_loss(self._pass(display and p.debug_info))
            if display:
                now = time.perf_counter()
                lapse = now - shown_at
                log.info("Iteration %d (%g iter/s, %gs/%d iters), loss = %g", self.iter,
                         (self.iter - shown_iter) / (lapse or 1), lapse, p.display, self.smoothed_loss)
                shown_at, shown_iter = now, self.iter
                outputs.show(self.net, "Train", outputs.values(self.net))
                watch.show_loss_per_label(self.net)
            for _, on_gradients in self._callbacks:
                on_gradients()
            self._update()
            request = self._agreed(self._action()) if self._action else "none"
            if (p.snapshot and self.iter % p.snapshot == 0) or request == "snapshot":
                self._snapshot_of_all()
            if request == "stop":
                self.stopped_early = True
                break

    def _update(self) -> None:
        try:
            self.apply_update()
        except Exception as e:
            if not is_out_of_memory(e):
                raise
            raise SolverError(f"out of memory in the first update, which makes room for {self.type}'s history: "
                              f"{self.rule.slots} x the parameters", file=self.file,
                              found=f"{sum(b.count for b in self.net.learnable_params):,} parameters",
                              help="use a smaller batch with iter_size, smaller images, or lr_mult: 0 for layers that "
                                   "need not learn") from e

    def _pass(self, debug: bool) -> float:
        """iter_size forward and backward passes; returns their mean loss, the diffs are summed."""
        net, total = self.net, 0.0
        net.debug_info = debug
        for _ in range(self.param.iter_size):
            loss = net.forward_loss()
            if not math.isfinite(loss):
                raise self._not_finite(f"the loss is {loss} at iteration {self.iter}")
            total += loss
            self._stuck.look(self.iter, loss)
            net.backward_loss()
        net.debug_info = False
        return total / self.param.iter_size

    def _add_loss(self, loss: float) -> None:
        self.recent_losses = [*self.recent_losses, loss][-self.param.average_loss:]

    def _not_finite(self, what: str) -> SolverError:
        kept = f"; the last good snapshot is {self.last_snapshot}" if self.last_snapshot else ""
        return SolverError(f"training stopped: {what}", file=self.file,
                           found=f"the first that is no number: {watch.first_non_finite(self.net)}{kept}",
                           help=f"lower base_lr (now {self.param.base_lr:g}), set clip_gradients, or look "
                                "for a bad image or label in the data")

    def require_finite_parameters(self) -> None:
        """Raise SolverError when a parameter is NaN or infinite: such weights are not worth a snapshot."""
        if not watch.parameters_finite(self.net):
            raise self._not_finite(f"the weights are no numbers at iteration {self.iter}")

    def solve(self, resume: str | os.PathLike[str] | None = None) -> None:
        """Train until max_iter, from a .solverstate if one is given; snapshot and test at the end."""
        log.info("Solving %s", self.net.name)
        log.info("Learning Rate Policy: %s", self.param.lr_policy)
        self.stopped_early, self.resume_point = False, None
        if self.param.snapshot_after_train and not self.param.snapshot:
            self._check_snapshots()
            snapshot.require_room(self)
        if resume is not None:
            log.info("Restoring previous solver status from %s", resume)
            self.restore(resume)
        p = self.param
        if self.iter >= p.max_iter:
            log.warning("nothing to train: iteration %d has reached max_iter %d", self.iter, p.max_iter)
        self.step(p.max_iter - self.iter)
        if p.snapshot_after_train and (not p.snapshot or self.iter % p.snapshot):
            self._snapshot_of_all()
        if self.stopped_early:
            log.info("Optimization stopped early.")
            return
        if p.display and self.iter % p.display == 0 and not state.solver_rank():   # the loss after the last update
            self._add_loss(self.net.forward_loss())
            log.info("Iteration %d, loss = %g", self.iter, self.smoothed_loss)
        if p.test_interval and self.iter % p.test_interval == 0:
            self.test_all()
        log.info("Optimization Done.")

    def untouched(self, history: Blob) -> bool:
        """Whether a history was never written: all zeros, and no memory spent on it."""
        return history._data.is_zero

    @torch.no_grad()
    def apply_update(self) -> None:
        """Change the parameters by their diffs, in Caffe's order: clip, divide by iter_size, decay, update.

        Afterwards each parameter's diff holds the step that was subtracted, and `iter` is one more.
        """
        p, rate = self.param, self.lr
        if p.display and self.iter % p.display == 0:
            log.info("Iteration %d, lr = %g", self.iter, rate)
        params = self.net.learnable_params
        if p.clip_gradients >= 0:
            self._clip([b.diff_tensor(write=True) for b in params if not b.diff_is_zero()])
        groups: dict[tuple[float, float], updates.Group] = {}
        for i, blob in enumerate(params):
            local_rate = rate * self.net.params_lr[i]
            decay = p.weight_decay * self.net.params_weight_decay[i]
            history = self.history[i::len(params)]
            no_gradient = blob.diff_is_zero() and not decay
            if all(map(self.untouched, history)) and (
                    no_gradient or (local_rate == 0 and self.rule.idle_at_zero_rate)):
                blob.zero_diff()   # the step is zero; frozen parameters cost no time and no history
                continue
            group = groups.setdefault((local_rate, decay), updates.Group(
                local_rate, decay, history=[[] for _ in history]))
            group.data.append(blob.tensor(write=True))
            group.grad.append(blob.diff_tensor(write=True))
            for slot, h in zip(group.history, history, strict=True):
                slot.append(h.tensor(write=True))
        for group in groups.values():
            for part in group.chunks():
                if p.iter_size > 1:
                    torch._foreach_mul_(part.grad, 1 / p.iter_size)
                updates.add_decay(part, p.regularization_type)
                self.rule.step(part, self.iter)
                torch._foreach_sub_(part.data, part.grad)
        self.iter += 1

    def _clip(self, grads: list[torch.Tensor]) -> None:
        norm, scale = updates.clip_scale(grads, self.param.clip_gradients)
        if scale != 1:
            log.info("Gradient clipping: scaling down gradients (L2 norm %g > %g) by scale factor %g",
                     norm, self.param.clip_gradients, scale)
            torch._foreach_mul_(grads, scale)

    # ------------------------------------------------------------------ testing
    def test_all(self) -> None:
        """Test every test net with the weights as they are. Of several processes the root does, the others wait."""
        # A snapshot asked for in between resumes at the start of this test, so it must hold the state of now.
        self.resume_point = snapshot.state_of_all(self) if self._action else None
        for i in range(len(self.test_nets)):
            if not self.stopped_early and not state.solver_rank():
                self.test(i)
        self.stopped_early = self._agreed("stop" if self.stopped_early else "none") == "stop"
        if not self.stopped_early:
            self.resume_point = None

    def test(self, index: int = 0) -> None:
        """Run one test net for its test_iter batches and print the mean of its outputs."""
        log.info("Iteration %d, Testing net (#%d)", self.iter, index)
        net, batches = self.test_nets[index], self.param.test_iter[index]
        net.debug_info = self.param.debug_info
        net.share_with(self.net)
        sums: list[torch.Tensor] = []
        loss = 0.0
        for _ in range(batches):
            self._answer_requests()
            if self.stopped_early:
                log.info("Test interrupted.")
                return
            loss += net.forward_loss()
            sums = outputs.add(net, sums)
        if self.param.test_compute_loss:
            log.info("Test loss: %g", loss / max(1, batches))
        if batches:
            outputs.show(net, "Test", [s / batches for s in sums])
        if self.net.release_blobs:
            solver_nets.let_go(net)

    def _answer_requests(self) -> None:
        while self._action and (request := self._action()) != "none":
            if request == "snapshot":
                self.snapshot()
            else:
                self.stopped_early = True

    def _agreed(self, request: str) -> str:
        """The request of whichever process: all follow it in the same iteration."""
        return self.parallel.agree(request) if self.parallel else request

    # ------------------------------------------------------------------ snapshots, sharing, hooks
    def _snapshot_of_all(self) -> None:
        """A snapshot that every process comes to: the root writes it, with the state of each."""
        running = self.resume_point or snapshot.state_of_all(self)
        if not state.solver_rank():
            self.last_snapshot = snapshot.write(self, running)

    def snapshot(self) -> None:
        """Write `<snapshot_prefix>_iter_N.caffemodel` and `.solverstate`, whole or not at all.

        Raises SnapshotError when that is impossible.
        """
        self.last_snapshot = snapshot.write(self, self.resume_point)

    def restore(self, path: str | os.PathLike[str]) -> None:
        """Continue from a .solverstate (or .solverstate.h5). Raises SnapshotError."""
        snapshot.restore(self, path)
        self._window_restored = True
        self.last_snapshot = os.fspath(path)

    def share_weights(self, net: Net) -> None:
        """Make `net` use this solver's weights."""
        net.share_with(self.net)

    def add_callback(self, on_start: Any, on_gradients: Callable[[], object] | None = None) -> None:
        """Call `on_start()` before each iteration's passes, `on_gradients()` between them and the update.

        `add_callback(nccl)` with a caffe.NCCL makes the solver one of several.
        """
        if on_gradients is None:
            on_start, on_gradients = on_start.on_start, on_start.on_gradients_ready
        self._callbacks.append((on_start, on_gradients))

    def set_action_function(self, ask: Callable[[], str]) -> None:
        """`ask()` is called between iterations and test batches: "stop", "snapshot" or "none"."""
        self._action = ask


class SGDSolver(Solver):
    """Stochastic gradient descent with momentum."""


class NesterovSolver(SGDSolver):
    """Nesterov's accelerated gradient."""

    type = "Nesterov"


class AdaGradSolver(SGDSolver):
    type = "AdaGrad"


class RMSPropSolver(SGDSolver):
    type = "RMSProp"


class AdaDeltaSolver(SGDSolver):
    type = "AdaDelta"


class AdamSolver(SGDSolver):
    type = "Adam"


SOLVERS: dict[str, type[Solver]] = {cls.type: cls for cls in (
    SGDSolver, NesterovSolver, AdaGradSolver, RMSPropSolver, AdaDeltaSolver, AdamSolver)}


def make_solver(param: Any, file: str | None = None) -> Solver:
    """The solver of a SolverParameter's `type`. Raises SolverError for an unknown one."""
    if param.type not in SOLVERS:
        near = nearest(param.type, SOLVERS)
        raise SolverError(f"unknown solver type '{param.type}'", file=file, expected=" or ".join(SOLVERS),
                          help=f"did you mean \"{near[0]}\"?" if near else "choose one of these")
    return SOLVERS[param.type](param, file)


def get_solver(path: str | os.PathLike[str]) -> Solver:
    """The solver that a prototxt describes, of the class its `type` names."""
    return make_solver(text.load_solver(path), os.fspath(path))
