"""Nets that generate object regions (thesis, chapter 4): pathways of pairwise values split off a classifier's layers.

A pathway (4.3.3): a convolution to R*R values for each feature vector, their transposition, and one matrix product,
the same for every region, which is a 1x1 convolution.  Even windows lie on the dual grid after the transposition.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import floor
from types import MappingProxyType
from typing import Any

from caffe import layers as L

from . import small, squeezenet, vgg16
from .common import Rates, Stream, conv_relu, inputs, max_pool, new_spec, weight_and_bias
from .errors import NetError
from .measure import Trace, trace
from .solvers import Training, solver_parameter

DEPLOY_SHAPE = (1, 3, 480, 640)   # the commonest size in COCO (4.3.4)
PHASES = ("train", "val", "deploy")


@dataclass(frozen=True)
class Level:
    """A row of Table 4.1: the blob that a pathway splits off, and in pixels the distance of its features (`stride`) and
    the side of its windows; `kernel` of its convolution in features, `factor` of its upsampling.  `scale`: a fixed
    factor on the features, for one learning rate to suit levels whose features differ in size."""

    feature: str
    stride: int
    kernel: int
    window: int
    factor: int
    scale: float = 1.0

    @property
    def side(self) -> int:
        """R: cells along a window's side."""
        return self.window // self.factor

    @property
    def name(self) -> str:
        """Ends the names of the pathway's layers: the feature without a slash, as of fire3/concat."""
        return self.feature.split("/")[0].removeprefix("relu_")


@dataclass(frozen=True)
class RegionNet:
    """One net.  `transpose`, `matrix`: which of the two operations of 4.3.3 its pathways have (Figure 4.4).  `scores`:
    whether a scoring pathway stands beside each.  `density`: every so many features are region centres (Table 4.2)."""

    name: str
    family: str
    levels: tuple[Level, ...]
    transpose: bool = True
    matrix: bool = True
    scores: bool = False
    density: int = 1
    data: str = "coco"
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def weights(self) -> str | None:
        """The file of the classifier that it starts from."""
        return {"vgg16": vgg16.WEIGHTS, "squeezenet": squeezenet.WEIGHTS, "small": small.WEIGHTS}[self.family]

    @property
    def mean(self) -> tuple[float, ...]:
        return {"vgg16": vgg16.MEAN, "squeezenet": squeezenet.MEAN, "small": small.MEAN}[self.family]

    def convolution(self, level: Level) -> str:
        """The first layer of a pathway."""
        return f"{'pairs' if self.transpose or self.matrix else 'regions'}_{level.name}"

    @property
    def matrices(self) -> list[str]:
        """The layers that start as the identity (`surgery.identity`): their nets begin as those without a matrix."""
        return [f"regions_{level.name}" for level in self.levels if self.matrix]


@dataclass(frozen=True)
class Pathway:
    """Where the regions of a level lie.  Region (y, x) of the blob `regions` (N x R*R x H x W) has its window from
    pixel (first + y * stride, first + x * stride) on, maybe negative; `score`: the blob of its scores, if any."""

    level: Level
    regions: str
    score: str | None
    first: int
    stride: int


# ---- Table 4.1 ----
VGG16 = (
    Level("relu2_2", 2, 5, 28, 2),
    Level("relu3_3", 4, 5, 56, 4),
    Level("relu4_3", 8, 9, 144, 8),
    Level("relu5_3", 16, 9, 288, 16),
    Level("drop6", 32, 9, 576, 32),
)
# The same idea with smaller kernels, for CPUs.  SqueezeNet's last stride is 16; a new layer on one more pooling has 32.
# Its features are 36, 26 and 2 in the mean of an image.
SQUEEZENET = (
    Level("fire3/concat", 4, 3, 40, 4, 1 / 32),
    Level("fire5/concat", 8, 3, 112, 8, 1 / 32),
    Level("fire9/concat", 16, 3, 224, 16, 1 / 2),
    Level("relu10_regions", 32, 3, 448, 32, 1 / 2),
)
SMALL = (
    Level("relu2_2", 2, 5, 28, 2),
    Level("relu3_2", 4, 5, 56, 4),
    Level("relu4_2", 8, 5, 112, 8),
)

ABLATION = {"plain": (False, False), "transpose": (True, False), "matrix": (False, True), "both": (True, True)}
"""Figure 4.4: (transpose, matrix) of the four nets of one pathway."""


