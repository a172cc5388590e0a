"""Data layers for segmentation: the tops are a batch of images and one of labels, read from a data set.

    layer {
      name: "data"  type: "Python"  top: "data"  top: "label"
      python_param {
        module: "layers.segdata"  layer: "SegDataLayer"
        param_str: "{'data': 'shapes', 'split': 'train', 'seed': 1337, 'batch': 4, 'mirror': True}"
      }
    }

`data` is batch x 3 x height x width, BGR minus the mean; `label` is batch x 1 x height x width, class indices
with 255 for void. Data sets with depth or with several kinds of labels have other tops, named by the key `tops`.
docs/data.md lists the keys.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

import caffe
from data import Dataset, open_dataset
from data.sbd import SBD
from data.sources import folder_of
from data.splits import seg11valid
from data.voc import VOC
from layers.augment import Augmentation
from layers.errors import DataError, LayerError
from layers.feed import Order, Prefetch
from layers.parameters import Reader, read_params

ILSVRC_MEAN = (
    104.00699,
    116.66877,
    122.67892,
)  # BGR, of the ImageNet images on which VGG-16 and the others trained

_COMMON = (
    "split",
    "tops",
    "mean",
    "random",
    "replacement",
    "seed",
    "batch",
    "mirror",
    "jitter",
    "shift",
    "crop",
    "scale",
    "classes",
    "cache",
)

Batch = list[NDArray[np.float32]]   # one array per top


class SegDataLayer(caffe.Layer):
    """Images and labels of any data set that `data.open_dataset` opens.

    Keys of param_str: data (name or folder) and split are needed; tops, mean, random, replacement, seed, batch,
    mirror, jitter, shift, crop, scale, classes, cache are not. The next batch loads in a background thread while the
    net computes. Errors: LayerError for a wrong prototxt, DataError (with the file's name) for a wrong data set.
    """

    own_keys: tuple[str, ...] = ("data",)
    own_tops: tuple[str, ...] = ()   # the usual ones; where empty, the data set's first image and labels
    own_means: Mapping[str, tuple[float, ...]] = {}   # the usual means of tops; ImageNet's of all others

    def setup(self, bottom: Sequence[Any], top: Sequence[Any]) -> None:
        layer = self._layer_name()
        if len(bottom) != 0:
            raise LayerError(
                "a data layer takes no bottom",
                layer=layer,
                found=f"{len(bottom)} bottoms",
                help="remove the lines 'bottom:' of this layer",
            )
        keys = self.own_keys + _COMMON
        params = read_params(self.param_str, layer, keys, (self.own_keys[0], "split"))
        read = Reader(params, layer)
        self.split = read.text("split")
        seed = read.whole_or_none("seed", 0)
        self.seed = (0 if "seed" not in params else _fresh_seed()) if seed is None else seed
        self.batch = read.whole("batch", 1, 1)
        self.augmentation = Augmentation(
            mirror=read.flag("mirror", False),
            scale=read.span("scale"),
            jitter=read.whole("jitter", 0, 0),
            shift=read.whole("shift", 0, 0),
            crop=read.size("crop"),
            centre=self.phase == caffe.TEST,
        )
        self.dataset = self._open(read)
        self._read_tops(read, len(top))
        first = len(self.dataset.classes_of(self.labels[0])) if self.labels else 1
        self.classes = {label: len(self.dataset.classes_of(label)) for label in self.labels}
        self.classes.update(dict.fromkeys(self.labels[:1], read.whole("classes", first, 1)))
        self.pictures = self._pictures()
        if not self.pictures:
            raise DataError(
                f"the split '{self.split}' of '{self.dataset.name}' is empty",
                file=self.dataset.root,
                help="write one picture id per line into its list",
            )
        self._cache: dict[str, list[NDArray]] = {}
        self._cache_left = int(read.number("cache", 512, 0) * 2**20)
        self._rank, self._ranks = self._place()
        self._order = Order(len(self.pictures), self.seed, self._random(read), self._replacement(read))
        self._position = 0  # pictures that all ranks together have given out: the layer's whole state
        self._ready: Batch | None = None
        self._prefetch: Prefetch[Batch] = Prefetch(self._load_batch)

    def reshape(self, bottom: Sequence[Any], top: Sequence[Any]) -> None:
        """Give the tops the shape of the next batch (which is loaded for it); the batch stays the next."""
        if self._ready is None:
            self._ready = self._prefetch.get(self._position)
        for blob, array in zip(top, self._ready, strict=True):
            blob.reshape(*array.shape)

    def forward(self, bottom: Sequence[Any], top: Sequence[Any]) -> None:
        """Copy the batch into the tops and begin to load the one after it."""
        if self._ready is None:
            self.reshape(bottom, top)
        assert self._ready is not None
        for blob, array in zip(top, self._ready, strict=True):
            blob.data[...] = array
        self._ready = None
        self._position += self.batch * self._ranks
        self._prefetch.start(self._position)

    def backward(self, top: Sequence[Any], propagate_down: Sequence[bool], bottom: Sequence[Any]) -> None:
        """Nothing: there is no bottom."""

    def get_state(self) -> dict[str, Any]:
        """What a snapshot must keep for a resumed run to see the same pictures, changed in the same way."""
        return {"position": self._position, "seed": self.seed, "pictures": len(self.pictures)}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on where `get_state` was called; LayerError when the state is of another list of pictures."""
        if state.get("pictures") != len(self.pictures):
            raise LayerError(
                "the state to resume from belongs to another data set or split",
                layer=self._layer_name(),
                found=f"{state.get('pictures')} pictures",
                expected=f"{len(self.pictures)} pictures",
                help="resume with the data set that the run was started with",
            )
        self._position, self.seed = int(state["position"]), int(state["seed"])
        self._order = Order(len(self.pictures), self.seed, self._order.shuffle, self._order.replacement)
        self._ready = None
        self._prefetch.start(self._position)

    def _read_tops(self, read: Reader, count: int) -> None:
        """Which tops of the data set are read, images before labels, and the mean of each image."""
        layer, known = self._layer_name(), [*self.dataset.image_tops, *self.dataset.label_tops]
        names = read.texts("tops", self.own_tops or (self.dataset.image_tops[0], self.dataset.label_tops[0]))
        unknown = [name for name in names if name not in known]
        if unknown:
            raise LayerError(
                f"data set '{self.dataset.name}' has no top {unknown[0]!r}", layer=layer, expected=", ".join(known),
                help="correct 'tops' in param_str, or give a data set that has them",
            )
        if count != len(names):
            raise LayerError(
                f"the layer gives {len(names)} tops: {', '.join(names)}", layer=layer, found=f"{count} tops",
                help="write as many lines top: \"...\", or list others in 'tops' of param_str",
            )
        self.top_names = names
        self.images = [name for name in names if name in self.dataset.image_tops]
        self.labels = [name for name in names if name in self.dataset.label_tops]
        usual = {name: self.own_means.get(name, ILSVRC_MEAN) for name in self.images}
        self.means = read.means("mean", self.images, usual)

    # What the layers below do in their own way.

    def _open(self, read: Reader) -> Dataset:
        return open_dataset(read.text("data"))

    def _pictures(self) -> list[str]:
        return self.dataset.ids(self.split)

    def _random(self, read: Reader) -> bool:
        """Training splits are shuffled unless param_str says otherwise."""
        return read.flag("random", "train" in self.split)

    def _replacement(self, read: Reader) -> bool:
        return read.flag("replacement", False)

    def _layer_name(self) -> str:
        return (
            getattr(self, "name", "") or type(self).__name__
        )  # BVLC Caffe's Python layers do not know theirs

    def _place(self) -> tuple[int, int]:
        """(rank, ranks) of this solver among several that train together; they share the sequence out."""
        if self.phase == caffe.TEST:
            return 0, 1
        rank = getattr(caffe, "solver_rank", lambda: 0)()
        return rank, max(1, getattr(caffe, "solver_count", lambda: 1)())

    # Loading; all of it runs in the background thread.

    def _load_batch(self, position: int) -> Batch:
        first = position + self._rank * self.batch
        loaded = [self._load(first + i) for i in range(self.batch)]
        sizes = {tops[0].shape[-2:] for _, tops in loaded}
        if len(sizes) > 1:
            different = next(p for p in loaded if p[1][0].shape != loaded[0][1][0].shape)
            raise DataError(
                f"pictures of different sizes in one batch of {self.batch}",
                file=self.dataset.image_path(different[0]),
                layer=self._layer_name(),
                found="{}x{} beside {}x{} (height x width)".format(
                    *different[1][0].shape[-2:], *loaded[0][1][0].shape[-2:]),
                help="set 'batch': 1 (and iter_size in the solver), or 'crop': [height, width]",
            )
        return [np.stack([tops[i] for _, tops in loaded]) for i in range(len(self.top_names))]

    def _load(self, position: int) -> tuple[str, list[NDArray[np.float32]]]:
        """The picture's name and its tops, C x H x W each, labels with one channel."""
        epoch, index = self._order.at(position)
        picture = self.pictures[index]
        read = dict(zip(self.top_names, self._read(picture), strict=True))
        planes = [(read[name].astype(np.float32) - self.means[name]).transpose(2, 0, 1) for name in self.images]
        labels = [read[name] for name in self.labels]
        image = np.concatenate(planes) if planes else np.zeros((0, *labels[0].shape), np.float32)
        label = np.stack(labels) if labels else np.zeros((0, *image.shape[1:]), np.uint8)
        image, label = self.augmentation.apply(image, label, self._order.generator(epoch, index))
        cuts = np.cumsum([len(plane) for plane in planes])[:-1]
        out = dict(zip(self.images, np.split(image, cuts), strict=True)) if planes else {}
        out.update({name: label[i : i + 1].astype(np.float32) for i, name in enumerate(self.labels)})
        return picture, [out[name] for name in self.top_names]

    def _read(self, picture: str) -> list[NDArray]:
        """The decoded and checked tops, H x W x C and H x W, from memory where they have been kept."""
        if picture in self._cache:
            return self._cache[picture]
        try:
            tops = [self.dataset.top(picture, name) for name in self.top_names]
        except DataError:
            raise
        except Exception as error:  # whatever a decoder raises, the user needs the file's name
            raise DataError(
                f"the picture '{picture}' cannot be loaded ({type(error).__name__}: {error})",
                file=self.dataset.image_path(picture),
                layer=self._layer_name(),
                help="look at the file; `python tools/check_data.py` reads all of them",
            ) from error
        self._check(picture, tops)
        size = sum(top.nbytes for top in tops)
        if size <= self._cache_left:
            self._cache_left -= size
            self._cache[picture] = tops
        return tops

    def _check(self, picture: str, tops: list[NDArray]) -> None:
        """DataError unless all tops have one size and labels are only what the loss can take."""
        for name, top in zip(self.top_names, tops, strict=True):
            path = self.dataset.path(picture, name)
            if top.shape[:2] != tops[0].shape[:2]:
                raise DataError(
                    "image and labels differ in size",
                    file=path,
                    layer=self._layer_name(),
                    found="{} {}x{}, {} {}x{}".format(name, *top.shape[:2], self.top_names[0], *tops[0].shape[:2]),
                    help="`python tools/check_data.py` lists every such file",
                )
            if name not in self.classes:
                continue
            classes = self.classes[name]
            wrong = top[(top >= classes) & (top != self.dataset.ignore)]
            if wrong.size:
                raise DataError(
                    "label out of range",
                    file=path,
                    layer=self._layer_name(),
                    found=f"value {wrong[0]} ({wrong.size} pixels are out of range)",
                    expected=f"0..{classes - 1} for {classes} classes, {self.dataset.ignore} for void",
                    help="correct the labels, or 'classes' in param_str and num_output of the score layers",
                )


class FcnLayer(SegDataLayer):
    """The keys of the public FCN code: `randomize` is known, and no evaluation split is ever shuffled."""

    def _random(self, read: Reader) -> bool:
        return "train" in self.split and read.flag("randomize", read.flag("random", True))


class VOCSegDataLayer(FcnLayer):
    """`voc_dir` in place of `data`: a folder of PASCAL VOC, as in the public FCN code.

    The split seg11valid is read from its list where there is one, else derived with the SBD that is at hand.
    """

    own_keys = ("voc_dir", "randomize")

    def _open(self, read: Reader) -> Dataset:
        return VOC(read.text("voc_dir"))

    def _pictures(self) -> list[str]:
        if self.split == "seg11valid" and self.split not in self.dataset.splits():
            return seg11valid(self.dataset.ids("val"), SBD(folder_of("sbd")).ids("train"))
        return self.dataset.ids(self.split)


class SBDDSegDataLayer(FcnLayer):
    """`sbdd_dir` in place of `data`: SBD's folder `dataset`, as in the public FCN code."""

    own_keys = ("sbdd_dir", "randomize")

    def _open(self, read: Reader) -> Dataset:
        return SBD(read.text("sbdd_dir"))


def _fresh_seed() -> int:
    """For 'seed': None, a seed of this run's own; snapshots keep it."""
    return int.from_bytes(os.urandom(4), "little")
