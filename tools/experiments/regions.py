"""Tables 4.1 to 4.3 and Figures 4.3, 4.5 to 4.8: the net with all its pathways, trained once, and what it finds."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from tqdm import tqdm

from data.coco import COCO
from proposals import figures
from proposals.baseline import best_radii, disc
from proposals.overlap import best_overlaps
from proposals.pictures import block_norms
from proposals.plane import Plane
from proposals.recall import density_table
from prototxt.regions import pathways, region_net
from tools.experiments.registry import Context, Need, Result, Table, experiment
from tools.pictures import spread
from tools.region_eval import MEASURES, Evaluation, evaluate, load, save
from tools.region_run import RegionPredictor, of_region_run, region_plan, train_regions
from tools.run_folder import RunFolder, sha256, write
from tools.score_files import to_json

# feature layer: region stride, kernel, window, upsampling factor
TABLE_4_1 = {"conv2_2": (2, 5, 28, 2), "conv3_3": (4, 5, 56, 4), "conv4_3": (8, 9, 144, 8), "conv5_3": (16, 9, 288, 16),
             "conv(fc)6": (32, 9, 576, 32)}
# lowest stride: R@50, R@70 (at stride 8 printed as 77.9; docs/errata.md), ABO, AR, ms on a Titan X
TABLE_4_2 = {2: (85.5, 57.2, 69.9, 43.2, 287), 4: (79.7, 50.0, 66.5, 38.1, 187), 6: (74.1, 44.3, 63.5, 34.0, 178),
             8: (67.0, 37.9, 59.7, 29.7, 172), 16: (37.8, 18.8, 42.8, 15.3, 165)}
# AR@10, AR@100, AR@1000, ms on a Titan X or K40
TABLE_4_3: dict[str, tuple[float | None, ...]] = {
    "MCG": (7.7, 18.6, 29.9, 30000), "DeepMask": (12.6, 24.5, 33.1, 1600), "DeepMaskZoom": (12.7, 26.1, 36.6, None)}
OURS = (16.0, 25.5, 32.8, 281)
LIMITS = (10, 100, 1000)

NEEDS = [Need("data", "coco"), Need("weights", "VGG_ILSVRC_16_layers.caffemodel"), Need("gpu")]
SMALL_NEEDS = [Need("data", "coco"), Need("weights", "squeezenet_v1.1.caffemodel")]
VAL_PICTURES = 5000   # "a subset of the COCO val set" (4.4.3)


def net_of(context: Context, kind: str) -> str:
    """The region net of a variant: `kind` is the end of its name."""
    return f"{'squeezenet' if context.small else 'vgg16'}-{kind}"


def trained(context: Context, net: str, iters: int | None = None, seed: int | None = None
            ) -> tuple[RegionPredictor, COCO, dict[str, str]]:
    """A region net trained in <experiment>/<net>, or what is there of it; the data set and its splits.

    `iters`: other than the recipe's; `seed`: other than the context's, for which the folder is <net>-<seed>."""
    entry = region_net(net)
    plan = region_plan(net, context.data_name(entry.data), context.iters or iters,
                       str(context.weights_file(entry.weights)) if entry.weights else None,
                       context.seed if seed is None else seed, context.gpu)
    run = RunFolder(context.folder / (net if seed is None else f"{net}-{seed}"))
    train_regions(plan, run, resume=run.config.exists())
    return of_region_run(run.root)[0], plan.dataset, plan.splits


@experiment("table4.1", "The region-generating net, pathway by pathway", "4.4.1")
def assembly(context: Context) -> Result:
    """Read off prototxt/vgg16-regions."""
    rows = {}
    for (feature, thesis), path in zip(TABLE_4_1.items(), pathways("vgg16-regions"), strict=True):
        level = path.level
        ours = (path.stride, level.kernel, level.window, level.factor)
        rows[feature] = [(float(t), float(o)) for t, o in zip(thesis, ours, strict=True)]
    same = all(t == o for row in rows.values() for t, o in row)
    return Result([Table("Table 4.1", ["region stride", "kernel", "window", "upsampling"], rows, 0)],
                  claims=[("Table 4.1", f"the same: {same}", same)], config={"net": "prototxt/vgg16-regions"})


@experiment("table4.3", "Proposals: AR@10, AR@100, AR@1000, beside two baselines", "4.4.5", NEEDS,
            "SqueezeNet with four pathways, on the pictures of COCO that are at hand", SMALL_NEEDS)
def proposals(context: Context) -> Result:
    """The scored net, the same without transposition and matrix, and a disc of the best constant size at each centre.

    Also recall of all regions, on val and (as many pictures) on train: whether the machine can fit.
    """
    ours, plain = net_of(context, "regions-scored"), net_of(context, "regions-convolution-scored")
    found: dict[str, Evaluation] = {}
    iterations = {}
    for net in (ours, plain):
        predictor, dataset, splits = trained(context, net)
        found[f"{net}, train"] = _evaluated(context, f"{net}-train", predictor, dataset, splits["train"])
        found[net] = _evaluated(context, f"{net}-val", predictor, dataset, splits["val"])
        iterations[net] = json.loads(RunFolder(context.folder / net).scores("json").read_text())["iterations"]
    predictor, dataset, splits = trained(context, ours)
    radii, found["disc"] = _discs(context, predictor, dataset, splits)
    rows: dict[str, list[tuple[float | None, float | None]]] = {} if context.small else {
        name: [(value, None) for value in row] for name, row in TABLE_4_3.items()}
    seconds = {net: _forward(net, _weights_of(context, net), _picture()) for net in (ours, plain)}
    for net in (ours, plain, "disc"):
        ar = (found[net].ar or {})["all"]
        numbers = [*(100 * ar[n] for n in LIMITS), 1000 * seconds[net] if net in seconds else None]
        thesis: tuple[float | None, ...] = OURS if net == ours and not context.small else (None,) * 4
        rows[net] = list(zip(thesis, numbers, strict=True))
    recall = {name: [(None, 100 * one.measures[m]) for m in MEASURES] for name, one in found.items()}
    figures.density_figure(context.folder / "density.png", {name: density_table(found[name].objects)
                                                            for name in (ours, plain, "disc")},
                           found[ours].strides[1])
    fit, best = found[f"{ours}, train"].measures["R@50"], found[ours].measures
    claims = [
        ("(not in the thesis) the machine can fit: R@50 of at least 60% on its training pictures",
         f"{100 * fit:.1f}%", fit >= 0.6),
        ("the two operations together improve regions",
         ", ".join(f"{m} {100 * (best[m] - found[plain].measures[m]):+.1f}" for m in MEASURES) + " on val",
         all(best[m] > found[plain].measures[m] for m in MEASURES)),
        ("(not in the thesis) the net finds more than discs of the best constant size",
         ", ".join(f"{m} {100 * (best[m] - found['disc'].measures[m]):+.1f}" for m in MEASURES) + " on val",
         best["AR"] > found["disc"].measures["AR"]),
    ]
    return Result(
        [Table("Table 4.3: average recall of the best N by score (%), and forward time", [
            *(f"AR@{n}" for n in LIMITS), "ms"], rows), Table("recall of all regions (%)", list(MEASURES), recall)],
        [("density.png", "recall on val against the stride of the lowest pathway")], claims,
        [f"{found[ours].pictures} pictures of val with {len(found[ours].objects[1].overlap)} objects; "
         f"{found[ours].regions:.0f} regions a picture. Far too few for a benchmark; every net saw the training "
         "pictures alone." if context.small else f"the first {VAL_PICTURES} pictures of val",
         "Radii of the discs, in cells: " + ", ".join(f"{r:.1f}" for r in radii) + "; AR@N of discs in random order"],
        {"iterations": iterations, "seed": context.seed, "suppression": 0.7},
        {net: sha256(_weights_of(context, net)) for net in (ours, plain)})


def _weights_of(context: Context, net: str) -> Any:
    folder = RunFolder(context.folder / net)
    return folder.root / folder.read_json(folder.scores("json"))["weights"]


def _evaluated(context: Context, name: str, planes_of: Callable[[Any], Any], dataset: COCO, split: str) -> Evaluation:
    """An evaluation that <experiment>/<name>.npz keeps, so that an interrupted experiment goes on after it."""
    kept = context.folder / f"{name}.npz"
    if kept.exists():
        return load(kept)
    found = evaluate(planes_of, dataset, dataset.ids(split)[:VAL_PICTURES])
    save(kept, found)
    write(context.folder / f"{name}.json", to_json(found.record()))
    return found


def _discs(context: Context, predictor: RegionPredictor, dataset: COCO, splits: dict[str, str],
           ) -> tuple[tuple[float, ...], Evaluation]:
    """The baseline that does not look: radii chosen on train, recall on val."""
    kept = context.folder / "disc.npz"
    chosen = context.folder / "disc.json"
    if kept.exists():
        return tuple(json.loads(chosen.read_text())["radius"]), load(kept)
    ids = dataset.ids(splits["train"])[:200]
    pictures = ((predictor.geometry(*dataset.image(i).shape[:2]), dataset.instances(i))
                for i in tqdm(ids, desc="discs", unit="picture", disable=None))
    radii = best_radii(pictures).radius
    found = evaluate(partial(_discs_of, predictor, radii, np.random.default_rng(context.seed)), dataset,
                     dataset.ids(splits["val"])[:VAL_PICTURES])
    write(chosen, to_json({"radius": list(radii)}))
    save(kept, found)
    return radii, found


def _discs_of(predictor: RegionPredictor, radii: tuple[float, ...], draw: np.random.Generator, image: Any
              ) -> list[Plane]:
    """Discs in an order that is drawn: nothing tells a good one from a bad one."""
    planes = [disc(plane, r) for plane, r in zip(predictor.geometry(*image.shape[:2]), radii, strict=True)]
    return [replace(plane, scores=draw.random(plane.grid, np.float32)) for plane in planes]


@experiment("table4.2", "Recall and time by the density of regions", "4.4.5", NEEDS,
            "the net of table4.3 on the same pictures, times of its nets of lower density on the CPU", SMALL_NEEDS)
def density(context: Context) -> Result:
    """The regions of every m-th centre of one trained net.  Times are of whole forward passes for 640 x 480 pixels."""
    base, ours = context.of("table4.3"), net_of(context, "regions-scored")
    predictor, dataset, splits = trained(base, ours)
    found = _evaluated(base, f"{ours}-val", predictor, dataset, splits["val"])
    weights = _weights_of(base, ours)
    family = net_of(context, "regions")
    rows: dict[str, list[tuple[float | None, float | None]]] = {}
    times = {}
    for step, measured in density_table(found.objects).items():
        stride, thesis = found.strides[step], TABLE_4_2.get(2 * step, (None,) * 5)
        name = family if step == 1 else f"{family}-stride{stride}"
        times[stride] = 1000 * _forward(name, weights, _picture())
        ours_row = [*(100 * measured[m] for m in MEASURES), times[stride]]
        shown = (None,) * 5 if context.small else thesis
        rows[str(stride)] = list(zip(shown, ours_row, strict=True))
    first, *others = (row[0][1] or 0.0 for row in rows.values())
    figures.density_figure(context.folder / "density.png", {ours: density_table(found.objects)}, found.strides[1])
    return Result(
        [Table("by the stride of the lowest pathway, in pixels", [*(f"{m} (%)" for m in MEASURES), "ms"], rows)],
        [("density.png", "recall against the lowest stride")],
        [("performance climbs dramatically with density", f"R@50 {others[-1]:.1f} to {first:.1f}",
          first > 1.5 * others[-1]),
         ("feature computation is a significant fixed cost",
          f"{min(times.values()):.0f} of {max(times.values()):.0f} ms remain at the lowest density",
          min(times.values()) > 0.3 * max(times.values()))],
        ["Our nets of lower density leave out places in the matrix product alone: the transposition needs the values "
         "of all. So times fall less than in the thesis."],
        {"net": ours, "seed": context.seed}, {ours: sha256(weights)})


def _picture() -> Any:
    """Of the commonest size, for times."""
    return np.random.default_rng(0).integers(0, 256, (480, 640, 3)).astype(np.uint8)


def _forward(name: str, weights: Any, image: Any, trials: int = 5) -> float:
    """Median seconds of a forward pass, after one that does not count."""
    predictor = RegionPredictor(name, weights)
    taken = []
    for _ in range(trials + 1):
        before = predictor.seconds
        predictor(image)
        taken.append(predictor.seconds - before)
    return float(np.median(taken[1:]))


@experiment("fig4.3", "Weights of single-convolution region prediction, and their differences", "4.3.3", NEEDS,
            "of the net of table4.3 without transposition and matrix", SMALL_NEEDS)
def weights(context: Context) -> Result:
    """How much of each block lies where the block's own part of the window is, for weights and for differences."""
    base, net = context.of("table4.3"), net_of(context, "regions-convolution-scored")
    predictor, *_ = trained(base, net)
    path = predictor.paths[-2]
    values = np.array(predictor.net.params[path.regions][0].data)
    figures.weights_figure(context.folder / "weights.png", values)
    shares = [_under(values, path.level.side, differences) for differences in (False, True)]
    return Result(
        pictures=[("weights.png", f"pathway {path.level.name}: L1 norms over channels, R x R blocks of k x k, and of "
                   "the differences of vertical neighbours")],
        claims=[("significant differences lie over the corresponding part of the image",
                 f"the norm's middle moves with the block: correlation {shares[1]:.2f} for differences, "
                 f"{shares[0]:.2f} for the weights themselves", shares[1] > shares[0])],
        notes=[f"A kernel of {values.shape[2]} x {values.shape[3]} shows less of a window than the thesis's."],
        config={"net": net, "pathway": path.level.name}, weights={net: sha256(_weights_of(base, net))})


