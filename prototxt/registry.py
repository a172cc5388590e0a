"""Every net by name, and the two functions that make its files: `build` (a net) and `solver`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType, ModuleType
from typing import Any

from . import alexnet, common, googlenet, small, solvers, squeezenet, vgg16
from .errors import NetError

PHASES = ("train", "val", "deploy")
DEPLOY_SHAPE = (1, 3, 500, 500)

FAMILIES: Mapping[str, ModuleType] = MappingProxyType(
    dict(vgg16=vgg16, alexnet=alexnet, googlenet=googlenet, squeezenet=squeezenet, small=small)
)


@dataclass(frozen=True)
class Parts:
    """Layers by what happens to them before training: `scores` stay at 0, `upscores` become bilinear kernels.

    All other layers get their weights from the last stage, from the classifier, or (small nets) from a filler.
    """

    scores: tuple[str, ...]
    upscores: tuple[str, ...]


@dataclass(frozen=True)
class Recipe:
    """One net and how to come by it.

    `family`: its key in `FAMILIES`.  `stages`: (net name, strides predicted from) of every net trained on the
    way, itself last; each starts from the one before.  `data`: its key in `DATA`, for `classes` classes.
    `weights`: the file of the classifier that the first stage starts from (None: from nothing).  `parts`: its
    layers by their initialisation.
    """

    family: str
    stages: tuple[tuple[str, tuple[int, ...]], ...]
    data: str
    classes: int
    weights: str | None
    parts: Parts

    @property
    def strides(self) -> tuple[int, ...]:
        """The strides this net predicts from, coarsest first."""
        return self.stages[-1][1]


@dataclass(frozen=True)
class DataSet:
    """A default data set: its classes, number of validation images, and data layer for each phase."""

    classes: int
    val_images: int
    train: Mapping[str, Any]
    val: Mapping[str, Any]


def _voc_layout(name: str) -> dict[str, Mapping[str, Any]]:
    """Train and val data layers of a set that `data` knows by name."""
    layer = dict(module="layers.segdata", layer="SegDataLayer")
    return {split: dict(layer, param_str=dict(data=name, split=split)) for split in ("train", "val")}


DATA: Mapping[str, DataSet] = MappingProxyType(
    {
        # Trained on SBD, scored on the VOC 2011 val images that are not in it (thesis 3.3.7).
        "voc": DataSet(
            21,
            736,
            train=dict(
                module="layers.segdata", layer="SBDDSegDataLayer",
                param_str=dict(sbdd_dir="data/sbd", split="train"),
            ),
            val=dict(
                module="layers.segdata", layer="VOCSegDataLayer",
                param_str=dict(voc_dir="data/voc2011", split="seg11valid"),
            ),
        ),
        "camvid": DataSet(11, 101, **_voc_layout("camvid")),
        "shapes": DataSet(7, 60, **_voc_layout("shapes")),
    }
)

_SKIP_NAMES = {
    "vgg16": ("pool4", "pool3"),
    "small": ("pool4", "pool3"),
    "squeezenet": ("fire5", "fire3"),
}


def _recipe(family: str, data: str, stages: Sequence[tuple[str, tuple[int, ...]]]) -> Recipe:
    strides = stages[-1][1]
    skips = _SKIP_NAMES.get(family, ())[: len(strides) - 1]
    between = ("upscore2", *(f"upscore_{name}" for name in skips))[: len(skips)]
    last = f"upscore{strides[-1]}" if skips else "upscore"
    return Recipe(
        family, tuple(stages), data, DATA[data].classes, FAMILIES[family].WEIGHTS,
        Parts(("score_fr", *(f"score_{name}" for name in skips)), (*between, last)),
    )


def _in_stages(family: str, data: str, *stages: tuple[str, tuple[int, ...]]) -> dict[str, Recipe]:
    """A recipe for each stage, each with the stages before it."""
    return {stages[i][0]: _recipe(family, data, stages[: i + 1]) for i in range(len(stages))}


NETS: Mapping[str, Recipe] = MappingProxyType(
    {
        **_in_stages("vgg16", "voc", ("fcn32s", (32,)), ("fcn16s", (32, 16)), ("fcn8s", (32, 16, 8))),
        **_in_stages("vgg16", "voc", ("fcn32s-fixed", (32,))),
        **_in_stages("vgg16", "voc", ("fcn8s-atonce", (32, 16, 8))),
        **_in_stages("alexnet", "voc", ("fcn-alexnet", (32,))),
        **_in_stages("googlenet", "voc", ("fcn-googlenet", (32,))),
        **_in_stages(
            "squeezenet", "camvid",
            ("squeezenet-fcn16s", (16,)), ("squeezenet-fcn8s", (16, 8)), ("squeezenet-fcn4s", (16, 8, 4)),
        ),
        **_in_stages(
            "small", "shapes",
            ("small-fcn32s", (32,)), ("small-fcn16s", (32, 16)), ("small-fcn8s", (32, 16, 8)),
        ),
    }
)
"""Net name -> Recipe."""


def recipe_of(name: str) -> Recipe:
    """The Recipe of the net `name`.  Raises `NetError` with the known names."""
    try:
        return NETS[name]
    except KeyError:
        raise NetError(
            f"no net is called {name!r}", expected=f"one of {', '.join(NETS)}", help="choose one of these names"
        ) from None


def build(
    name: str, phase_kind: str = "deploy", classes: int | None = None, data: Mapping[str, Any] | None = None,
    recipe: str | None = None, *, shape: Sequence[int] = DEPLOY_SHAPE, **options: Any,
) -> Any:
    """The `caffe_pb2.NetParameter` of a net.

    `phase_kind`: "train" and "val" read from a data layer and end in `loss`, "deploy" has an input blob `data`
    of `shape` (N x 3 x H x W) and ends in `score` (N x classes x H x W).  `classes` and `data` default to the
    net's own data set; `data` is dict(module=, layer=, param_str=): a dict as param_str is completed with the
    family's mean, a seed, and for training the recipe's augmentation, a string is used as it is.  `recipe` is
    one of `solvers.recipes_of(name)` (None: the first); `options` go to the family's `net`, over the recipe's.
    Raises `NetError` for an unknown net, phase or recipe.
    """
    entry = recipe_of(name)
    plan = solvers.training(name, recipe)
    family = FAMILIES[entry.family]
    if phase_kind not in PHASES:
        raise NetError(
            "unknown kind of net", found=repr(phase_kind), expected=f"one of {PHASES}",
            help="ask for train, val or deploy",
        )
    n = common.new_spec()
    if phase_kind == "deploy":
        common.image_input(n, shape)
    else:
        source = data or getattr(DATA[entry.data], phase_kind)
        parameters = source["param_str"]
        if not isinstance(parameters, str):
            augment = plan.augment if phase_kind == "train" else {}
            parameters = {"mean": family.MEAN, "seed": 1337, **augment, **parameters}
        common.python_data(n, source["module"], source["layer"], parameters)
    family.net(n, entry.strides, classes or entry.classes, plan.rates, **{**plan.options, **options})
    if phase_kind != "deploy":
        common.loss(n, plan.normalize)
    net = n.to_proto()
    net.name = name
    return net


def solver(
    name: str, recipe: str | None, train_net: str, val_net: str, snapshot_prefix: str, **overrides: Any
) -> Any:
    """The `caffe_pb2.SolverParameter` that trains a net by a recipe (None: its usual one).

    `train_net` and `val_net` are paths of prototxts from `build`; `overrides` sets any field of SolverParameter,
    for instance max_iter.  Raises `NetError` for an unknown net, recipe or field.
    """
    values: dict[str, Any] = dict(test_iter=[DATA[recipe_of(name).data].val_images])
    values.update(overrides)
    return solvers.solver_parameter(solvers.training(name, recipe), train_net, val_net, snapshot_prefix, **values)
