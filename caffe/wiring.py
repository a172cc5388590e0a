"""From a NetParameter to connected layers: phase rules, splits, blobs, shared parameters, who needs a diff."""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .blob import Blob
from .errors import CaffeError, LayerError, NetError, ShapeError, nearest
from .layer import Layer, layer_class
from .proto import forks
from .proto.splits import insert_splits
from .weights import copy_blobs


def state_meets_rule(state: Any, rule: Any) -> bool:
    """Whether a NetState fulfils a NetStateRule: phase, level range, all stages, none of not_stages."""
    stages = set(state.stage)
    return ((not rule.HasField("phase") or rule.phase == state.phase)
            and (not rule.HasField("min_level") or state.level >= rule.min_level)
            and (not rule.HasField("max_level") or state.level <= rule.max_level)
            and all(s in stages for s in rule.stage) and not any(s in stages for s in rule.not_stage))


def filter_net(net_param: Any) -> tuple[Any, list[int]]:
    """A copy of the net with the layers that its `state` includes, and their indices in the original."""
    out = type(net_param)()
    out.CopyFrom(net_param)
    del out.layer[:]
    kept: list[int] = []
    for i, layer in enumerate(net_param.layer):
        if layer.include and layer.exclude:
            raise NetError("a layer has include rules and exclude rules", layer=layer.name,
                           help="give either include or exclude, not both")
        met = any(state_meets_rule(net_param.state, r) for r in layer.include or layer.exclude)
        if met == bool(layer.include):   # one include rule is met, or no exclude rule
            out.layer.add().CopyFrom(layer)
            kept.append(i)
    return out, kept


