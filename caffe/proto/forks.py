"""What Caffe's forks have and this engine has not: hints without effect (said once), refused settings and layer types.

Their fields are in `caffe.proto`, so that the forks' prototxts can be read, edited and drawn whatever they ask for.
When a net or solver is built, `check` looks at what is set: nothing is ignored in silence, and a value that is the
fork's default never matters.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

from ..errors import CaffeError, LayerError

log = logging.getLogger("caffe")

# why it has no effect -> fields, as Message.field
_HINTS = {
    "numbers are float32 here": (
        "LayerParameter.forward_type LayerParameter.backward_type LayerParameter.forward_math "
        "LayerParameter.backward_math NetParameter.default_forward_type NetParameter.default_backward_type "
        "NetParameter.default_forward_math NetParameter.default_backward_math SolverParameter.solver_data_type"),
    "it protects float16 gradients, which are float32 here": (
        "NetParameter.global_grad_scale NetParameter.global_grad_scale_adaptive"),
    "PyTorch chooses the algorithms": (
        "LayerParameter.cudnn_math_override NetParameter.default_cudnn_math_override BatchNormParameter.engine "
        "NetParameter.default_conv_algos_override ConvolutionParameter.conv_algos_override "
        "ConvolutionParameter.cudnn_convolution_algo_seeker DropoutParameter.engine BNParameter.engine"),
    "memory and devices are the engine's own affair": (
        "NetParameter.eltwise_mem_sharing NetParameter.reduce_buckets TransformationParameter.use_gpu_transform "
        "TransformationParameter.forward_packing"),
    "one thread reads ahead, from the system's own cache": (
        "DataParameter.threads DataParameter.parser_threads DataParameter.cache DataParameter.precache "
        "ImageDataParameter.threads ImageDataParameter.cache ImageDataParameter.precache"),
    "the solver's random_seed is the only one": (
        "TransformationParameter.random_seed DropoutParameter.random_seed"),
    "files are always BVLC Caffe's": "SolverParameter.store_blobs_in_old_format",
    "debug_info of the net or solver says more": "LayerParameter.debug RecurrentParameter.debug_info",
    "it only shows images": "TransformationParameter.display",
    "it serves a policy that is not asked for": (
        "SolverParameter.plateau_winsize SolverParameter.larc_policy SolverParameter.larc_eta "
        "SolverParameter.larc_turbo SolverParameter.max_momentum SolverParameter.momentum_power "
        "SolverParameter.weight_decay_power SolverParameter.max_weight_decay SolverParameter.ap_version "
        "SolverParameter.show_per_class_result"),
}
NO_EFFECT = {field: why for why, fields in _HINTS.items() for field in fields.split()}

_AUGMENT = "do it when the database is made, or in a Python layer"
# what it would change, so that training or testing would not be the fork's -> what to do
REFUSED = {
    "SolverParameter.larc": "remove larc and choose base_lr for plain SGD",
    "SolverParameter.momentum_policy": "only \"fixed\": remove it",
    "SolverParameter.weight_decay_policy": "only \"fixed\": remove it",
    "SolverParameter.test_and_snapshot_last_epochs": "set test_interval and snapshot instead",
    "SolverParameter.eval_type": "only \"classification\": evaluate detections by a program of your own",
    "DataParameter.shuffle": "shuffle when the database is made (convert_imageset --shuffle), and remove it",
    "ImageDataParameter.short_side": "resize the images before, or set new_height and new_width",
    "ImageDataParameter.dataset_share_per_node": "shorten the list instead",
    "DropoutParameter.scale_train": "remove it: training divides by 1 - dropout_ratio instead, so convert the weights",
    "LossParameter.label_smoothing": "remove it to train on the labels as they are",
    "ELUParameter.lambda": "multiply by a Power layer instead",
    **{f"TransformationParameter.{name}": _AUGMENT for name in (
        "resize_param noise_param emit_constraint distort_param expand_param crop_h crop_w img_rand_resize_lower "
        "img_rand_resize_upper rand_resize_ratio_lower rand_resize_ratio_upper vertical_stretch_lower "
        "vertical_stretch_upper horizontal_stretch_lower horizontal_stretch_upper interpolation_algo_down "
        "interpolation_algo_up allow_upscale num_labels").split()},
}

# layer types whose fields are in `caffe.proto`, but that are not here: what each does, and what to do
ABSENT_TYPES = {
    "AnnotatedData": ("SSD's reader of images with boxes", "feed images and boxes by a Python or Input layer"),
    "VideoData": ("SSD's reader of videos", "feed frames by an Input layer"),
    "DetectionEvaluate": ("SSD's count of true and false positives", "evaluate DetectionOutput's top by a program"),
}


def check(message: Any, where: str = "", layer: str | None = None, said: set[str] | None = None,
          error: type[CaffeError] = LayerError) -> None:
    """Say once which fields set in `message`, and in those inside it, have no effect; raise `error` for a refused one.

    `where` is the file, or "file:line", that the message comes from; `said` the fields already mentioned, to share
    between the layers of a net. Layers inside a net and weights are left out.
    """
    said = set() if said is None else said
    for field, value in message.ListFields():
        name = f"{message.DESCRIPTOR.name}.{field.name}"
        repeated = hasattr(value, "extend")
        if field.message_type is None and not repeated and value == field.default_value:
            continue
        if name in REFUSED:
            raise error(f"{field.name} of a fork of Caffe is not implemented, and would change the result",
                        file=_line(where, field.name), layer=layer, help=REFUSED[name])
        if name in NO_EFFECT:
            if name not in said:
                said.add(name)
                log.warning("%s%s: %s has no effect: %s", _line(where, field.name) or "net",
                            f": layer '{layer}'" if layer else "", field.name, NO_EFFECT[name])
        elif field.message_type is not None and field.message_type.name not in ("LayerParameter", "V1LayerParameter",
                                                                               "NetParameter", "BlobProto"):
            for part in value if repeated else [value]:
                check(part, where, layer, said, error)


def _line(where: str, field: str) -> str | None:
    """`where` with the line of the first use of `field` in that file, unless it names a line or is no file."""
    if where and Path(where).is_file():
        rows = Path(where).read_text(encoding="utf-8", errors="replace").splitlines()
        for number, row in enumerate(rows, 1):
            if re.match(rf"[^#]*\b{field}\s*[:{{]", row):
                return f"{where}:{number}"
    return where or None
