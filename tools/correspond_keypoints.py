"""The commands of tools/correspond.py on features and keypoints: features, reconstruct, classify, predict."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from correspondence import boxes, classify, pck, reconstruct
from correspondence.grids import FeatureNet
from correspondence.neighbours import build_databases
from data.dataset import IMAGE_ENDINGS, read_image
from data.keypoints import Keypoints
from data.registry import open_dataset
from tools.errors import DataError
from tools.score_files import layout
from tools.session import choose_device, parse_mean

MEAN = (104.0, 117.0, 123.0)


def register(commands: Any) -> None:
    """Add the commands to a parser's subparsers."""
    p = _command(commands, "features", features, "where a net's features stand on an image, and their values")
    p.add_argument("image", metavar="IMAGE")
    p.add_argument("--out", metavar="FILE", help="write <layer>, <layer>.x and <layer>.y to a NumPy .npz file")
    p = _command(commands, "reconstruct", put_together, "an image from patches of nearest features (Figure 2.1)")
    p.add_argument("image", metavar="IMAGE")
    p.add_argument("--pictures", required=True, metavar="DIR", help="photographs for the database")
    p.add_argument("--k", type=int, default=1, metavar="K", help="neighbours to average (1)")
    p.add_argument("--limit", type=int, metavar="N", help="features of each layer in the database (default: all)")
    p.add_argument("--out", default=".", metavar="DIR", help="the folder for <layer>.png")
    p = _command(commands, "classify", classification, "which keypoint is it? (Table 2.3)")
    _data(p)
    p.add_argument("--radii", type=float, nargs="*", default=list(classify.RADII), metavar="R", help="of SIFT (pixels)")
    p.add_argument("--c", type=float, default=classify.C, help=f"of the SVMs ({classify.C:g})")
    p.add_argument("--scale", action="store_true", help="bring features to SIFT's mean length first")
    p = _command(commands, "predict", prediction, "where is each keypoint in a given box? (Table 2.4)")
    _data(p)
    p.add_argument("--category", metavar="NAME", help="one category (default: all)")
    p.add_argument("--most", type=int, metavar="N", help="objects of a category and split (default: all)")
    p.add_argument("--whole", metavar="LAYER", help="describes whole boxes, for the prior (default: no prior)")
    p.add_argument("--side", type=int, default=227, metavar="PIXELS", help="of the boxes that --whole sees (227)")
    p.add_argument("--seed", type=int, default=1337)


def _command(commands: Any, name: str, run: Any, words: str) -> argparse.ArgumentParser:
    p: argparse.ArgumentParser = commands.add_parser(name, help=words, description=words)
    p.add_argument("--net", required=True, metavar="PROTOTXT", help="a deploy net")
    p.add_argument("--weights", metavar="FILE", help="its caffemodel (default: the values of its fillers)")
    p.add_argument("--layers", nargs="+", required=True, metavar="LAYER", help="names of blobs or layers")
    p.add_argument("--mean", metavar="B,G,R", help="mean to subtract (104,117,123)")
    p.add_argument("--gpu", type=int, metavar="N", help="compute on this GPU (default: on the CPU)")
    p.set_defaults(run=run)
    return p


def _data(p: argparse.ArgumentParser) -> None:
    p.add_argument("--data", default="figures", metavar="NAME_OR_DIR", help="keypoints, figures or a folder")
    p.add_argument("--train", default="train", metavar="SPLIT")
    p.add_argument("--val", default="val", metavar="SPLIT")


def _net(given: argparse.Namespace) -> FeatureNet:
    choose_device(given.gpu)
    return FeatureNet(given.net, given.weights, given.layers, parse_mean(given.mean) or MEAN)


def _dataset(given: argparse.Namespace) -> Keypoints:
    dataset = open_dataset(given.data)
    if not isinstance(dataset, Keypoints):
        raise DataError("this set has no keypoints", file=dataset.root, help="give keypoints, figures or a folder")
    return dataset


def _bar(what: str) -> partial[Iterable[Any]]:
    from tqdm import tqdm

    return partial(tqdm, desc=what, disable=not sys.stderr.isatty())


def features(given: argparse.Namespace) -> None:
    """Print the grid of each layer; write features and centres."""
    grids = _net(given).grids(read_image(given.image))
    rows = [[layer, "x".join(map(str, g.features.shape)), f"{g.start:g}", f"{g.stride:g}", f"{g.size:g}",
             f"{np.linalg.norm(g.features, axis=2).mean():.4g}"] for layer, g in grids.items()]
    print(layout(["layer", "rows x columns x channels", "first centre", "stride", "field", "mean length"], rows))
    if given.out:
        arrays: dict[str, Any] = {layer: g.features for layer, g in grids.items()}
        for layer, g in grids.items():
            arrays[f"{layer}.x"], arrays[f"{layer}.y"] = g.columns(), g.rows()
        np.savez(given.out, **arrays)


def put_together(given: argparse.Namespace) -> None:
    """Write an image of nearest patches for each layer."""
    net, image = _net(given), read_image(given.image)
    pictures = sorted(p for p in Path(given.pictures).rglob("*") if p.suffix in IMAGE_ENDINGS
                      and not p.samefile(given.image))
    bases = build_databases(net, pictures, given.limit, _bar("database"))
    for layer, grid in net.grids(image).items():
        found, cosine = reconstruct.from_neighbours(grid, bases[layer], given.k, reconstruct.reader())
        path = Path(given.out) / f"{layer.replace('/', '_')}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.clip(found, 0, 255).astype(np.uint8)).save(path)
        print(f"{path}: {len(bases[layer])} features, mean cosine {cosine.mean():.3f}")


def classification(given: argparse.Namespace) -> None:
    """Print the accuracy of each layer and radius for each category."""
    dataset, net = _dataset(given), _net(given)
    read = lru_cache(4)(dataset.image)
    train, val = (classify.collect(dataset.instances(split), read, net, given.radii, _bar(split))
                  for split in (given.train, given.val))
    categories = [each for each in train if each in val]
    rows = []
    for kind in next(iter(train.values())).features:
        found = [100 * classify.accuracy(train[c], val[c], kind, given.c, given.scale) for c in categories]
        rows.append([kind, *(f"{value:.1f}" for value in (*found, np.mean(found)))])
    print(layout(["accuracy (%)", *categories, "mean"], rows))


def prediction(given: argparse.Namespace) -> None:
    """Print the PCK of each layer's 3 x 3 cells and of SIFT for each category, with the prior too where --whole is."""
    dataset, net = _dataset(given), _net(given)
    whole = FeatureNet(given.net, given.weights, [given.whole], net.mean.tolist()) if given.whole else None
    read = lru_cache(4)(dataset.image)
    rows = []
    for category in [given.category] if given.category else dataset.classes:
        train, val = (boxes.describe(dataset.instances(split, category)[: given.most], read, net, whole, given.side,
                                     _bar(f"{category} {split}")) for split in (given.train, given.val))
        found = boxes.predictions(train, val, given.seed, _bar(f"{category}: detectors"))
        for method, score in boxes.scores(found).items():
            rows.append([category, method, str(score.count), *(f"{100 * value:.1f}" for value in score.mean.values())])
    print(layout(["category", "features", "N", *(f"PCK {alpha:g}" for alpha in pck.ALPHAS)], rows, left=2))
    print(pck.CHOICES)