class Wiring:
    """The connected layers of a net, built and set up in order (what Caffe's Net::Init does).

    `lines[i]` is the line of layer i of `net_param` in `file`, for messages.
    """

    def __init__(self, net_param: Any, file: str, lines: Sequence[int | None]) -> None:
        filtered, kept = filter_net(net_param)
        self.file = file
        self.param, origin = insert_splits(filtered)
        self.where = [self._where(kept[i], lines) for i in origin]
        self.layers: list[Layer] = []
        self.blobs: list[Blob] = []
        self.blob_names: list[str] = []
        self.loss_weights: list[float] = []          # per blob
        self.bottom_ids: list[list[int]] = []
        self.top_ids: list[list[int]] = []
        self.inputs: list[int] = []
        self.bottom_need: list[list[bool]] = []      # per layer and bottom: propagate_down
        self.layer_need: list[bool] = []             # per layer: runs in backward
        self.learnable: list[Blob] = []
        self.lr_mult: list[float] = []
        self.decay_mult: list[float] = []
        self.owner: dict[tuple[int, int], tuple[int, int]] = {}   # shared parameter -> its owner
        self._lr_given: list[bool] = []
        self._decay_given: list[bool] = []
        self._learnable_of: dict[tuple[int, int], int] = {}
        self._first_of_name: dict[str, tuple[int, int]] = {}
        self._index: dict[str, int] = {}             # blob name -> id of the newest
        self._available: set[str] = set()
        self._blob_need: list[bool] = []
        self._seen: set[str] = set()
        self._said: set[str] = set()                 # settings without effect that the log has
        forks.check(self.param, file, said=self._said, error=NetError)
        for i in range(len(self.param.layer)):
            self._add_layer(i)
        self._prune_backward()
        if self.param.force_backward:
            self._force_backward()
        for layer, need in zip(self.layers, self.layer_need, strict=True):
            layer.records_graph = need
        self.outputs = [self._index[n] for n in sorted(self._available, key=str.encode)]

    def _where(self, index: int, lines: Sequence[int | None]) -> str:
        line = lines[index] if index < len(lines) else None
        return f"{self.file or 'net'}:{line}" if line is not None else self.file

    def _add_layer(self, i: int) -> None:
        param = self.param.layer[i]
        if not param.HasField("phase"):
            param.phase = self.param.state.phase
        if param.propagate_down and len(param.propagate_down) != len(param.bottom):
            raise NetError("propagate_down is given for some bottoms only", file=self.where[i], layer=param.name,
                           found=len(param.propagate_down), expected=f"none or {len(param.bottom)}",
                           help="give propagate_down once per bottom")
        layer = layer_class(param.type, param.name, self.where[i]).create(param, self.where[i])
        forks.check(param, self.where[i], param.name, self._said)
        self.layers.append(layer)
        need = self._connect(i, layer, param)
        bottom, top = self.bottom(i), self.top(i)
        self._check_counts(layer, len(bottom), len(top))
        guarded(layer, layer.setup, bottom, top)
        if param.blobs:   # weights in the prototxt take the fillers' place
            copy_blobs(layer.blobs, param, self.where[i])
        guarded(layer, layer.reshape, bottom, top)
        self._set_loss_weights(i, layer, param, top)
        need |= self._add_params(i, layer, param)
        self.layer_need.append(need)
        if need:
            for t in self.top_ids[i]:
                self._blob_need[t] = True

    def bottom(self, i: int) -> list[Blob]:
        return [self.blobs[b] for b in self.bottom_ids[i]]

    def top(self, i: int) -> list[Blob]:
        return [self.blobs[t] for t in self.top_ids[i]]

    # ------------------------------------------------------------------ blobs
    def _connect(self, i: int, layer: Layer, param: Any) -> bool:
        ids, needs = [], []
        for j, name in enumerate(param.bottom):
            if name not in self._available:
                raise NetError(f"unknown bottom blob '{name}'", file=self.where[i], layer=param.name,
                               found=f"bottom {j}", expected=perhaps(name, self._available),
                               help="name a top of an earlier layer")
            blob = self._index[name]
            self._available.discard(name)
            ids.append(blob)
            needs.append(param.propagate_down[j] if param.propagate_down else self._blob_need[blob])
        self.bottom_ids.append(ids)
        self.bottom_need.append(needs)
        need = any(self._blob_need[b] for b in ids)
        self.top_ids.append([])
        for j, name in enumerate(param.top):
            if j < len(param.bottom) and param.bottom[j] == name:
                self.top_ids[i].append(self._index[name])           # in place
            elif name in self._index:
                raise NetError(f"top blob '{name}' is produced by more than one layer", file=self.where[i],
                               layer=param.name, help="rename the top, or give bottom and top one name (in place)")
            else:
                self.top_ids[i].append(self._new_blob(name))
                self._index[name] = self.top_ids[i][-1]
            self._available.add(name)
            if param.type == "Input":
                self.inputs.append(self.top_ids[i][-1])
        if layer.auto_tops:
            least = layer.tops if isinstance(layer.tops, int) else layer.tops[0]
            while len(self.top_ids[i]) < least:
                self.top_ids[i].append(self._new_blob("(automatic)"))   # cannot be read by other layers
        return need

    def _new_blob(self, name: str) -> int:
        self.blobs.append(Blob(name=name))
        self.blob_names.append(name)
        self._blob_need.append(False)
        self.loss_weights.append(0.0)
        return len(self.blobs) - 1

    def _check_counts(self, layer: Layer, n_bottom: int, n_top: int) -> None:
        for what, count, rule in (("bottom", n_bottom, layer.bottoms), ("top", n_top, layer.tops)):
            least, most = (rule, rule) if isinstance(rule, int) else rule
            if count < least or (most is not None and count > most):
                layer.fail(f"has {count} {what} blob(s)",
                           expected=least if least == most else f"{least} to {'any' if most is None else most}",
                           help=f"correct the layer's `{what}:` lines")

    def _set_loss_weights(self, i: int, layer: Layer, param: Any, top: list[Blob]) -> None:
        weights = list(param.loss_weight)
        if weights and len(weights) != len(top):
            layer.fail("loss_weight must be given once per top", found=len(weights), expected=len(top),
                       help="add or remove loss_weight lines")
        if not weights and layer.is_loss:
            weights = [1.0]
        layer.top_loss_weights = weights + [0.0] * (len(top) - len(weights))
        for t, weight in zip(self.top_ids[i], layer.top_loss_weights, strict=True):
            self.loss_weights[t] = weight
        seed_loss_diffs(layer, top)

    # ------------------------------------------------------------------ parameters
    def _add_params(self, i: int, layer: Layer, param: Any) -> bool:
        from .proto import caffe_pb2

        if len(param.param) > len(layer.blobs):
            layer.fail("more `param` entries than parameters", found=len(param.param), expected=len(layer.blobs),
                       help="remove the surplus `param { }` blocks")
        layer.param_propagate_down = []
        for j, blob in enumerate(layer.blobs):
            spec = param.param[j] if j < len(param.param) else caffe_pb2.ParamSpec()
            layer.param_propagate_down.append(spec.lr_mult != 0)
            blob.name = f"{param.name}[{j}]"
            if spec.name and spec.name in self._first_of_name:
                self._share(i, j, blob, spec)
            else:
                if spec.name:
                    self._first_of_name[spec.name] = (i, j)
                self._learnable_of[i, j] = len(self.learnable)
                self.learnable.append(blob)
                self._lr_given.append(spec.HasField("lr_mult"))
                self._decay_given.append(spec.HasField("decay_mult"))
                self.lr_mult.append(spec.lr_mult)
                self.decay_mult.append(spec.decay_mult)
        return any(layer.param_propagate_down)

    def _share(self, i: int, j: int, blob: Blob, spec: Any) -> None:
        at = self._first_of_name[spec.name]
        owner_layer = self.layers[at[0]]
        owner = owner_layer.blobs[at[1]]
        permissive = spec.share_mode == spec.PERMISSIVE
        if blob.count != owner.count if permissive else blob.shape != owner.shape:
            self.layers[i].fail(f"cannot share parameter '{spec.name}' with layer '{owner_layer.name}'",
                                found=blob.shape, expected=owner.shape, error=ShapeError,
                                help="give both layers one shape, or share_mode: PERMISSIVE for one count")
        blob.share_data(owner)
        blob.share_diff(owner)
        self.owner[i, j] = at
        k = self._learnable_of[i, j] = self._learnable_of[at]
        for field, given, values in (("lr_mult", self._lr_given, self.lr_mult),
                                     ("decay_mult", self._decay_given, self.decay_mult)):
            if spec.HasField(field):
                value = getattr(spec, field)
                if given[k] and values[k] != value:
                    self.layers[i].fail(f"shared parameter '{spec.name}' has two different {field}", found=value,
                                        expected=values[k], help=f"give it one {field}, or leave one out")
                given[k], values[k] = True, value

    # ------------------------------------------------------------------ who needs a diff
    def _prune_backward(self) -> None:
        """Backward runs only where a loss is above and something to learn is below."""
        under_loss: set[str] = set()
        skipped: set[str] = set()
        for i in reversed(range(len(self.layers))):
            tops = [self.blob_names[t] for t in self.top_ids[i]]
            contributes = any(self.layers[i].top_loss_weights) or any(t in under_loss for t in tops)
            if not contributes or (self.layer_need[i] and all(t in skipped for t in tops)):
                self.layer_need[i] = False
                self.bottom_need[i] = [False] * len(self.bottom_need[i])
            for b, need in zip(self.bottom_ids[i], self.bottom_need[i], strict=True):
                if contributes:
                    under_loss.add(self.blob_names[b])
                if not need:
                    skipped.add(self.blob_names[b])

    def _force_backward(self) -> None:
        for i, layer in enumerate(self.layers):
            self.layer_need[i] = True
            self.bottom_need[i] = [need or j not in layer.no_diff_to for j, need in enumerate(self.bottom_need[i])]
            layer.param_propagate_down = [True] * len(layer.blobs)


