"""What is odd in a solver: settings its type or policy does not read, and a base_lr that does not suit the loss."""
from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..proto import caffe_pb2, text
from ..proto.netfilter import of_phase
from .geometry import Graph
from .lint import Finding, Lines, lint_net

_BY_TYPE = {   # a setting, and the solver types that read it
    "momentum2": ("Adam",), "rms_decay": ("RMSProp",), "delta": ("AdaGrad", "RMSProp", "AdaDelta", "Adam"),
}
_BY_POLICY = {   # a setting, and the lr policies that read it
    "gamma": ("step", "exp", "inv", "multistep", "sigmoid"), "power": ("inv", "poly"),
    "stepsize": ("step", "sigmoid"), "stepvalue": ("multistep",),
}
_SPATIAL_LOSSES = ("SoftmaxWithLoss", "SigmoidCrossEntropyLoss", "InfogainLoss", "EuclideanLoss")
_ASSUMED_PIXELS = 500 * 500   # of an image whose size no layer says: those of PASCAL VOC are about that

# Of base_lr / (1 - momentum) as a step on a mean over pixels. The slowest published recipe, FCN-8s on sums at 1e-14,
# comes to 3e-7; the fastest to about 1. A rate for sums used with a mean comes to 1e-8 or less, the reverse to 100 or
# more.
LOWEST_RATE, HIGHEST_RATE = 5e-8, 10.0


def lint_solver(path: str | os.PathLike[str]) -> list[Finding]:
    """The findings in a solver prototxt and in its nets. Raises ParseError, NetError or SolverError for files that
    cannot be read."""
    solver = _Solver(path)
    found = [*solver.schedule(), *solver.unread(), *solver.testing()]
    for net, phases in solver.nets().items():
        found += lint_net(net, phases)
    found += solver.rate()
    return list(dict.fromkeys(found))


class _Solver:
    """A solver prototxt: its message, and where its words are. Nets that are not there from the working folder are
    looked for from the solver's folder and those above it, from where the solver may be meant to be run."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.file = str(path)
        self.p = text.load_solver(path)
        self.text = text._read_text(path).splitlines()

    def find(self, word: str, rule: str, what: str, why: str) -> Finding:
        line = next((i for i, row in enumerate(self.text, 1)
                     if re.search(rf"\b{word}\s*[:{{]", row.split("#")[0])), None)
        return Finding(self.file, line, rule, what, why)

    def nets(self) -> dict[str, tuple[str, ...]]:
        """The net files and the phases that the solver makes of each."""
        out: dict[str, tuple[str, ...]] = {}
        tested = bool(self.p.test_iter)
        for name, phases in [(self.p.net, ("TRAIN", "TEST") if tested and not self.p.test_net else ("TRAIN",)),
                             (self.p.train_net, ("TRAIN",)), *((n, ("TEST",)) for n in self.p.test_net)]:
            if name:
                name = self.path(name)
                out[name] = tuple(dict.fromkeys((*out.get(name, ()), *phases)))
        return out

    def path(self, net: str) -> str:
        if os.path.exists(net) or os.path.isabs(net):
            return net
        folders = Path(self.file).resolve().parents
        return str(next((folder / net for folder in folders if (folder / net).is_file()), net))

    def has(self, name: str) -> bool:
        value = getattr(self.p, name)
        return len(value) > 0 if hasattr(value, "extend") else self.p.HasField(name)

    def schedule(self) -> Iterator[Finding]:
        """What the learning rate's policy needs and has not."""
        p = self.p
        if not p.HasField("lr_policy"):
            yield self.find("base_lr", "no-lr-policy", "lr_policy is missing", "training stops at its first iteration; "
                            'lr_policy: "fixed" keeps base_lr all the time')
        for name, policies in _BY_POLICY.items():
            if p.lr_policy in policies and not self.has(name):
                yield self.find("lr_policy", f"no-{name}", f'lr_policy "{p.lr_policy}" without {name}',
                                "the rate falls to 0 after the first step" if name == "gamma" and p.lr_policy in
                                ("step", "multistep", "exp") else "the policy cannot do what it is for")
        if p.lr_policy == "poly" and p.max_iter <= 0:
            yield self.find("lr_policy", "no-max_iter", 'lr_policy "poly" without max_iter',
                            "the rate is meant to reach 0 at max_iter")
        if list(p.stepvalue) != sorted(p.stepvalue):
            yield self.find("stepvalue", "stepvalue-order", f"stepvalue {list(p.stepvalue)} does not rise",
                            "a step that comes too late in the list is taken too late")
        if not p.HasField("base_lr") or p.base_lr == 0:
            yield self.find("base_lr", "no-base-lr", "base_lr is missing or 0", "nothing is learned")
        if p.max_iter <= 0:
            yield self.find("max_iter", "no-max_iter", "max_iter is missing or 0", "`caffe train` ends at once")
        if p.momentum >= 1:
            yield self.find("momentum", "momentum", f"momentum is {p.momentum:g}", "updates grow without bound")
        if p.snapshot and not any(re.search(r"\bsnapshot_prefix\s*:", row.split("#")[0]) for row in self.text):
            yield self.find("snapshot", "no-snapshot_prefix", "snapshot without snapshot_prefix",
                            f"snapshots are named after the solver: {p.snapshot_prefix}")

    def unread(self) -> Iterator[Finding]:
        """What the solver's type or policy does not read."""
        p = self.p
        if p.type in ("AdaGrad", "RMSProp") and p.momentum:
            yield self.find("momentum", "unused-momentum", f"momentum {p.momentum:g} with type {p.type}",
                            f"{p.type} has no momentum, and refuses to start with it: remove it")
        for table, chosen, kind in ((_BY_TYPE, p.type, "type"), (_BY_POLICY, p.lr_policy, "lr_policy")):
            for name, readers in table.items():
                if self.has(name) and chosen and chosen not in readers:
                    yield self.find(name, "unused-setting", f'{name} is not read with {kind} "{chosen}"',
                                    f"it belongs to {', '.join(readers)}")

    def testing(self) -> Iterator[Finding]:
        """test_iter, test_interval and the test nets say the same thing or nothing."""
        p = self.p
        nets = len(p.test_net) + len(p.test_net_param)
        if not p.test_iter and (p.test_interval or nets):
            yield self.find("test_interval" if p.test_interval else "test_net", "no-test_iter", "test_iter is missing",
                            "no test is ever run" if not nets else "the solver refuses to start")
        if p.test_iter and not p.test_interval:
            yield self.find("test_iter", "no-test_interval", "test_interval is missing",
                            "the solver refuses to start: say how many iterations lie between two tests")

    # ------------------------------------------------------------------ the rate and the loss
    def rate(self) -> Iterator[Finding]:
        """base_lr against what the loss is divided by. The rates of adaptive types do not depend on that."""
        p = self.p
        if p.type not in ("SGD", "Nesterov") or not (p.train_net or p.net) or not p.base_lr or p.momentum >= 1:
            return
        train = self.path(p.train_net or p.net)
        lines = Lines(train)
        net, kept = of_phase(lines.parsed.param, "TRAIN")
        graph = Graph(net)
        for i, layer in enumerate(net.layer):
            if layer.type not in _SPATIAL_LOSSES or not graph.bottoms[i] or not _spatial(graph, graph.bottoms[i][0]):
                continue
            mode = normalization(layer)
            pixels, batch, origin = _pixels(net)
            summed = {"NONE": pixels * batch, "BATCH_SIZE": pixels}.get(mode, 1)
            weight = layer.loss_weight[0] if layer.loss_weight else 1.0
            rate = abs(p.base_lr * weight) / (1 - p.momentum)
            if weight == 0 or LOWEST_RATE <= rate * summed <= HIGHEST_RATE:
                continue
            over = ("over the pixels of the batch" if mode == "NONE" else "over the pixels of an image") \
                if summed > 1 else "of the pixels"
            how = (f"the sum {over} ({mode}; about {summed:,} of them, {origin})" if summed > 1
                   else f"a mean {over} ({mode})")
            high = rate * summed > HIGHEST_RATE
            yield self.find(
                "base_lr", "lr-normalization",
                f"base_lr {p.base_lr:g} with momentum {p.momentum:g} is too {'high' if high else 'low'} by orders of "
                f"magnitude for loss '{layer.name}' ({lines.file}:{lines.of(kept[i], 'loss_param')})",
                f"that loss is {how}; as a step on a mean over pixels, base_lr / (1 - momentum) comes to "
                f"{rate * summed:.1g}, and {LOWEST_RATE:g} to {HIGHEST_RATE:g} is usual. "
                + ("Give loss_param { normalization: VALID }, or divide base_lr by the number of pixels" if high and
                   summed > 1 else "Lower base_lr" if high else "Raise base_lr: this one suits a sum over pixels"
                   if summed == 1 else "Raise base_lr"))


