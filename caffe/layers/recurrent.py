"""LSTM, RNN and LSTMUnit: recurrent layers over (timesteps, streams, ...)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from ..blob import Blob
from ..function import FunctionLayer, Shape
from ..layer import register

Tensors = Sequence[torch.Tensor]


def lstm_unit(c: torch.Tensor, gates: torch.Tensor, cont: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """One step: gates (..., 4 d) are i, f, o, g before their nonlinearities; returns c and h (..., d)."""
    i, f, o, g = gates.chunk(4, -1)
    c = cont * torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return c, torch.sigmoid(o) * torch.tanh(c)


@register("LSTMUnit")
class LSTMUnit(FunctionLayer):
    """Tops c' = cont s(f) c + s(i) tanh(g) and h = s(o) tanh(c').

    Bottoms c (1, n, d), gates i, f, o, g (1, n, 4 d), cont (1, n); s is the sigmoid."""

    bottoms = 3
    tops = 2
    no_diff_to = (2,)

    def top_shapes(self, *shapes: Shape) -> Sequence[Shape]:
        c, gates, cont = shapes
        d = c[-1] if c else 0
        if len(c) != 3 or c[0] != 1 or gates != (*c[:2], 4 * d) or cont != c[:2]:
            self.wrong_shape("the bottoms do not fit each other", found=f"{c}, {gates}, {cont}",
                             expected="(1, n, d), (1, n, 4 d), (1, n)", help="correct their shapes")
        return [c, c]

    def compute(self, *args: torch.Tensor) -> Sequence[torch.Tensor]:
        c, gates, cont = args
        return lstm_unit(c, gates, cont.detach()[..., None])


class _Recurrent(FunctionLayer):
    """Bottoms x (t, n, ...), cont (t, n) with 0 where a sequence begins, and perhaps a static input (n, ...).

    The hidden state goes on from one forward to the next; gradients do not. With expose_hidden the state
    comes in as further bottoms (1, n, num_output) and leaves as further tops, neither of which carries a
    diff.
    """

    n_state = 1
    gates = 1

    def __init__(self, layer_param: Any) -> None:
        super().__init__(layer_param)
        self.p = layer_param.recurrent_param
        exposed = self.n_state if self.p.expose_hidden else 0
        self.bottoms = (2 + exposed, 3 + exposed)
        self.tops = 1 + exposed
        self.static = len(layer_param.bottom) > 2 + exposed
        first = 2 + self.static
        self.no_diff_to = (1,)
        self.state_bottoms = range(first, first + exposed)
        self.state: list[torch.Tensor] = []

    def configure(self, *shapes: Shape) -> None:
        self._check(*shapes)
        self.positive("num_output")
        self.steps, self.hidden = shapes[0][0], self.p.num_output
        rows = self.gates * self.hidden
        static = [(rows, math.prod(shapes[2][1:]))] if self.static else []
        for shape in [(rows, math.prod(shapes[0][2:])), (rows,), *static, *self.state_params(self.hidden)]:
            self.add_param(shape, self.p.weight_filler if len(shape) > 1 else self.p.bias_filler)

    def state_params(self, d: int) -> list[Shape]:
        """The shapes of the parameters behind those that the inputs meet, for a hidden state of d numbers."""
        raise NotImplementedError

    def unroll(self, x: torch.Tensor, cont: torch.Tensor, state: Tensors,
               params: Tensors) -> tuple[torch.Tensor, Tensors]:
        raise NotImplementedError

    def _check(self, *shapes: Shape) -> None:
        x, cont = shapes[:2]
        if len(x) < 2 or cont != x[:2]:
            self.wrong_shape("cont must be timesteps by streams", found=f"x {x}, cont {cont}",
                             expected=f"x (timesteps, streams, ...) and cont {x[:2]}", help="correct the bottoms")
        if self.static and shapes[2][:1] != x[1:2]:
            self.wrong_shape("the static input must have one item per stream", found=shapes[2],
                             expected=f"({x[1]}, ...)", help="correct bottom 2")

    def top_shapes(self, *shapes: Shape) -> Sequence[Shape]:
        self._check(*shapes)
        t, n = shapes[0][:2]
        if t != self.steps:
            self.wrong_shape("the number of timesteps may not change", found=t, expected=self.steps,
                             help="build the net for the number of timesteps that it gets")
        for i in self.state_bottoms:
            if shapes[i] != (1, n, self.hidden):
                self.wrong_shape(f"bottom {i} does not fit the hidden state", found=shapes[i],
                                 expected=(1, n, self.hidden), help="correct its shape")
        return [(t, n, self.hidden), *[(1, n, self.hidden)] * len(self.state_bottoms)]

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        if self.state and self.state[0].shape[1] != bottom[0].shape[1]:
            self.reset()
        self._last: list[torch.Tensor] = []
        super().forward(bottom, top)
        self.state = self._last

    def reset(self) -> None:
        """Forget the hidden state: the next forward starts from zeros."""
        self.state = []

    def get_state(self) -> dict[str, Any]:
        """The hidden state as nested lists, for a snapshot."""
        return {"hidden": [s.tolist() for s in self.state]}

    def set_state(self, value: dict[str, Any]) -> None:
        """Go on from the hidden state that `get_state` returned."""
        self.state = [torch.tensor(s, dtype=torch.float32) for s in value["hidden"]]

    def compute(self, *args: torch.Tensor) -> Sequence[torch.Tensor]:
        n = len(self.layer_param.bottom)
        x, cont, params = args[0], args[1].detach()[..., None], args[n:]
        state = [args[i].detach() for i in self.state_bottoms] or [s.to(x.device) for s in self.state]
        state = state or [x.new_zeros(1, x.shape[1], self.hidden)] * self.n_state
        drive = F.linear(x.reshape(*x.shape[:2], -1), params[0], params[1])
        if self.static:
            drive = drive + F.linear(args[2].reshape(x.shape[1], -1), params[2])
        y, last = self.unroll(drive, cont, state, params[2 + self.static :])
        self._last = [s.detach().clone() for s in last]
        return [y, *self._last] if self.state_bottoms else [y]


@register("LSTM")
class LSTM(_Recurrent):
    """h_t, c_t = LSTMUnit(c_(t-1), W_hc cont_t h_(t-1) + W_xc x_t + b_c (+ W_xc_static x_static), cont_t).

    Parameters W_xc, b_c, (W_xc_static,) W_hc; four gates i, f, o, g of num_output each. Donahue et al. 2015.
    """

    n_state = 2
    gates = 4

    def state_params(self, d: int) -> list[Shape]:
        return [(4 * d, d)]

    def unroll(self, x: torch.Tensor, cont: torch.Tensor, state: Tensors,
               params: Tensors) -> tuple[torch.Tensor, Tensors]:
        (h, c), tops = state, []
        for t in range(len(x)):
            gates = F.linear(h * cont[t : t + 1], params[0]) + x[t : t + 1]
            c, h = lstm_unit(c, gates, cont[t : t + 1])
            tops.append(h)
        return torch.cat(tops), [h, c]


@register("RNN")
class RNN(_Recurrent):
    """h_t = tanh(W_hh cont_t h_(t-1) + W_xh x_t + b_h (+ W_xh_static x_static)), top tanh(W_ho h_t + b_o).

    Parameters W_xh, b_h, (W_xh_static,) W_hh, W_ho, b_o.
    """

    def state_params(self, d: int) -> list[Shape]:
        return [(d, d), (d, d), (d,)]

    def unroll(self, x: torch.Tensor, cont: torch.Tensor, state: Tensors,
               params: Tensors) -> tuple[torch.Tensor, Tensors]:
        h, tops = state[0], []
        for t in range(len(x)):
            h = torch.tanh(F.linear(h * cont[t : t + 1], params[0]) + x[t : t + 1])
            tops.append(torch.tanh(F.linear(h, params[1], params[2])))
        return torch.cat(tops), [h]