def _under(values: Any, side: int, differences: bool) -> float:
    """Correlation over blocks of the block's row and the middle row of its norms: 1 if each lies under its block."""
    norms = block_norms(values, differences)
    lines = np.arange(norms.shape[2])
    middle = (norms.sum(3) * lines).sum(2) / np.maximum(norms.sum((2, 3)), 1e-12)
    rows = np.repeat(np.arange(norms.shape[0])[:, None], norms.shape[1], 1)
    return float(np.corrcoef(rows.ravel(), middle.ravel())[0, 1]) if middle.std() > 0 else 0.0


@experiment("fig4.6", "Which pathway finds objects of which size", "4.3.4", NEEDS, "the net of table4.3", SMALL_NEEDS)
def sizes(context: Context) -> Result:
    base, net = context.of("table4.3"), net_of(context, "regions-scored")
    predictor, dataset, splits = trained(base, net)
    found = _evaluated(base, f"{net}-val", predictor, dataset, splits["val"])
    objects = found.objects[1]
    figures.sizes_figure(context.folder / "sizes.png", objects, found.names)
    of = [objects.size[(objects.overlap >= 0.5) & (objects.pathway == p)] for p in range(len(found.names))]
    median = [float(np.median(sizes)) if len(sizes) else float("nan") for sizes in of]
    known = [m for m in median if np.isfinite(m)]
    return Result(
        pictures=[("sizes.png", "objects of val by sqrt(area); found at I/U 0.5 above, 0.7 below, by pathway")],
        claims=[("each pathway finds the sizes it is made for",
                 "median sqrt(area) of what they find: " + ", ".join(
                     f"{name} {m:.0f}" for name, m in zip(found.names, median, strict=True)), known == sorted(known))],
        config={"net": net}, weights={net: sha256(_weights_of(base, net))})


