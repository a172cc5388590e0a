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

    All other layers get their weights from the last stage, from the classifier, or (small nets) from a
    filler.
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
    """A default data set: its number of classes and of validation images."""

    classes: int
    val_images: int


DATA: Mapping[str, DataSet] = MappingProxyType(
    {
        # Trained on SBD, scored on the VOC 2011 val images that are not in it (thesis 3.3.7).
        "seg11valid": DataSet(21, 736),
        "camvid": DataSet(11, 101),
        "shapes": DataSet(7, 60),
    }
)
"""Default data sets, by the names that `data.open_dataset` knows."""


def data_layer(data: str, split: str) -> dict[str, Any]:
    """The data layer, as `build` takes it, of a set in VOC layout: `data` is a name or folder."""
    return dict(module="layers.segdata", layer="SegDataLayer", param_str=dict(data=data, split=split))


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
        **_in_stages("vgg16", "seg11valid", ("fcn32s", (32,)), ("fcn16s", (32, 16)), ("fcn8s", (32, 16, 8))),
        **_in_stages("vgg16", "seg11valid", ("fcn32s-fixed", (32,))),
        **_in_stages("vgg16", "seg11valid", ("fcn8s-atonce", (32, 16, 8))),
        **_in_stages("alexnet", "seg11valid", ("fcn-alexnet", (32,))),
        **_in_stages("googlenet", "seg11valid", ("fcn-googlenet", (32,))),
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
            f"no net is called {name!r}", expected=f"one of {', '.join(NETS)}", help="choose one of them"
        ) from None


def build(
    name: str, phase_kind: str = "deploy", classes: int | None = None, data: Mapping[str, Any] | None = None,
    recipe: str | None = None, *, shape: Sequence[int] = DEPLOY_SHAPE, **options: Any,
) -> Any:
    """The `caffe_pb2.NetParameter` of a net.

    `phase_kind`: "train" and "val" read from a data layer and end in `loss`, "deploy" has an input blob
    `data` of `shape` (N x 3 x H x W) and ends in `score` (N x classes x H x W).  `classes` and `data` default
    to the net's own data set; `data` is dict(module=, layer=, param_str=): a dict as param_str is completed
    with the family's mean, a seed, and for training the recipe's augmentation, a string is used as it is.
    `recipe` is one of `solvers.recipes_of(name)` (None: the first); `options` go to the family's `net`, over
    the recipe's. Raises `NetError` for an unknown net, phase or recipe.
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
        source = data or data_layer(entry.data, phase_kind)
        parameters = source["param_str"]
        if not isinstance(parameters, str):
            completed = {"mean": family.MEAN, "seed": 1337, **(plan.augment if phase_kind == "train" else {})}
            missing = {key: value for key, value in completed.items() if key not in parameters}
            parameters = {**parameters, **missing}
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

    `train_net` and `val_net` are paths of prototxts from `build`; `overrides` sets any field of
    SolverParameter, for instance max_iter.  Raises `NetError` for an unknown net, recipe or field.
    """
    images = DATA[recipe_of(name).data].val_images
    plan = solvers.training(name, recipe)
    return solvers.solver_parameter(
        plan, train_net, val_net, snapshot_prefix, **{"test_iter": [images], **overrides}
    )
