"""Trouble in training, in words: a loss that is no number, layers that cannot learn, a loss that is stuck."""
from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

from ..errors import CaffeError
from ..glog import solver_logger as log

if TYPE_CHECKING:
    from ..net import Net

_WEIGHTED = {"Convolution", "Deconvolution", "InnerProduct"}


def first_non_finite(net: Net) -> str:
    """Where NaN or infinity appears first, in the order in which the layers run."""
    for name, layer in zip(net._layer_names, net.layers, strict=True):
        for j, blob in enumerate(layer.blobs):
            if not _finite(blob.tensor()):
                return f"parameter {j} of layer '{name}'"
        for top in net.top_names[name]:
            try:
                if not _finite(net.blobs[top].tensor()):
                    return f"blob '{top}', computed by layer '{name}' ({layer.type})"
            except CaffeError:   # let go to save memory
                continue
    return "the loss alone; every blob is finite"


def _finite(tensor: torch.Tensor) -> bool:
    # a sum needs no temporary and is not finite whenever an element is not; the second look is for overflow
    return bool(torch.isfinite(tensor.sum())) or bool(torch.isfinite(tensor).all())


def parameters_finite(net: Net) -> bool:
    """Whether every parameter of the net is a number."""
    return all(_finite(blob.tensor()) for blob in net.learnable_params)


def zero_layers(net: Net) -> tuple[list[str], dict[str, str]]:
    """Layers whose weights are all zero, and of these the ones that can never change: {layer: why}.

    One zero layer learns well (the scoring layers of an FCN start so). It cannot when no gradient reaches it:
    under a ReLU, which passes none back at 0; with lr_mult 0; or when another such layer lies below or above.
    """
    mult = {id(blob): lr for blob, lr in zip(net.learnable_params, net.params_lr, strict=True)}
    zero: list[str] = []
    stuck: dict[str, str] = {}
    silent: dict[str, str] = {}    # blob -> the zero layer that makes it zero everywhere
    for name, layer in zip(net._layer_names, net.layers, strict=True):
        bottoms, tops = net.bottom_names[name], net.top_names[name]
        sources = [silent[b] for b in bottoms if b in silent]
        dead = bool(bottoms) and len(sources) == len(bottoms)
        if layer.type in _WEIGHTED and layer.blobs:
            flags = [not bool(blob.tensor().any()) for blob in layer.blobs]
            if flags[0]:
                zero.append(name)
                if mult.get(id(layer.blobs[0])) == 0:
                    stuck[name] = "its lr_mult is 0"
                if dead:
                    stuck[name] = f"so are those of '{sources[0]}' before it"
                    stuck.setdefault(sources[0], f"so are those of '{name}' after it")
            dead = all(flags) or (dead and all(flags[1:]))
            sources = sources or [name]
        elif layer.type == "ReLU" and dead and not layer.layer_param.relu_param.negative_slope:
            stuck.setdefault(sources[0], f"the ReLU '{name}' after it passes no gradient at 0")
        elif layer.blobs:
            dead = False   # its own parameters (a bias, a shift) put something there
        for top in tops:
            silent.pop(top, None)
            if dead:
                silent[top] = sources[0]
    return zero, stuck


def report_zero_layers(net: Net) -> None:
    """Say which layers have all-zero weights; a warning where they cannot learn."""
    zero, stuck = zero_layers(net)
    if stuck:
        log.warning("These layers have all-zero weights and cannot learn: %s. Were the weights loaded, and "
                    "do the layer names match those of the file? Otherwise give the layers a weight_filler.",
                    "; ".join(f"'{name}' ({why})" for name, why in stuck.items()))
    rest = [name for name in zero if name not in stuck]
    if rest:
        log.info("Layers that start from all-zero weights: %s. Right for new scoring layers, wrong for "
                 "layers that a weights file should have filled.", ", ".join(rest))


class StuckLoss:
    """Notices a softmax loss that stays at ln(number of classes): the net predicts every class alike.

    Works for nets with one SoftmaxWithLoss. Looked at every EVERY iterations; after PATIENCE iterations
    within TOLERANCE (relative) it warns, once.
    """

    EVERY, PATIENCE, TOLERANCE = 10, 50, 1e-4

    def __init__(self, net: Net) -> None:
        losses = [layer for layer in net.layers if layer.is_loss]
        self.layer: Any = losses[0] if len(losses) == 1 and losses[0].type == "SoftmaxWithLoss" else None
        self.net = net
        self.since: int | None = None
        self.warned = False

    def look(self, iteration: int, loss: float) -> None:
        """Take note of the loss of this iteration's last pass."""
        if self.layer is None or self.warned or iteration % self.EVERY:
            return
        expected, classes = self._of_even_scores()
        if expected == 0 or not math.isclose(loss, expected, rel_tol=self.TOLERANCE):
            self.since = None
        elif self.since is None:
            self.since = iteration
        elif iteration - self.since >= self.PATIENCE:
            self.warned = True
            log.warning("The loss has stayed at %g for %d iterations, which is ln(%d) for each label: all "
                        "classes get the same score everywhere, so nothing is learned. Usual causes: weights "
                        "that were not loaded (layer names), all-zero fillers, or a base_lr that is far too "
                        "small.", loss, iteration - self.since, classes)

    def _of_even_scores(self) -> tuple[float, int]:
        """The loss if every class had the same score, and the number of classes."""
        classes = self.net.blobs[self.net.bottom_names[self.layer.name][0]].shape[self.layer.at]
        return math.log(classes) * self.layer.top_loss_weights[0] * _labels_in_loss(self.net, self.layer), classes


def _labels_in_loss(net: Net, layer: Any) -> float:
    """How many times the mean loss of a label a SoftmaxWithLoss is: 1 for VALID, the number of labels for NONE."""
    scores, labels = (net.blobs[name] for name in net.bottom_names[layer.name][:2])
    mode = type(layer.layer_param.loss_param).NormalizationMode.Name(layer.normalization)
    if mode == "VALID":
        return 1.0
    valid = labels.count if layer.ignore_label is None else int((labels.tensor().long() != layer.ignore_label).sum())
    return valid / {"FULL": labels.count, "BATCH_SIZE": math.prod(scores.shape[:layer.at]), "NONE": 1}[mode]


def show_loss_per_label(net: Net) -> None:
    """Log the mean loss of a label where a SoftmaxWithLoss is a sum over labels: 1.1e5 may be 0.44 a pixel."""
    for layer in net.layers:
        labels = _labels_in_loss(net, layer) if layer.type == "SoftmaxWithLoss" else 1
        if labels not in (0, 1):
            top = net.top_names[layer.name][0]
            log.info("    Train loss '%s' per label: %g (the loss is %g times that)", top,
                     float(net.blobs[top].tensor()) / labels, labels)