def perhaps(name: str, known: Iterable[str]) -> str | None:
    """The known names that `name` may be a slip of, in words, for the `expected` of an error."""
    near = nearest(name, known)
    return f"perhaps {' or '.join(near)}" if near else None


def seed_loss_diffs(layer: Layer, top: list[Blob]) -> None:
    """Fill the diff of each loss top with its loss weight, where nobody has written another diff."""
    for blob, weight in zip(top, layer.top_loss_weights, strict=False):
        if weight and blob.diff_is_zero():
            blob.put_diff(blob.diff_tensor().new_full(blob.shape, weight))


def guarded(layer: Layer, step: Any, *args: Any) -> None:
    """Run one step of a layer; an exception that is not ours becomes a LayerError that names layer and shapes."""
    try:
        step(*args)
    except CaffeError as e:
        if e.layer is None and e.file is None:   # a blob's error: it knows no layer
            e.layer, e.file = layer.layer_param.name, layer.defined_at or None
        raise
    except Exception as e:   # absurd numbers in a prototxt: OverflowError, ZeroDivisionError, ...
        if is_out_of_memory(e):
            raise _out_of_memory(layer, args, e) from e
        raise LayerError(f"{layer.type}: {step.__name__} failed: {e}", file=layer.defined_at, layer=layer.name,
                         found=_shapes(args), help="see the exception above for the cause") from e


def is_out_of_memory(error: Exception) -> bool:
    """NumPy, the device and the host (a RuntimeError) each say it in another way."""
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "alloc" in str(error)


def _shapes(args: tuple[Any, ...]) -> str:
    return " / ".join(", ".join(f"{b.name} {b.shape}" for b in group) for group in args
                      if isinstance(group, list) and group and isinstance(group[0], Blob))


def _out_of_memory(layer: Layer, args: tuple[Any, ...], error: Exception) -> Exception:
    first = str(error).partition("\n")[0]
    return LayerError(f"{layer.type}: out of memory ({first})", file=layer.defined_at,
                      layer=layer.layer_param.name, found=_shapes(args),
                      help="use a smaller batch with iter_size (`caffe summary -fit` says how large), smaller images, "
                           "or net.release_blobs = True")