@experiment("fig4.5", "The planes of regions of one picture", "4.3.4", NEEDS, "the net of table4.3", SMALL_NEEDS)
def planes(context: Context) -> Result:
    base, net = context.of("table4.3"), net_of(context, "regions-scored")
    predictor, dataset, splits = trained(base, net)
    picture = dataset.ids(splits["val"])[0]
    image = dataset.image(picture)
    figures.planes_figure(context.folder / "planes.png", predictor(image), image)
    return Result(pictures=[("planes.png", f"picture {picture}: shapes of regions at their places, finest first")],
                  config={"net": net}, weights={net: sha256(_weights_of(base, net))})


@experiment("fig4.7", "The best region of each object", "4.5", NEEDS, "the net of table4.3", SMALL_NEEDS)
def matches(context: Context) -> Result:
    return _matches(context, 0)


@experiment("fig4.8", "The best region of each object, more pictures", "4.5", NEEDS, "the net of table4.3", SMALL_NEEDS)
def more_matches(context: Context) -> Result:
    return _matches(context, 1)


def _matches(context: Context, part: int) -> Result:
    """Six pictures of every second one of val, from the first or the second on."""
    base, net = context.of("table4.3"), net_of(context, "regions-scored")
    predictor, dataset, splits = trained(base, net)
    rows = []
    for picture in spread(dataset.ids(splits["val"])[part::2], 6):
        image = dataset.image(picture)
        instances = [one for one in dataset.instances(picture) if not one.crowd]
        shown = predictor(image)
        rows.append((image, shown, instances, best_overlaps(shown, instances)))
    figures.matches_figure(context.folder / "matches.png", rows)
    return Result(pictures=[("matches.png", "pictures of val: ground truth, and the closest region of each object")],
                  config={"net": net}, weights={net: sha256(_weights_of(base, net))})