def normalization(layer: Any) -> str:
    """What a loss layer is divided by: FULL, VALID, BATCH_SIZE or NONE, its default and `normalize` included."""
    if layer.type == "EuclideanLoss":
        return "BATCH_SIZE"
    loss = layer.loss_param
    if loss.HasField("normalization"):
        return caffe_pb2.LossParameter.NormalizationMode.Name(loss.normalization)
    if loss.HasField("normalize"):
        return "VALID" if loss.normalize else "BATCH_SIZE"
    return "BATCH_SIZE" if layer.type == "SigmoidCrossEntropyLoss" else "VALID"


def _spatial(graph: Graph, top: Any) -> bool:
    """Whether a blob is an image of the net's input: it comes from a data layer by layers with coordinate maps."""
    return any(not blob.fn.inputs for blob in graph.paths(top))


def _pixels(net: Any) -> tuple[int, int, str]:
    """Pixels of an image and images of a batch, and where they are known from."""
    for layer in net.layer:
        if layer.bottom:
            continue
        for own in (layer.input_param, layer.dummy_data_param):
            if own.shape and len(own.shape[0].dim) == 4:
                batch, _, height, width = own.shape[0].dim
                return height * width, batch, "from the input's shape"
        batch = max(layer.data_param.batch_size, layer.image_data_param.batch_size, 1)
        crop = layer.transform_param.crop_size
        if crop:
            return crop * crop, batch, "from crop_size"
        if layer.type in ("Data", "ImageData"):
            return _ASSUMED_PIXELS, batch, "for images of 500 x 500"
    return _ASSUMED_PIXELS, 1, "for images of 500 x 500"


def looks_like_solver(path: str | os.PathLike[str]) -> bool:
    """Whether a prototxt has a solver's words outside of blocks. Raises ParseError when it cannot be read."""
    outside = re.sub(r"\{.*?\}", "", text._read_text(path), flags=re.DOTALL)
    return re.search(r"^\s*(base_lr|lr_policy|max_iter|train_net|net|test_iter|solver_type)\s*:", outside,
                     re.MULTILINE) is not None