def _family(family: str, levels: Sequence[Level], single: int, **options: Any) -> list[RegionNet]:
    """The nets on a backbone: all pathways; with scores; without both operations; the four of Figure 4.4 on pathway
    `single`; and those of lower density, named by their lowest stride (Table 4.2: 4, 6, 8 and 16 of a net with 2)."""
    whole = RegionNet(f"{family}-regions", family, tuple(levels), **options)
    alone = replace(whole, levels=(levels[single],))
    return [
        whole, replace(whole, name=f"{whole.name}-scored", scores=True),
        replace(whole, name=f"{whole.name}-convolution", transpose=False, matrix=False),
        replace(whole, name=f"{whole.name}-convolution-scored", transpose=False, matrix=False, scores=True),
        *(replace(alone, name=f"{family}-pathway-{name}", transpose=transpose, matrix=matrix)
          for name, (transpose, matrix) in ABLATION.items()),
        *(replace(whole, name=f"{whole.name}-stride{m * levels[0].stride}", density=m) for m in (2, 3, 4, 8)),
    ]


REGION_NETS: Mapping[str, RegionNet] = MappingProxyType({net.name: net for net in (
    *_family("vgg16", VGG16, 3),
    *_family("squeezenet", SQUEEZENET, 1),
    *_family("small", SMALL, 1, data="touching"),
)})
"""Region net by name."""

# 4.4.4: one image per step, momentum 0.99.  The thesis names no rate and no number of steps: these of VGG-16 are a
# guess, those of the others chosen by experiment.  The layers that give regions and scores (`score`) learn ten times as
# fast as new layers below them, a classifier's own (`base`) slower: at the full rate SqueezeNet's features went to 0.
_thesis = Training(base_lr=1e-4, max_iter=160000, momentum=0.99, weight_decay=5e-4, rates=Rates(base=0.02, score=10),
                   snapshot=10000)
TRAINING: Mapping[str, Training] = MappingProxyType({
    "vgg16": _thesis,
    "squeezenet": replace(_thesis, base_lr=2e-4, max_iter=2400, lr_policy="poly", solver=dict(power=0.9),
                          augment=dict(mirror=True), snapshot=200),
    "small": replace(_thesis, base_lr=1e-3, max_iter=800, lr_policy="poly", solver=dict(power=0.9),
                     rates=Rates(base=1, score=10), augment=dict(mirror=True), snapshot=400),
})
"""How the nets of a family are trained."""


def region_net(name: str) -> RegionNet:
    """The RegionNet `name`.  Raises `NetError` with the known names."""
    try:
        return REGION_NETS[name]
    except KeyError:
        raise NetError(f"no region net is called {name!r}", expected=f"one of {', '.join(REGION_NETS)}",
                       help="choose one of them") from None


def build_regions(
    name: str, phase_kind: str = "deploy", data: Mapping[str, Any] | None = None, *,
    shape: Sequence[int] = DEPLOY_SHAPE, frozen: bool = False,
) -> Any:
    """The `caffe_pb2.NetParameter` of a region net.

    "train" and "val" read `data`, dict(module=, layer=, param_str=) (None: the net's own data set), and end in a
    RegionLoss for each pathway, and a RegionScoreLoss where it has scores; "deploy" has an input blob of `shape` and
    ends in `regions_<level>` (logits) and `score_<level>`.  `frozen`: the classifier's layers do not learn.
    """
    net = region_net(name)
    if phase_kind not in PHASES:
        raise NetError("unknown kind of net", found=repr(phase_kind), expected=f"one of {PHASES}",
                       help="ask for train, val or deploy")
    n, traces = new_spec(), _features(net, shape)
    if phase_kind == "deploy":
        inputs(n, [Stream()], shape)
    else:
        source = data or dict(module="layers.instances", layer="InstanceDataLayer", param_str=dict(
            data=net.data, split=_SPLITS.get(net.data, {}).get(phase_kind, phase_kind)))
        augment = TRAINING[net.family].augment if phase_kind == "train" else {}
        parameters = {"mean": net.mean, "seed": 1337, **augment, **source["param_str"]}
        n.data, n.instances = L.Python(module=source["module"], layer=source["layer"], ntop=2,
                                       param_str=str(parameters))
    _trunk(n, net, 0.0 if frozen else TRAINING[net.family].rates.base)
    for level in net.levels:
        _pathway(n, net, level)
        if phase_kind != "deploy":
            _losses(n, _place(net, level, traces[level.feature]), net)
    built = n.to_proto()
    built.name = name
    return built


_SPLITS = {"coco": {"train": "train2014", "val": "val2014"}}   # the sets of the thesis (4.4.3)


def pathways(name: str) -> list[Pathway]:
    """Where the regions of a net lie, level by level."""
    net = region_net(name)
    traces = _features(net, DEPLOY_SHAPE)
    return [_place(net, level, traces[level.feature]) for level in net.levels]


def region_solver(name: str, train_net: str, snapshot_prefix: str, **overrides: Any) -> Any:
    """The `caffe_pb2.SolverParameter` that trains a region net; `overrides` sets any of its fields."""
    plan = TRAINING[region_net(name).family]
    return solver_parameter(plan, train_net, "", snapshot_prefix, **{"test_net": [], "test_iter": [], **overrides})


