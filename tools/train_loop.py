"""The training loop of one stage: solver steps with curve, progress bar, scoring points, and a safe stop."""

from __future__ import annotations

import math
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from tqdm import tqdm

from tools.curve import Curve
from tools.errors import RunError, Stopped
from tools.run_folder import RunFolder
from tools.run_log import say
from tools.stopping import StopRequest

KEPT_SNAPSHOTS = 2


class TrainLoop:
    """Trains a solver of one stage up to iteration `end`, from wherever it is.

    Everything happens between iterations, in the solver's callbacks, so that the solver steps exactly as it
    would alone: a resumed run does the same arithmetic as an unbroken one.
    """

    def __init__(self, solver: Any, stage: str, end: int, folder: RunFolder, curve: Curve, stop: StopRequest,
                 display: int = 20, average: int = 20) -> None:
        self.solver, self.stage, self.end = solver, stage, end
        self.folder, self.curve, self.stop = folder, curve, stop
        self.display = max(1, display)
        self.losses: deque[float] = deque(maxlen=max(1, average))
        self.seconds = 0.0  # of training in this stage, also before a resume
        self._since = 0.0
        self._bar: Any = None
        solver.add_callback(self._before_iteration, self._before_update)

    def run(self, every: int, score: Callable[[int], object]) -> None:
        """Train to the end, calling `score(iteration)` at every `every` iterations (0: never) before it.

        Raises Stopped after Ctrl-C, with a snapshot written, and the solver's errors, for instance
        SolverError when the loss is no number.
        """
        begun = self.solver.iter
        rows = [row for row in self.curve.rows() if row["stage"] == self.stage]
        self.seconds = max((row["seconds"] or 0.0 for row in rows), default=0.0)
        scored = any(row["kind"] == "val" and row["iter"] == begun for row in rows)
        if every and begun and begun % every == 0 and begun < self.end and not scored:
            score(begun)  # it was killed between a snapshot and the scoring of the same iteration
        try:
            while self.solver.iter < self.end:
                at = self.solver.iter
                goal = min(self.end, (at // every + 1) * every) if every else self.end
                self._step(goal - at)
                if goal < self.end:
                    score(goal)
        except Stopped as stopped:
            self._halt(stopped.code)

    def _step(self, count: int) -> None:
        self._since = time.monotonic()
        self._bar = tqdm(total=self.end, initial=self.solver.iter, desc=self.stage, unit="it", disable=None,
                         leave=self.solver.iter + count == self.end, dynamic_ncols=True)
        try:
            self.solver.step(count)
        finally:
            self.seconds += time.monotonic() - self._since
            self._bar.n = self.solver.iter
            self._bar.close()
        self.folder.prune(self.stage, KEPT_SNAPSHOTS)

    def _halt(self, code: int) -> None:
        """Write a snapshot where the run stands, and say so."""
        at = self.solver.iter
        if not any(iteration == at for iteration, _ in self.folder.states(self.stage)):
            self.solver.snapshot()
        self.folder.prune(self.stage, KEPT_SNAPSHOTS)
        raise Stopped(f"stopped at iteration {at} of {self.end} of {self.stage}, with a snapshot", code)

    def _before_iteration(self) -> None:
        if self.stop.code:
            raise Stopped("between two iterations", self.stop.code)

    def _before_update(self) -> None:
        """After the passes of an iteration: note its loss; every `display` iterations write it down."""
        loss, done = self._loss(), self.solver.iter + 1
        if not math.isfinite(loss):
            raise RunError(f"training stopped: the loss is {loss} at iteration {done - 1} of {self.stage}",
                           help="lower the learning rate, or look for a bad image or label in the data")
        self.losses.append(loss)
        self._bar.update()
        if done % self.display and done != self.end:
            return
        now = time.monotonic()
        self.seconds += now - self._since
        self._since = now
        mean = self.mean_loss()
        self._bar.set_postfix(loss=f"{mean:.4g}")
        self.curve.append(stage=self.stage, iter=done, kind="train", lr=float(self.solver.lr), loss=loss,
                          smoothed_loss=mean, seconds=round(self.seconds, 2))
        self.folder.prune(self.stage, KEPT_SNAPSHOTS)
        if not sys.stderr.isatty() and (done % self._print_every() < self.display or done == self.end):
            say(f"{self.stage} {done}/{self.end}  loss {mean:.4g}  {done / max(self.seconds, 1e-9):.2f} it/s")

    def mean_loss(self) -> float:
        """Of the last iterations, `average` at most."""
        return math.fsum(self.losses) / max(1, len(self.losses))

    def _print_every(self) -> int:
        """Without a terminal there is no bar: about ten lines per stage."""
        return max(self.display, self.end // 10)

    def _loss(self) -> float:
        """The loss of the iteration: the mean over its iter_size passes where the engine keeps it."""
        recent = getattr(self.solver, "recent_losses", None)
        return float(recent[-1] if recent else self.solver.net.blobs["loss"].data.flat[0])
