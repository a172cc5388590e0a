"""Every net by name, and the two functions that make its files: `build` (a net) and `solver`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType, ModuleType
from typing import Any

from . import alexnet, common, googlenet, small, solvers, squeezenet, vgg16
from .common import Design, Head, Stream
from .errors import NetError

PHASES = ("train", "val", "deploy")
DEPLOY_SHAPE = (1, 3, 500, 500)

FAMILIES: Mapping[str, ModuleType] = MappingProxyType(
    dict(vgg16=vgg16, alexnet=alexnet, googlenet=googlenet, squeezenet=squeezenet, small=small)
)


@dataclass(frozen=True)
class Parts:
    """Layers by what happens to them before training: `scores` stay at 0, `upscores` become bilinear kernels.

    All other layers get their weights from the last stage, from the classifier, or (small nets) from a
    filler.
    """

    scores: tuple[str, ...]
    upscores: tuple[str, ...]


@dataclass(frozen=True)
class Start:
    """Weights a stage starts from: those of the net `net` (None: of the classifier).

    Their layers are named with `suffix` added in the stage, as the streams of a late fusion are.
    """

    net: str | None = None
    suffix: str = ""


@dataclass(frozen=True)
class DataSet:
    """A default data set: what its labels name, how many validation images, its splits, and means (BGR).

    `means`: of each top of its data layer; where there is none the family's mean is subtracted.
    """

    heads: tuple[Head, ...]
    val_images: int
    train: str = "train"
    val: str = "val"
    means: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


DATA: Mapping[str, DataSet] = MappingProxyType(
    {
        # Trained on SBD, scored on the VOC 2011 val images that are not in it (thesis 3.3.7).
        "seg11valid": DataSet((Head(21),), 736),
        # 795 training and 654 test images, 40 classes (3.4.2); means and log of depth as in the public nets.
        "nyud": DataSet((Head(40),), 654, "trainval", "test", {
            "color": (116.190, 97.203, 92.318), "hha": (132.431, 94.076, 118.477), "depth": (7.844,)}),
        # 33 semantic and 3 geometric classes, 200 test images (3.4.2)
        "siftflow": DataSet((Head(33, "sem", "_sem"), Head(3, "geo", "_geo")), 200, "trainval", "test",
                            {"data": (114.578, 115.294, 108.353)}),
        # 59 classes and background (3.6), val of VOC 2010
        "context": DataSet((Head(60),), 5105),
        "camvid": DataSet((Head(11),), 101),
        "shapes": DataSet((Head(7),), 60),
        "solids": DataSet((Head(4),), 60, "trainval", "test", {
            "color": (127.0, 127.0, 127.0), "hha": (156.0, 35.0, 38.0), "depth": (7.601,)}),
        "landscapes": DataSet((Head(5, "sem", "_sem"), Head(3, "geo", "_geo")), 60, "trainval", "test"),
    }
)
"""Default data sets, by the names that `data.open_dataset` knows."""


@dataclass(frozen=True)
class Recipe:
    """One net and how to come by it.

    `family`: its key in `FAMILIES`.  `data`: its key in `DATA`.  `strides`: those it predicts from, coarsest
    first. `starts`: what its weights come from.  `weights`: the file of its family's classifier (None: it
    starts from nothing).  `streams`: its inputs.  `options`: arguments of the family's `net`.  `grown`: layers
    that take the weights of a smaller layer, {layer: layer of the start} (`surgery.grow`).
    """

    name: str
    family: str
    data: str
    strides: tuple[int, ...]
    starts: tuple[Start, ...] = (Start(),)
    streams: tuple[Stream, ...] = (Stream(),)
    options: Mapping[str, Any] = field(default_factory=dict)
    grown: Mapping[str, str] = field(default_factory=dict)

    @property
    def weights(self) -> str | None:
        return FAMILIES[self.family].WEIGHTS

    @property
    def heads(self) -> tuple[Head, ...]:
        """The tasks of its data set."""
        return DATA[self.data].heads

    @property
    def stages(self) -> tuple[str, ...]:
        """Every net trained on the way, in order, itself last."""
        before = [stage for start in self.starts if start.net for stage in NETS[start.net].stages]
        return (*dict.fromkeys(before), self.name)

    @cached_property
    def parts(self) -> Parts:
        """Its layers by their initialisation."""
        layers = build(self.name).layer
        return Parts(
            tuple(x.name for x in layers if x.type == "Convolution" and x.name.startswith("score_")),
            tuple(x.name for x in layers if x.type == "Deconvolution"),
        )


def data_layer(data: str, phase_kind: str) -> dict[str, Any]:
    """The data layer, as `build` takes it, of a data set: `data` is a name or folder, for "train" or "val"."""
    split = getattr(DATA[data], phase_kind) if data in DATA else phase_kind
    return dict(module="layers.segdata", layer="SegDataLayer", param_str=dict(data=data, split=split))


COLOR = Stream(("color",))
DEPTH = Stream(("color", "depth"))
HHA = Stream(("hha",))
COLOR_HHA = (Stream(("color",), "color", "color"), Stream(("hha",), "hha", "hha"))


def _chain(family: str, data: str, *nets: tuple[str, tuple[int, ...]]) -> list[Recipe]:
    """Nets of which each starts from the one before."""
    starts = [Start(), *(Start(name) for name, _ in nets)]
    return [Recipe(name, family, data, strides, (start,))
            for (name, strides), start in zip(nets, starts, strict=False)]


_RECIPES = (
    *_chain("vgg16", "seg11valid", ("fcn32s", (32,)), ("fcn16s", (32, 16)), ("fcn8s", (32, 16, 8))),
    Recipe("fcn32s-fixed", "vgg16", "seg11valid", (32,)),
    Recipe("fcn8s-atonce", "vgg16", "seg11valid", (32, 16, 8)),
    Recipe("fcn-alexnet", "alexnet", "seg11valid", (32,)),
    Recipe("fcn-googlenet", "googlenet", "seg11valid", (32,)),
    # what the text compares the skips with (3.3.2, 3.3.3)
    Recipe("fcn16s-pool4", "vgg16", "seg11valid", (16,), (Start("fcn32s"),), options=dict(pool4_alone=True)),
    Recipe("fcn16s-max", "vgg16", "seg11valid", (32, 16), (Start("fcn32s"),), options=dict(max_fusion=True)),
    Recipe("fcn32s-lower-rate", "vgg16", "seg11valid", (32,), (Start("fcn32s"),)),
    Recipe("fcn16s-pool5", "vgg16", "seg11valid", (16,), grown={"fc6": "fc6"},   # a pad of 100 does not cover the image
           options=dict(pad=105, pool5_stride=1, fc6_kernel=14)),
    # 3.4.2
    Recipe("nyud-fcn32s-color", "vgg16", "nyud", (32,), streams=(COLOR,)),
    Recipe("nyud-fcn32s-color-d", "vgg16", "nyud", (32,), streams=(DEPTH,), grown={"conv1_1_bgrd": "conv1_1"}),
    Recipe("nyud-fcn32s-hha", "vgg16", "nyud", (32,), streams=(HHA,)),
    Recipe("nyud-fcn32s-color-hha", "vgg16", "nyud", (32,),
           (Start("nyud-fcn32s-color", "color"), Start("nyud-fcn32s-hha", "hha")), COLOR_HHA),
    Recipe("nyud-fcn16s-color-hha", "vgg16", "nyud", (32, 16), (Start("nyud-fcn32s-color-hha"),), COLOR_HHA),
    *_chain("vgg16", "siftflow", ("siftflow-fcn32s", (32,)), ("siftflow-fcn16s", (32, 16)),
            ("siftflow-fcn8s", (32, 16, 8))),
    # 3.6
    *_chain("vgg16", "context", ("context-fcn32s", (32,)), ("context-fcn16s", (32, 16)),
            ("context-fcn8s", (32, 16, 8))),
    *_chain("squeezenet", "camvid", ("squeezenet-fcn16s", (16,)), ("squeezenet-fcn8s", (16, 8)),
            ("squeezenet-fcn4s", (16, 8, 4))),
    Recipe("squeezenet-fcn16s-fixed", "squeezenet", "camvid", (16,)),
    *_chain("small", "shapes", ("small-fcn32s", (32,)), ("small-fcn16s", (32, 16)), ("small-fcn8s", (32, 16, 8))),
    Recipe("small-fcn16s-pool4", "small", "shapes", (16,), (Start("small-fcn32s"),), options=dict(pool4_alone=True)),
    Recipe("small-fcn16s-max", "small", "shapes", (32, 16), (Start("small-fcn32s"),), options=dict(max_fusion=True)),
    Recipe("small-fcn32s-lower-rate", "small", "shapes", (32,), (Start("small-fcn32s"),)),
    # late fusion and two heads in small, on the drawn sets
    Recipe("solids-fcn8s-color", "small", "solids", (32, 16, 8), streams=(COLOR,)),
    Recipe("solids-fcn8s-color-d", "small", "solids", (32, 16, 8), streams=(DEPTH,)),
    Recipe("solids-fcn8s-hha", "small", "solids", (32, 16, 8), streams=(HHA,)),
    Recipe("solids-fcn8s-color-hha", "small", "solids", (32, 16, 8),
           (Start("solids-fcn8s-color", "color"), Start("solids-fcn8s-hha", "hha")), COLOR_HHA),
    Recipe("landscapes-fcn8s", "small", "landscapes", (32, 16, 8)),
)
NETS: Mapping[str, Recipe] = MappingProxyType({recipe.name: recipe for recipe in _RECIPES})
"""Net name -> Recipe."""


def recipe_of(name: str) -> Recipe:
    """The Recipe of the net `name`.  Raises `NetError` with the known names."""
    try:
        return NETS[name]
    except KeyError:
        raise NetError(
            f"no net is called {name!r}", expected=f"one of {', '.join(NETS)}", help="choose one of them"
        ) from None


def build(
    name: str, phase_kind: str = "deploy", classes: int | Sequence[int] | None = None,
    data: Mapping[str, Any] | None = None, recipe: str | None = None, *, shape: Sequence[int] = DEPLOY_SHAPE,
    **options: Any,
) -> Any:
    """The `caffe_pb2.NetParameter` of a net.

    `phase_kind`: "train" and "val" read from a data layer and end in a loss for each head, "deploy" has an
    input blob of `shape` (N x 3 x H x W; depth has one channel) for each stream and ends in `score` (N x
    classes x H x W).  `classes` (of each head) and `data` default to the net's own data set; `data` is
    dict(module=, layer=, param_str=): a dict as param_str is completed with the tops, means, a seed, and for
    training the recipe's augmentation, a string is used as it is. `recipe` is one of `solvers.recipes_of(name)`
    (None: the first); `options` go to the family's `net`, over the recipe's. Raises `NetError` for an unknown
    net, phase or recipe.
    """
    entry = recipe_of(name)
    plan = solvers.training(name, recipe)
    if phase_kind not in PHASES:
        raise NetError(
            "unknown kind of net", found=repr(phase_kind), expected=f"one of {PHASES}",
            help="ask for train, val or deploy",
        )
    heads = _with_classes(entry, classes)
    n = common.new_spec()
    if phase_kind == "deploy":
        common.inputs(n, entry.streams, shape)
    else:
        source = data or data_layer(entry.data, phase_kind)
        parameters = source["param_str"]
        if not isinstance(parameters, str):
            completed = {**_tops(entry), "seed": 1337, **(plan.augment if phase_kind == "train" else {})}
            parameters = {**parameters, **{k: v for k, v in completed.items() if k not in parameters}}
        common.python_data(n, entry.streams, heads, source["module"], source["layer"], parameters)
    design = Design(entry.strides, heads, entry.streams)
    FAMILIES[entry.family].net(n, design, plan.rates, **{**entry.options, **plan.options, **options})
    if phase_kind != "deploy":
        common.losses(n, heads, plan.normalize)
    net = n.to_proto()
    net.name = name
    return net


def _with_classes(entry: Recipe, classes: int | Sequence[int] | None) -> tuple[Head, ...]:
    counts = [head.classes for head in entry.heads] if classes is None else (
        [classes] if isinstance(classes, int) else list(classes))
    if len(counts) != len(entry.heads):
        raise NetError(
            f"net {entry.name!r} has {len(entry.heads)} heads", found=f"classes for {len(counts)}",
            help="give as many numbers of classes",
        )
    return tuple(replace(head, classes=count) for head, count in zip(entry.heads, counts, strict=True))


def feeds(name: str) -> dict[str, tuple[str, tuple[float, ...]]]:
    """What the inputs of a deploy net take: {blob: (top of the data set, its mean per channel)}."""
    entry = recipe_of(name)
    means = DATA[entry.data].means
    return {blob: (top, tuple(means.get(top, FAMILIES[entry.family].MEAN)))
            for top, blob in common.data_tops(entry.streams).items()}


def _tops(entry: Recipe) -> dict[str, Any]:
    """What a data layer's param_str says of its tops: `mean`, and `tops` where they are not image and labels."""
    means = dict(feeds(entry.name).values())
    mean: Any = next(iter(means.values())) if len(means) == 1 else means
    labels = [head.label for head in entry.heads]
    usual = (list(means), labels) == (["data"], ["label"])
    return {"mean": mean} if usual else {"mean": mean, "tops": [*means, *labels]}


def solver(
    name: str, recipe: str | None, train_net: str, val_net: str, snapshot_prefix: str, **overrides: Any
) -> Any:
    """The `caffe_pb2.SolverParameter` that trains a net by a recipe (None: its usual one).

    `train_net` and `val_net` are paths of prototxts from `build`; `overrides` sets any field of
    SolverParameter, for instance max_iter.  Raises `NetError` for an unknown net, recipe or field.
    """
    images = DATA[recipe_of(name).data].val_images
    plan = solvers.training(name, recipe)
    return solvers.solver_parameter(
        plan, train_net, val_net, snapshot_prefix, **{"test_iter": [images], **overrides}
    )
