"""The learning rate of an iteration: Caffe's policies fixed, step, exp, inv, multistep, poly and sigmoid."""
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..errors import SolverError, nearest


def fixed(p: Any, iteration: int, step: int) -> float:
    """base_lr"""
    return p.base_lr


def stepped(p: Any, iteration: int, step: int) -> float:
    """base_lr * gamma ^ step, where step counts the steps passed"""
    return p.base_lr * p.gamma ** step


def exp(p: Any, iteration: int, step: int) -> float:
    """base_lr * gamma ^ iteration"""
    return p.base_lr * p.gamma ** iteration


def inv(p: Any, iteration: int, step: int) -> float:
    """base_lr * (1 + gamma * iteration) ^ -power"""
    return p.base_lr * (1 + p.gamma * iteration) ** -p.power


def poly(p: Any, iteration: int, step: int) -> float:
    """base_lr * (1 - iteration / max_iter) ^ power; it falls to min_lr (NVCaffe's, 0) instead of 0"""
    return p.min_lr + (p.base_lr - p.min_lr) * (1 - iteration / p.max_iter) ** p.power


def sigmoid(p: Any, iteration: int, step: int) -> float:
    """base_lr / (1 + exp(-gamma * (iteration - stepsize)))"""
    exponent = -p.gamma * (iteration - p.stepsize)
    return p.base_lr / (1 + math.exp(exponent)) if exponent < 700 else 0.0


POLICIES: dict[str, Callable[[Any, int, int], float]] = {
    "fixed": fixed, "step": stepped, "exp": exp, "inv": inv, "multistep": stepped, "poly": poly,
    "sigmoid": sigmoid}
_NEEDS_GAMMA = {"step", "exp", "inv", "multistep", "sigmoid"}
_NEEDS_STEPSIZE = {"step", "sigmoid"}


def check(p: Any, file: str | None = None) -> None:
    """Refuse a SolverParameter whose policy is unknown or lacks what it needs. Raises SolverError.

    No policy at all passes: such a solver can hold nets; `learning_rate` says so when it is asked to train.
    """
    policy = p.lr_policy
    if not policy:
        return
    if policy not in POLICIES:
        near = nearest(policy, POLICIES)
        raise SolverError(f"unknown lr_policy '{policy}'", file=file, expected=" or ".join(POLICIES),
                          help=f"did you mean \"{near[0]}\"?" if near else "choose one of these")
    if policy in _NEEDS_GAMMA and p.gamma < 0:
        raise SolverError(f"gamma must not be negative for lr_policy '{policy}'", file=file, found=p.gamma,
                          help="gamma is the factor of each decay, such as 0.1")
    if policy in _NEEDS_STEPSIZE and p.stepsize <= 0:
        raise SolverError(f"lr_policy '{policy}' needs a positive stepsize", file=file, found=p.stepsize,
                          help="set stepsize to a number of iterations")
    if policy == "poly" and p.max_iter <= 0:
        raise SolverError("lr_policy 'poly' needs a positive max_iter", file=file, found=p.max_iter,
                          help="set max_iter: the rate falls to zero there")


def learning_rate(p: Any, iteration: int, current_step: int, file: str | None = None) -> tuple[float, int]:
    """The rate of `iteration` and the step count after it: (rate, current_step).

    Under "multistep" the count goes up by one at most a call, as in Caffe: a solver whose iteration was set
    past several stepvalues catches up over as many calls. Raises SolverError where no rate exists.
    """
    policy = p.lr_policy
    if not policy:
        raise SolverError("no lr_policy is set", file=file, expected=" or ".join(POLICIES),
                          help="lr_policy: \"fixed\" keeps base_lr all the time")
    if policy == "step":
        current_step = iteration // p.stepsize
    elif policy == "multistep" and current_step < len(p.stepvalue) and iteration >= p.stepvalue[current_step]:
        current_step += 1
    try:
        rate = POLICIES[policy](p, iteration, current_step)
        if iteration < p.rampup_interval:   # NVCaffe's, as min_lr: up from rampup_lr
            rate = p.rampup_lr + (p.base_lr - p.rampup_lr) * (iteration / p.rampup_interval) ** 2
        elif p.min_lr and not isinstance(rate, complex):
            rate = max(rate, p.min_lr)
    except (OverflowError, ZeroDivisionError):
        rate = math.inf
    if isinstance(rate, complex) or not math.isfinite(rate):
        raise SolverError(f"lr_policy '{policy}' gives no learning rate at iteration {iteration}", file=file,
                          help="poly ends at max_iter: raise max_iter to go on" if policy == "poly"
                          else "check base_lr, gamma and power")
    return rate, current_step
