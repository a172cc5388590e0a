"""The pieces every FCN here is made of: convolution + ReLU, pooling, class scores, upsampling, skips, loss.

Blobs keep the names of the published FCN files (`score_fr`, `upscore2`, `score_pool4`, `fuse_pool4`, ...), so
that weights move between stages, and to and from those files, by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import caffe
from caffe import layers as L
from caffe import params as P
from caffe.coord_map import crop

IGNORE_LABEL = 255


@dataclass(frozen=True)
class Rates:
    """Learning-rate multipliers (`lr_mult` of the weights; biases get twice as much) of a net's parts.

    `base`: the layers that come from the classifier (0 freezes them).  `score`: the class scores on top of
    them. `skip`: the class scores of the skips.  `upscore`: the upsampling between skips; the last
    upsampling, to the image, is always fixed to bilinear (thesis 3.3.10).
    """

    base: float = 1.0
    score: float = 1.0
    skip: float = 1.0
    upscore: float = 1.0


@dataclass(frozen=True)
class Skip:
    """One skip: class scores predicted from `bottom`, added to the coarser scores upsampled twofold.

    `name` ends the names of its layers (score_<name>, fuse_<name>); `upscore` names the upsampling before it.
    """

    name: str
    bottom: Any
    upscore: str


def weight_and_bias(rate: float) -> list[dict[str, float]]:
    """`param` for weights and biases: biases learn twice as fast (thesis 3.3.5), and do not decay."""
    return [dict(lr_mult=rate, decay_mult=1), dict(lr_mult=2 * rate, decay_mult=0)]


def conv_relu(
    bottom: Any, num_output: int, kernel: int = 3, stride: int = 1, pad: int = 1, *, group: int = 1,
    rate: float = 1.0, filler: str | None = None,
) -> tuple[Any, Any]:
    """A convolution and the ReLU in place on it.

    `filler` is the weights' filler type; None leaves them 0, for nets whose weights come from a classifier: a
    layer that got none is then found by `surgery.check_weights`.
    """
    options: dict[str, Any] = dict(num_output=num_output, kernel_size=kernel, stride=stride, pad=pad)
    if group != 1:
        options["group"] = group
    if filler is not None:
        options["weight_filler"] = dict(type=filler)
    convolution = L.Convolution(bottom, param=weight_and_bias(rate), **options)
    return convolution, L.ReLU(convolution, in_place=True)


def max_pool(bottom: Any, kernel: int = 2, stride: int = 2, pad: int = 0) -> Any:
    """Max pooling.  Caffe rounds its output size up."""
    options = dict(pad=pad) if pad else {}
    return L.Pooling(bottom, pool=P.Pooling.MAX, kernel_size=kernel, stride=stride, **options)


def dropout(bottom: Any, ratio: float = 0.5) -> Any:
    """Dropout in place."""
    return L.Dropout(bottom, dropout_ratio=ratio, in_place=True)


def class_scores(bottom: Any, classes: int, rate: float) -> Any:
    """A 1x1 convolution to one score per class, initially 0 (thesis 3.3.5)."""
    return L.Convolution(bottom, num_output=classes, kernel_size=1, pad=0, param=weight_and_bias(rate))


def upscore(bottom: Any, classes: int, factor: int, rate: float, odd: bool) -> Any:
    """Upsampling of class scores by a deconvolution, whose kernel `surgery.interp` sets to bilinear.

    The kernel is 2*factor wide, or 2*factor - 1 when `odd`: odd kernels keep the samples on whole pixels
    above 3x3 pooling, even ones above 2x2 pooling, so that crops have whole offsets.  Like the published nets
    it has a dense classes x classes kernel.  No filler can initialise that: Caffe's "bilinear" would put the
    kernel on every pair of classes and so add all scores up, where only the diagonal may hold it.
    """
    kernel = 2 * factor - 1 if odd else 2 * factor
    return L.Deconvolution(
        bottom,
        convolution_param=dict(num_output=classes, kernel_size=kernel, stride=factor, bias_term=False),
        param=[dict(lr_mult=rate)],
    )


def dense_scores(
    n: Any, skips: Sequence[Skip], stride: int, classes: int, rates: Rates, *,
    odd: bool = False, crop_skips: bool = True, scales: Sequence[float] = (),
) -> None:
    """From the coarse scores `n.score_fr` to `n.score`, one score per class and pixel of `n.data`.

    Each skip in turn halves the stride; what remains, `stride`, is upsampled in one step and cropped to the
    image.  Of a skip and the scores upsampled to it the larger is cropped to the smaller: the skip in nets
    that pad the image by 100 pixels (`crop_skips`), else the upsampled scores.  `scales` are fixed factors on
    the skips' inputs, with which all strides can be learned at once.
    """
    top = n.score_fr
    for index, skip in enumerate(skips):
        bottom = skip.bottom
        n[skip.upscore] = upper = upscore(top, classes, 2, rates.upscore, odd)
        if scales:
            n[f"scale_{skip.name}"] = bottom = L.Scale(
                bottom, filler=dict(type="constant", value=scales[index]), param=[dict(lr_mult=0)]
            )
        n[f"score_{skip.name}"] = lower = class_scores(bottom, classes, rates.skip)
        if crop_skips:
            n[f"score_{skip.name}c"] = lower = crop(lower, upper)
        else:
            n[f"{skip.upscore}c"] = upper = crop(upper, lower)
        n[f"fuse_{skip.name}"] = top = L.Eltwise(upper, lower, operation=P.Eltwise.SUM)
    last = f"upscore{stride}" if skips else "upscore"
    n[last] = upscore(top, classes, stride, 0, odd)
    n.score = crop(n[last], n.data)


def loss(n: Any, normalize: bool) -> None:
    """Softmax loss of `n.score`, summed over pixels, or their mean when `normalize`; 255 is not counted."""
    n.loss = L.SoftmaxWithLoss(
        n.score, n.label, loss_param=dict(normalize=normalize, ignore_label=IGNORE_LABEL)
    )


def python_data(n: Any, module: str, layer: str, param_str: dict[str, Any] | str) -> None:
    """`n.data` and `n.label` from a Python data layer."""
    n.data, n.label = L.Python(module=module, layer=layer, ntop=2, param_str=str(param_str))


def image_input(n: Any, shape: Sequence[int]) -> None:
    """`n.data` as an input blob of `shape`, N x C x H x W."""
    n.data = L.Input(input_param=dict(shape=dict(dim=list(shape))))


def new_spec() -> Any:
    """An empty `caffe.NetSpec`."""
    return caffe.NetSpec()
