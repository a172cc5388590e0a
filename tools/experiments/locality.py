"""Figures 2.1 and 2.2: images put together from patches of nearest features, and averages of receptive fields."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from correspondence import reconstruct
from correspondence.neighbours import Database, build_databases, nearest
from data.dataset import read_image
from tools.experiments.features import CAFFENET, SQUEEZENET, Classifier, bar, classifier, photographs
from tools.experiments.registry import Context, Need, Result, Table, experiment
from tools.pictures import grid, spread

NEEDS = [Need("data", "voc2011"), CAFFENET]
SMALL_NEEDS = [Need("data", "camvid"), SQUEEZENET]
SMALL = "SqueezeNet v1.1, a database from photographs at hand (CamVid, or CAFFE_LUNGO_PHOTOS)"
LIMIT, SMALL_LIMIT = 1_000_000, 20_000   # features per layer, at least
IMAGES, SMALL_IMAGES = 6, 3   # that are put together
KS = (1, 5)
SEEDS, AVERAGED = 8, (10, 50)   # columns of Figure 2.2, and neighbours in an average


def compared(context: Context, net: Classifier) -> tuple[str, ...]:
    """The three layers of the figures: conv3 to conv5, or fire modules of about their strides."""
    return ("fire5/concat", "fire7/concat", "fire9/concat") if context.small else ("conv3", "conv4", "conv5")


def databases(context: Context, net: Classifier) -> tuple[dict[str, Database], list[Any]]:
    """Databases of the layers, and pictures that are not in them."""
    pictures = photographs(context, "camvid" if context.small else "voc2011")
    count = SMALL_IMAGES if context.small else IMAGES
    asked = spread([str(path) for path in pictures], count + 2)[1:-1]
    others = [path for path in pictures if str(path) not in asked]
    others = [others[i] for i in np.random.default_rng(context.seed).permutation(len(others))]
    made = build_databases(net.net(*compared(context, net)), others, SMALL_LIMIT if context.small else LIMIT,
                           bar("database"))
    return made, [read_image(path) for path in asked]


@experiment("fig2.1", "Images put together from the centres of nearest receptive fields", "2.1", NEEDS, SMALL,
            SMALL_NEEDS)
def reconstructions(context: Context) -> Result:
    """Patches of stride by stride pixels replaced by means over 1 or 5 nearest neighbours; the uniform-rf baseline."""
    net = classifier(context)
    layers = compared(context, net)
    bases, images = databases(context, net)
    extractor, read = net.net(*layers), reconstruct.reader()
    measured: dict[str, list[list[float]]] = {}   # difference for each k, then detail for each k
    rows: list[list[NDArray[np.uint8]]] = []
    for image in bar("images")(images):
        grids = extractor.grids(image)
        for i, k in enumerate(KS):
            cells: list[NDArray[Any]] = []
            for layer, each in grids.items():
                true, field = reconstruct.original(image, each), round(each.size)
                found = {layer: reconstruct.from_neighbours(each, bases[layer], k, read)[0],
                         f"uniform in {layer}": reconstruct.uniform(image, each, field, k, context.seed)}
                for label, got in found.items():
                    values = measured.setdefault(label, [[] for _ in range(2 * len(KS))])
                    values[i].append(float(np.abs(got - true).mean()))
                    values[len(KS) + i].append(reconstruct.detail(got, true, field))
                cells += [found[layer]] if cells else [found[f"uniform in {layer}"], found[layer]]
            baseline, *cells = cells
            rows.append([_fit(cell) for cell in [image, *cells, baseline]])
    Image.fromarray(grid(rows, ["image", *layers, "uniform rf"])).save(context.folder / "reconstructions.png")
    mean = {label: [float(np.mean(each)) for each in values] for label, values in sorted(measured.items())}
    columns = [f"{what}, k = {k}" for what in ("difference (gray levels)", "detail") for k in KS]
    table = Table("agreement with the image", columns,
                  {label: [(None, value) for value in values] for label, values in mean.items()}, 2)
    fives = [mean[layer][1] for layer in layers]
    return Result(
        [table], [("reconstructions.png", "for each image k = 1 above k = 5")],
        [("features carry information finer than their receptive fields",
          "detail finer than the field, neighbours and patches from anywhere in the field: " + "; ".join(
              f"{layer} {mean[layer][3]:.2f} and {mean[f'uniform in {layer}'][3]:.2f}" for layer in layers)
          + f" (k = {KS[1]})", all(mean[layer][3] > mean[f"uniform in {layer}"][3] for layer in layers)),
         ("replacement becomes less visually specific as the layer deepens",
          "difference " + ", ".join(f"{layer} {value:.1f}" for layer, value in zip(layers, fives, strict=True))
          + f" (k = {KS[1]})", fives == sorted(fives))],
        ["Detail: the correlation with the image of what is finer than the layer's receptive field, in gray; 1 is the "
         "image. The baseline draws patches of the image itself, so that it gets colours for free; the picture shows "
         f"that of {layers[0]}'s field, as the thesis that of conv3's."],
        _config(net, bases), net.hashes(),
    )


def _fit(image: NDArray[Any]) -> NDArray[np.uint8]:
    """An image as a cell of 256 x 192 pixels."""
    return np.asarray(Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).resize((256, 192)))


@experiment("fig2.2", "Averages of the receptive fields of similar features", "2.1", NEEDS, SMALL, SMALL_NEEDS)
def averages(context: Context) -> Result:
    """From random seed features the mean of whole receptive fields of the nearest features, contrast expanded."""
    net = classifier(context)
    layers = compared(context, net)
    bases, _ = databases(context, net)
    read = reconstruct.reader()
    rows: list[list[NDArray[np.uint8]]] = []
    profiles: dict[str, NDArray[np.float64]] = {}
    for layer in bar("layers")(layers):
        base = bases[layer]
        seeds = _seeds(base, np.random.default_rng(context.seed))
        own = [[_square(reconstruct.fields(base, np.array([i]), read)[0])] for i in seeds]
        spreads = []
        for column, i in enumerate(seeds):
            index, _ = nearest(base.features[[i]], base.features, max(AVERAGED), base.picture == base.picture[i])
            stack = reconstruct.fields(base, index[0], read)
            spreads.append(reconstruct.spread_by_distance(stack))
            own[column] += [_square(reconstruct.expanded(stack[:k].mean(axis=0))) for k in AVERAGED]
        profiles[layer] = np.mean(spreads, axis=0)
        rows += [list(row) for row in zip(*own, strict=True)]
    Image.fromarray(grid(rows, [f"seed {i + 1}" for i in range(SEEDS)])).save(context.folder / "averages.png")
    table = Table("standard deviation of a pixel over similar fields, by distance from the centre (gray levels)",
                  [f"{100 * i // 8}-{100 * (i + 1) // 8}%" for i in range(8)],
                  {layer: [(None, float(value)) for value in profile] for layer, profile in profiles.items()})
    return Result(
        [table], [("averages.png", f"for each of {', '.join(layers)}: the seed's field, the means of {AVERAGED[0]} and "
                   f"of {AVERAGED[1]} neighbours")],
        [("similar features respond to similar colours specifically in the centres of their receptive fields",
          "; ".join(f"{layer} {profile[0]:.1f} in the middle, {profile[-1]:.1f} at the edge"
                    for layer, profile in profiles.items()),
          all(profile[0] < profile[-1] for profile in profiles.values()))],
        ["Neighbours from the seed's own picture are left out."], _config(net, bases), net.hashes(),
    )


def _seeds(base: Database, draw: np.random.Generator) -> list[int]:
    """Features whose fields lie within their pictures, as far as the place tells."""
    low = base.size / 2
    inside = (base.place >= low).all(axis=1) & (base.place <= base.place.max(axis=0) - low).all(axis=1)
    there = np.flatnonzero(inside) if inside.sum() >= SEEDS else np.arange(len(base))
    return [int(i) for i in draw.choice(there, SEEDS, replace=False)]


def _square(image: NDArray[Any]) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).resize((128, 128)))


def _config(net: Classifier, bases: dict[str, Database]) -> dict[str, Any]:
    held = {layer: f"{len(base)} features of {len(set(base.picture.tolist()))} pictures"
            for layer, base in bases.items()}
    return {"features": net.name, "database": held, "similarity": "cosine, exact; stored as float16"}