def _trunk(n: Any, net: RegionNet, rate: float) -> None:
    """The backbone up to the last feature layer that a pathway needs."""
    features = [level.feature for level in net.levels]
    if net.family == "vgg16":
        last = features[-1]
        until = last if last.startswith("drop") else f"pool{last[4]}"
        vgg16.trunk(n, Stream(), rate, pad=1, fc6_pad=3, until=until)
    elif net.family == "squeezenet":
        fires = [int(feature[4]) for feature in features if feature.startswith("fire")]
        top = squeezenet.trunk(n, rate, last=9 if "relu10_regions" in features else max(fires))
        if "relu10_regions" in features:
            n.pool9 = max_pool(top, kernel=3)
            n.conv10_regions, n.relu10_regions = conv_relu(n.pool9, 256, filler="msra")
    else:
        small.trunk(n, Stream(), rate, until=f"pool{features[-1][4]}", **net.options)


def _pathway(n: Any, net: RegionNet, level: Level) -> None:
    bottom, cells, rate = n[level.feature], level.side**2, TRAINING[net.family].rates.score
    if level.scale != 1:
        n[f"scaled_{level.name}"] = bottom = L.Power(bottom, scale=level.scale)
    operations = ["pairs", *["transposed"] * net.transpose, *["product"] * net.matrix]
    steps = [f"{operation}_{level.name}" for operation in (*operations[:-1], "regions")]   # the last are the regions
    stride = dict(stride=net.density) if net.density > 1 else {}
    first = {} if net.matrix else stride
    n[steps[0]] = top = L.Convolution(
        bottom, num_output=cells, kernel_size=level.kernel, pad=level.kernel // 2, param=weight_and_bias(rate),
        weight_filler=dict(type="gaussian", std=0.001), **first)
    if net.transpose:
        n[steps[1]] = top = L.Python(top, module="layers.pairwise", layer="PairwiseTranspose")
    if net.matrix:
        n[steps[-1]] = L.Convolution(top, num_output=cells, kernel_size=1, param=weight_and_bias(rate),
                                     weight_filler=dict(type="xavier"), **stride)
    if net.scores:
        # on the dual grid an even kernel, whose output has a place more, is centred as the regions are
        kernel = 2 if _dual(net, level) else 3
        n[f"hidden_{level.name}"], n[f"relu_hidden_{level.name}"] = conv_relu(
            bottom, 64, kernel=kernel, pad=1, stride=net.density, filler="msra")
        n[f"score_{level.name}"] = L.Convolution(
            n[f"relu_hidden_{level.name}"], num_output=1, kernel_size=1, param=weight_and_bias(rate),
            weight_filler=dict(type="gaussian", std=0.001), bias_filler=dict(type="constant", value=-6))


def _losses(n: Any, place: Pathway, net: RegionNet) -> None:
    level = place.level
    geometry = dict(window=level.window, stride=place.stride,
                    centre=place.first + level.window / 2)
    n[f"loss_{level.name}"] = L.Python(
        n[place.regions], n.instances, module="layers.region_loss", layer="RegionLoss", loss_weight=1,
        param_str=str({**geometry, "upsampling": level.factor}))
    if place.score:
        least = 0 if level is net.levels[0] else SCORED[0]
        most = 1 if level is net.levels[-1] else SCORED[1]
        n[f"score_loss_{level.name}"] = L.Python(
            n[place.score], n.instances, module="layers.region_score_loss", layer="RegionScoreLoss",
            loss_weight=0.05, param_str=str({**geometry, "least": least, "most": most}))


SCORED = (0.375, 0.75)
"""A region is to score high if its object's longer side is so much of its window: each object has one level."""


def _dual(net: RegionNet, level: Level) -> bool:
    return net.transpose and level.side % 2 == 0


def _features(net: RegionNet, shape: Sequence[int]) -> dict[str, Trace]:
    """Where the features of each layer of the backbone lie on the image, by its name."""
    n = new_spec()
    inputs(n, [Stream()], shape)
    _trunk(n, net, 1.0)
    built = n.to_proto()
    traces, _ = trace(built)
    return {layer.name: traces[layer.top[0]] for layer in built.layer}   # a ReLU in place has its bottom's blob


def _place(net: RegionNet, level: Level, feature: Trace) -> Pathway:
    whole = level.window % level.factor == 0 and (level.factor == level.stride or not net.transpose)
    if feature.stride != level.stride or not whole:
        raise NetError(f"the level on {level.feature} does not fit", found=f"features every {feature.stride} pixels",
                       expected=f"every {level.stride}; a window of whole cells; for a transposition cells of one step",
                       help="correct the Level")
    # pixel i reaches from i to i + 1, so a feature at pixel c is at c + 1/2; half pixels are rounded down
    centre = feature.centre + Fraction(1, 2) - (Fraction(level.stride, 2) if _dual(net, level) else 0)
    return Pathway(level, f"regions_{level.name}", f"score_{level.name}" if net.scores else None,
                   floor(centre - Fraction(level.window, 2)), level.stride * net.density)
