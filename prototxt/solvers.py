"""How each net is trained, as data: the thesis's recipe, the later "heavy" one, tuned ones for small nets.

`thesis` (3.3.5): 20 images per step, momentum 0.9, loss averaged over pixels, a fixed rate found by line
search, a hundredth of the last stage's rate for each skip (3.3.2), upsampling between skips learned (3.3.10).

`heavy`: the recipe of the FCN authors' later public models: one image per step, momentum 0.99, loss summed
over pixels (so rates look tiny), upsampling fixed.  A momentum of 0.99 averages over about 100 images, so it
takes the place of the batch (thesis, Figure 1.1).

`single`: the thesis's with one image per step and the momentum that 1.1.2 puts in the place of 20: 0.9^(1/20).

`tuned`: for SqueezeNet and the small net, of which the thesis knows nothing; chosen by experiment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from caffe.proto import caffe_pb2

from .common import Rates
from .errors import NetError
from .momentum import equivalent_momentum, equivalent_rate

_SOLVER_FIELDS = (
    "type", "display", "average_loss", "base_lr", "lr_policy", "momentum", "weight_decay", "iter_size",
    "max_iter", "snapshot",
)
NEVER = 999999999  # a test interval that leaves scoring to the tools


@dataclass(frozen=True)
class Training:
    """One net's training: the solver's numbers, and what the recipe decides inside the net.

    `normalize`: loss averaged (not summed) over pixels.  `rates`: learning-rate multipliers of the net's
    parts. `augment`: entries for the training data layer's param_str.  `options`: arguments of the family's
    `net`. `solver`: further fields of the SolverParameter, such as `power`.
    """

    base_lr: float
    max_iter: int
    type: str = "SGD"
    momentum: float = 0.9
    weight_decay: float = 5e-4
    iter_size: int = 1
    lr_policy: str = "fixed"
    normalize: bool = True
    rates: Rates = Rates()
    augment: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    solver: Mapping[str, Any] = field(default_factory=dict)
    display: int = 20
    average_loss: int = 20
    snapshot: int = 4000


# ---- thesis ----
# 175 epochs (3.3.1) of SBD's 8498 training images (3.3.7), 20 at a time, are 74358 steps; each skip took a
# third of the coarse net's time (3.3.6).
_COARSE_STEPS, _SKIP_STEPS = 75000, 25000

_thesis_vgg = Training(base_lr=1e-4, max_iter=_COARSE_STEPS, iter_size=20)
_thesis = {
    "fcn-alexnet": replace(_thesis_vgg, base_lr=1e-3),
    "fcn-googlenet": replace(_thesis_vgg, base_lr=5e-5),
    "fcn32s": _thesis_vgg,
    "fcn16s": replace(_thesis_vgg, base_lr=1e-6, max_iter=_SKIP_STEPS),
    "fcn8s": replace(_thesis_vgg, base_lr=1e-8, max_iter=_SKIP_STEPS),
    "fcn32s-fixed": replace(_thesis_vgg, rates=Rates(base=0)),
    # Not in the thesis: its coarse rate, with the skips scaled as in the authors' public net.
    "fcn8s-atonce": replace(_thesis_vgg, options=dict(scales=(0.01, 0.0001))),
    # 3.3.2: a skip's rate is a hundredth of the coarse net's; so are those of what it is compared with
    "fcn16s-pool4": replace(_thesis_vgg, base_lr=1e-6, max_iter=_SKIP_STEPS),
    "fcn16s-max": replace(_thesis_vgg, base_lr=1e-6, max_iter=_SKIP_STEPS),
    "fcn32s-lower-rate": replace(_thesis_vgg, base_lr=1e-6, max_iter=_SKIP_STEPS),
    "fcn16s-pool5": _thesis_vgg,
}


def with_batch(plan: Training, images: int) -> Training:
    """The training with `images` per step and the momentum and rate that 1.1.2 makes equivalent, over as many images.

    Raises NetError for what is no SGD at a fixed rate, or where a step is not a whole number of the data layer's
    batches.
    """
    at_once = plan.augment.get("batch", 1)
    if plan.type != "SGD" or plan.lr_policy != "fixed" or images % at_once or images < 1:
        raise NetError("no equivalent training", found=f"{plan.type}, {plan.lr_policy} rate, {images} images per step",
                       expected=f"SGD at a fixed rate, a multiple of {at_once} images",
                       help="the relation of thesis 1.1.2 is that of momentum")
    batch = plan.iter_size * at_once
    return replace(
        plan, iter_size=images // at_once, momentum=equivalent_momentum(plan.momentum, batch, images),
        base_lr=equivalent_rate(plan.base_lr, plan.momentum, batch, images),
        **{name: getattr(plan, name) * batch // images for name in ("max_iter", "snapshot", "display", "average_loss")},
    )


# ---- single ----
_single = {name: with_batch(_thesis[name], 1) for name in ("fcn32s", "fcn16s", "fcn8s")}

# ---- heavy ----
_heavy_vgg = Training(
    base_lr=1e-10, max_iter=100000, momentum=0.99, normalize=False, rates=Rates(upscore=0)
)
_heavy = {
    "fcn32s": _heavy_vgg,
    "fcn16s": replace(_heavy_vgg, base_lr=1e-12),
    "fcn8s": replace(_heavy_vgg, base_lr=1e-14),
    "fcn8s-atonce": replace(_heavy_vgg, max_iter=300000, options=dict(scales=(0.01, 0.0001))),
    # The authors published no heavy version of these three.  AlexNet: VGG's rate, as their public AlexNet has
    # the rate (normalised, 1e-4) that VGG has in the thesis.  GoogLeNet: half of VGG's, as in the thesis.
    "fcn32s-fixed": replace(_heavy_vgg, rates=Rates(base=0, upscore=0)),
    "fcn-alexnet": _heavy_vgg,
    "fcn-googlenet": replace(_heavy_vgg, base_lr=5e-11),
    # Nor of these: the rates of the nets they are compared with.
    "fcn16s-pool4": replace(_heavy_vgg, base_lr=1e-12),
    "fcn16s-max": replace(_heavy_vgg, base_lr=1e-12),
    "fcn32s-lower-rate": replace(_heavy_vgg, base_lr=1e-12),
    "fcn16s-pool5": _heavy_vgg,
}
# NYUDv2, SIFT Flow and PASCAL-Context: the thesis names no rates, the authors published heavy nets.
_heavy_long = replace(_heavy_vgg, max_iter=300000)
for _data in ("siftflow", "context"):
    for _stride, _rate in (("32", 1e-10), ("16", 1e-12), ("8", 1e-14)):
        _heavy[f"{_data}-fcn{_stride}s"] = replace(_heavy_long, base_lr=_rate)
for _net, _rate in (("32s-color", 1e-10), ("32s-color-d", 1e-10), ("32s-hha", 1e-10), ("32s-color-hha", 1e-12),
                    ("16s-color-hha", 1e-14)):   # the last is unpublished: a hundredth once more
    _heavy[f"nyud-fcn{_net}"] = replace(_heavy_long, base_lr=_rate)

# ---- tuned ----
_POLY = dict(power=0.9)

_squeezenet = Training(
    base_lr=1e-3,
    max_iter=5000,
    lr_policy="poly",
    solver=_POLY,
    augment=dict(batch=2, mirror=True, scale=(0.75, 1.5), crop=(288, 384)),
    options=dict(pad=1, dropout_ratio=0.5),
    snapshot=1000,
)
# Adam: from nothing, plain SGD needs as many steps again for the same 8s score.
_small = Training(
    type="Adam",
    base_lr=1e-3,
    max_iter=750,
    lr_policy="step",
    solver=dict(gamma=0.1, stepsize=525, momentum2=0.999, delta=1e-8),
    augment=dict(batch=4, mirror=True),
    options=dict(
        widths=(16, 32, 64, 96, 128), depths=(2, 2, 2, 2, 2), fc_width=256, pad=1, dropout_ratio=0.5,
        input_scale=1 / 64,
    ),
    snapshot=250,
)
_small_skip = replace(_small, max_iter=500, solver={**_small.solver, "stepsize": 350})
_tiny = replace(   # for the pictures of 64 x 64 of the drawn sets with depth, or with two kinds of labels
    _small, max_iter=200, augment=dict(batch=8, mirror=True), solver={**_small.solver, "stepsize": 150},
    options={**_small.options, "widths": (16, 24, 32, 48, 64), "depths": (1, 1, 1, 1, 1), "fc_width": 64}, snapshot=100,
)
_tuned = {
    "squeezenet-fcn16s": _squeezenet,
    "squeezenet-fcn16s-fixed": replace(_squeezenet, max_iter=2500, rates=Rates(base=0)),
    "squeezenet-fcn8s": replace(_squeezenet, base_lr=7e-4, max_iter=2500),
    "squeezenet-fcn4s": replace(_squeezenet, base_lr=1e-4, max_iter=1000),
    "small-fcn32s": _small,
    "small-fcn16s": _small_skip,
    "small-fcn8s": _small_skip,
    "small-fcn16s-pool4": _small_skip,
    "small-fcn16s-max": _small_skip,
    "small-fcn32s-lower-rate": replace(_small_skip, base_lr=1e-5),
    "solids-fcn8s-color": _tiny,
    "solids-fcn8s-color-d": _tiny,
    "solids-fcn8s-hha": _tiny,
    "solids-fcn8s-color-hha": replace(_tiny, max_iter=100, solver={**_small.solver, "stepsize": 75}),
    "landscapes-fcn8s": _tiny,
}

RECIPES: Mapping[str, Mapping[str, Training]] = MappingProxyType(
    {"thesis": _thesis, "heavy": _heavy, "single": _single, "tuned": _tuned}
)
"""Recipe name -> net name -> Training."""


def recipes_of(name: str) -> list[str]:
    """The recipes that the net `name` has, its usual one first."""
    return [recipe for recipe, nets in RECIPES.items() if name in nets]


def training(name: str, recipe: str | None = None) -> Training:
    """The training of the net `name` by `recipe` (None: its usual one).  Raises `NetError` without."""
    available = recipes_of(name)
    recipe = recipe or next(iter(available), None)
    if recipe is None or recipe not in available:
        raise NetError(
            f"no recipe for net {name!r}", found=repr(recipe), expected=f"one of {available}",
            help="choose a net of prototxt.NETS and one of its recipes",
        )
    return RECIPES[recipe][name]


def solver_parameter(
    plan: Training, train_net: str, val_net: str, snapshot_prefix: str, **overrides: Any
) -> Any:
    """The `caffe_pb2.SolverParameter` of a training; `overrides` sets its fields (lists where repeated).

    The val net is built but never run by the solver itself: scoring is done on whole data sets, between
    stages. Raises `NetError` for a field that SolverParameter does not have.
    """
    values: dict[str, Any] = dict(
        train_net=train_net, test_net=[val_net], test_iter=[1], test_interval=NEVER,
        test_initialization=False, snapshot_prefix=snapshot_prefix, random_seed=1337,
        **{name: getattr(plan, name) for name in _SOLVER_FIELDS}, **plan.solver,
    )
    values.update(overrides)
    known = caffe_pb2.SolverParameter.DESCRIPTOR.fields_by_name
    for key in values:
        if key not in known:
            raise NetError(
                f"SolverParameter has no field {key!r}", expected=f"one of {sorted(known)}",
                help="check the spelling of the override",
            )
    return caffe_pb2.SolverParameter(**values)
