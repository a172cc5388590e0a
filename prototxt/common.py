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
class Head:
    """One task: `classes` scores per pixel, compared with the blob `label`; `suffix` ends its layers' names."""

    classes: int
    label: str = "label"
    suffix: str = ""


@dataclass(frozen=True)
class Stream:
    """One trunk of the net, over the concatenation of the data layer's tops `tops` (3 channels, a depth 1).

    `suffix` ends the names of its layers.  A stream of one top reads the blob `blob` straight from the data layer.
    """

    tops: tuple[str, ...] = ("data",)
    blob: str = "data"
    suffix: str = ""


@dataclass(frozen=True)
class Design:
    """What a net is asked to be: the strides predicted from, coarsest first, its heads and its streams."""

    strides: tuple[int, ...]
    heads: tuple[Head, ...]
    streams: tuple[Stream, ...] = (Stream(),)


Tops = Sequence[tuple[str, Any]]   # of each stream: its suffix, and a blob of it


@dataclass(frozen=True)
class Skip:
    """One skip: class scores predicted from `bottoms`, added to the coarser scores upsampled twofold.

    `name` ends the names of its layers (score_<name>, fuse_<name>); `upscore` names the upsampling before it.
    """

    name: str
    bottoms: Tops
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


def _fused_scores(n: Any, name: str, bottoms: Tops, head: Head, rate: float) -> Any:
    """The scores `name` of a head; of several streams their mean (late fusion, thesis 3.4.2)."""
    if len(bottoms) == 1:
        n[name + head.suffix] = class_scores(bottoms[0][1], head.classes, rate)
        return n[name + head.suffix]
    scores = []
    for suffix, bottom in bottoms:
        n[name + suffix + head.suffix] = class_scores(bottom, head.classes, rate)
        scores.append(n[name + suffix + head.suffix])
    fused = ("score" if name == "score_fr" else name) + "_fused" + head.suffix
    n[fused] = L.Eltwise(*scores, operation=P.Eltwise.SUM, coeff=[1 / len(scores)] * len(scores))
    return n[fused]


def dense_scores(
    n: Any, tops: Tops, skips: Sequence[Skip], design: Design, rates: Rates, *, name: str = "score_fr",
    odd: bool = False, crop_skips: bool = True, scales: Sequence[float] = (), max_fusion: bool = False,
) -> None:
    """From the coarse blobs `tops` to `n.score<suffix>` of every head, one score per class and pixel.

    Each skip in turn halves the stride; what remains is upsampled in one step and cropped to the image.  Of a
    skip and the scores upsampled to it the larger is cropped to the smaller: the skip in nets that pad the
    image by 100 pixels (`crop_skips`), else the upsampled scores.  `scales` are fixed factors on the skips'
    inputs, with which all strides can be learned at once.  `name`: of the coarse scores.  `max_fusion`: the
    larger score where a skip joins, not the sum (thesis 3.3.2, footnote 7).
    """
    skips = skips[: len(design.strides) - 1]
    for head in design.heads:
        end = head.suffix
        top = _fused_scores(n, name, tops, head, rates.score)
        for index, skip in enumerate(skips):
            n[skip.upscore + end] = upper = upscore(top, head.classes, 2, rates.upscore, odd)
            bottoms = skip.bottoms
            if scales:
                if head is design.heads[0]:
                    for suffix, bottom in bottoms:
                        n[f"scale_{skip.name}{suffix}"] = L.Scale(
                            bottom, filler=dict(type="constant", value=scales[index]), param=[dict(lr_mult=0)]
                        )
                bottoms = [(suffix, n[f"scale_{skip.name}{suffix}"]) for suffix, _ in bottoms]
            lower = _fused_scores(n, f"score_{skip.name}", bottoms, head, rates.skip)
            if crop_skips:
                n[f"score_{skip.name}{end}c"] = lower = crop(lower, upper)
            else:
                n[f"{skip.upscore}{end}c"] = upper = crop(upper, lower)
            operation = P.Eltwise.MAX if max_fusion else P.Eltwise.SUM
            n[f"fuse_{skip.name}{end}"] = top = L.Eltwise(upper, lower, operation=operation)
        stride = design.strides[-1]
        last = ("upscore" if name == "score_fr" and not skips else f"upscore{stride}") + end
        n[last] = upscore(top, head.classes, stride, 0, odd)
        n[f"score{end}"] = crop(n[last], n[design.streams[0].blob])


def losses(n: Any, heads: Sequence[Head], normalize: bool) -> None:
    """Softmax loss of each head, summed over pixels, or their mean when `normalize`; 255 is not counted.

    The first is called `loss`, further ones `loss<suffix>`.
    """
    for head in heads:
        n["loss" if head is heads[0] else f"loss{head.suffix}"] = L.SoftmaxWithLoss(
            n[f"score{head.suffix}"], n[head.label],
            loss_param=dict(normalize=normalize, ignore_label=IGNORE_LABEL),
        )


CHANNELS = {"depth": 1}   # of the tops of data layers; all others are pictures of 3


def data_tops(streams: Sequence[Stream]) -> dict[str, str]:
    """Top of the data layer -> the blob it becomes."""
    return {top: stream.blob if len(stream.tops) == 1 else top for stream in streams for top in stream.tops}


def inputs(n: Any, streams: Sequence[Stream], shape: Sequence[int]) -> None:
    """The input blobs of a deploy net, N x C x H x W with N, H and W of `shape`, and what joins them."""
    for top, blob in data_tops(streams).items():
        dims = [shape[0], CHANNELS.get(top, shape[1]), *shape[2:]]
        n[blob] = L.Input(input_param=dict(shape=dict(dim=dims)))
    join(n, streams)


def join(n: Any, streams: Sequence[Stream]) -> None:
    """The blob of each stream that reads several tops: these, one after another (early fusion, 3.4.2)."""
    for stream in streams:
        if len(stream.tops) > 1:
            n[stream.blob] = L.Concat(*(n[top] for top in stream.tops))


def python_data(
    n: Any, streams: Sequence[Stream], heads: Sequence[Head], module: str, layer: str,
    param_str: dict[str, Any] | str,
) -> None:
    """The blobs of the streams and the labels of the heads from a Python data layer."""
    blobs = [*data_tops(streams).values(), *(head.label for head in heads)]
    for blob, top in zip(
        blobs, L.Python(module=module, layer=layer, ntop=len(blobs), param_str=str(param_str)), strict=True
    ):
        n[blob] = top
    join(n, streams)


def new_spec() -> Any:
    """An empty `caffe.NetSpec`."""
    return caffe.NetSpec()
