"""Figure 4.4, the timings of 4.3.4, and a set that no labelling of pixels can separate (4.1)."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from google.protobuf import text_format
from scipy import ndimage

import caffe
from proposals import figures
from proposals.overlap import best_overlaps
from proposals.recall import measures
from prototxt.regions import ABLATION, build_regions, region_net
from tools.experiments.regions import NEEDS, SMALL_NEEDS, net_of, trained
from tools.experiments.registry import Context, Need, Result, Table, experiment
from tools.pictures import spread
from tools.region_eval import MEASURES, evaluate
from tools.run_folder import RunFolder, sha256

SEEDS = (1, 2, 3)
NAMES = {"plain": "neither", "transpose": "transpose", "matrix": "matrix", "both": "both together"}


@experiment("fig4.4", "One pathway with and without transposition and matrix multiplication", "4.3.3", NEEDS,
            "SqueezeNet's pathway of stride 8, few iterations, three seeds", SMALL_NEEDS)
def ablation(context: Context) -> Result:
    """Four nets that differ in the two operations alone; recall of all regions on val, by seed."""
    iterations, seeds = (300, SEEDS) if context.small else (40000, SEEDS)
    found: dict[str, list[dict[str, float]]] = {}
    weights: dict[str, str] = {}
    for kind in ABLATION:
        net = net_of(context, f"pathway-{kind}")
        for seed in seeds:
            predictor, dataset, splits = trained(context, net, iterations, seed)
            found.setdefault(kind, []).append(
                evaluate(predictor, dataset, dataset.ids(splits["val"])[:5000], densities=(1,), scored=False).measures)
            folder = RunFolder(context.folder / f"{net}-{seed}")
            weights[f"{net}-{seed}"] = sha256(folder.root / folder.read_json(folder.scores("json"))["weights"])
    rows: dict[str, list[tuple[float | None, float | None]]] = {}
    for kind, each in found.items():
        values = np.array([[100 * one[m] for m in MEASURES] for one in each])
        rows[NAMES[kind]] = [(None, float(v)) for v in (*values.mean(0), np.ptp(values[:, 2]))]
    abo = {NAMES[kind]: [one["ABO"] for one in each] for kind, each in found.items()}
    figures.ablation_figure(context.folder / "ablation.png", abo, "ABO")
    gains = {kind: np.array([[one[m] - base[m] for m in ("ABO", "AR")]
                             for one, base in zip(found[kind], found["plain"], strict=True)]) for kind in ABLATION}
    text = {kind: ", ".join(f"{100 * value:+.1f}" for value in gain[:, 0]) for kind, gain in gains.items()}
    mean, mean_ar = ({kind: float(gain[:, m].mean()) for kind, gain in gains.items()} for m in (0, 1))
    return Result(
        [Table("mean over seeds, all regions, objects of val (%)", [*MEASURES, "range of ABO"], rows)],
        [("ablation.png", "ABO on val, as Figure 4.4; dots are seeds")],
        [("both together boost performance more than either alone", "ABO against neither, by seed: both "
          f"{text['both']}; matrix {text['matrix']}; transpose {text['transpose']}. AR in the mean: "
          + ", ".join(f"{NAMES[kind]} {100 * mean_ar[kind]:+.1f}" for kind in ("both", "matrix", "transpose")),
          mean["both"] > max(mean["matrix"], mean["transpose"], 0.0)),
         ("the transposition alone has at most a small effect",
          f"{100 * mean['transpose']:+.1f}; under 2 points is small", mean["transpose"] < 0.02),
         ("the matrix multiplication alone has a larger effect", f"{100 * mean['matrix']:+.1f} against "
          f"{100 * mean['transpose']:+.1f} of the transposition", mean["matrix"] > mean["transpose"])],
        ["The matrix begins as the identity, so nets with and without it begin with equal regions."],
        {"iterations": iterations, "seeds": list(seeds),
         "nets": [net_of(context, f"pathway-{kind}") for kind in ABLATION]},
        weights)


# milliseconds on a Titan X, 640 x 480 pixels
COARSEST, TWOFOLD, THREEFOLD, PYRAMID = 161.0, 416.0, 922.0, 292.0


@experiment("timing4.3.4", "The feature pyramid against an image pyramid", "4.3.4", [Need("gpu")],
            "SqueezeNet's pathways on the CPU, median of 3")
def pyramid(context: Context) -> Result:
    """Forward passes with random weights: the coarsest pathway alone on an image, twice and three times as large, and
    all pathways on the image."""
    family = net_of(context, "regions")
    size, trials = (480, 640), 3 if context.small else 20
    times = {f"coarsest pathway, {m}x image" if m > 1 else "coarsest pathway": _milliseconds(
        context, family, [m * s for s in size], True, trials) for m in (1, 2, 3)}
    times["all pathways"] = _milliseconds(context, family, size, False, trials)
    rows = {name: [(thesis, value)] for (name, value), thesis in zip(
        times.items(), (COARSEST, TWOFOLD, THREEFOLD, PYRAMID), strict=True)}
    alone, second, *_, whole = times.values()
    return Result(
        [Table("forward, 640 x 480 pixels", ["ms"], rows, 0)],
        claims=[("the whole feature pyramid takes about half the time of one more level of an image pyramid",
                 f"{whole:.0f} ms against {alone:.0f} + {second:.0f} ms: {whole / (alone + second):.2f}",
                 whole < 0.75 * (alone + second))],
        notes=["Times on another machine compare only by their ratio. The image pyramid's net ends at its coarsest "
               "pathway."],
        config={"net": family, "trials": trials})


def _milliseconds(context: Context, name: str, size: Any, coarsest: bool, trials: int) -> float:
    net = build_regions(name, shape=(1, 3, *size))
    if coarsest:
        last = region_net(name).levels[-1].name
        others = [f"_{level.name}" for level in region_net(name).levels if level.name != last]
        keep = [x for x in net.layer if not (x.name.startswith(("pairs_", "transposed_", "regions_"))
                                             and x.name.endswith(tuple(others)))]
        net = type(net)(name=net.name, layer=keep)
    path = context.folder / "net.prototxt"
    path.write_text(text_format.MessageToString(net), encoding="utf-8")
    loaded = caffe.Net(str(path), caffe.TEST)
    taken = []
    for _ in range(trials + 1):
        begun = time.perf_counter()
        loaded.forward()
        for blob in loaded.outputs:
            loaded.blobs[blob].data.ravel()   # waits for a GPU
        taken.append(time.perf_counter() - begun)
    return 1000 * float(np.median(taken[1:]))


@experiment("touching4.1", "Adjacent objects of one class, which no labelling of pixels separates", "4.1", [])
def touching(context: Context) -> Result:
    """A small net on drawn discs that touch; beside it the best that labels of pixels could do: connected pieces."""
    predictor, dataset, splits = trained(context, "small-regions")
    ids = dataset.ids(splits["val"])
    found = evaluate(predictor, dataset, ids, densities=(1,), scored=False)
    pieces = _pieces(dataset, ids)
    rows = {"region net": found.measures, "perfect labels, connected pieces": pieces}
    shown = []
    for picture in spread(ids, 4):
        image, instances = dataset.image(picture), dataset.instances(picture)
        planes = predictor(image)
        shown.append((image, planes, instances, best_overlaps(planes, instances)))
    figures.matches_figure(context.folder / "matches.png", shown)
    return Result(
        [Table("recall on val (%)", list(MEASURES), {name: [(None, 100 * row[m]) for m in MEASURES]
                                                     for name, row in rows.items()})],
        [("matches.png", "discs of val, and the closest region of each")],
        [("pairs of pixels separate what labels of pixels cannot (AR of 70%)",
          f"AR {100 * found.measures['AR']:.1f}; perfect labels {100 * pieces['AR']:.1f}",
          found.measures["AR"] >= 0.7)],
        config={"net": "small-regions", "seed": context.seed})


def _pieces(dataset: Any, ids: Any) -> dict[str, float]:
    """Recall of the connected pieces of the truth's own labels: one class, so that touching discs are one piece."""
    overlap = []
    for picture in ids:
        masks = [one.mask for one in dataset.instances(picture)]
        pieces, count = ndimage.label(np.any(masks, 0))
        overlap += [max((np.sum(mask & (pieces == k)) / np.sum(mask | (pieces == k)) for k in range(1, count + 1)),
                        default=0.0) for mask in masks]
    return measures(np.array(overlap))


