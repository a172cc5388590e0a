"""Alignment where the truth is known (thesis 2.2): photographs beside warped ones, and energies on real pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from correspondence.align import SWEEPS, Flow, align, identity, sift_grid
from correspondence.energy import BETA, belief_propagation, between, icm, independent
from correspondence.grids import Grid
from correspondence.neighbours import unit
from correspondence.pck import ALPHAS, Case, Choices, Report, evaluate
from data.dataset import read_image
from data.warped_pairs import SMALL, Pair, WarpedPairs
from prototxt import build, squeezenet
from tools.experiments.features import SQUEEZENET, Classifier, bar, photographs
from tools.experiments.registry import Context, Need, Result, Table, experiment
from tools.flow_pictures import flow_colours
from tools.pictures import grid as pictures

SIDE = 227
LAYERS = ("fire3/concat", "fire5/concat", "fire7/concat", "fire9/concat")   # strides 4, 8, 16, 16
SIFT_AT = "fire7/concat"                                                    # at whose centres SIFT is taken
RADII = (10, 20, 40, 80, 160)
POINTS = 200       # of each pair, anywhere
PAIRS, SMALL_PAIRS, EASY, REAL = 100, 8, 6, 6
ALIKE = 2.0        # points of PCK that count as no difference
STIFF = 0.03       # a beta chosen on six other pairs: a photograph warps more smoothly than a class varies
STIFFLY = f", beta {STIFF:g}"
CHOICES = Choices("image", "point", "all", ALPHAS, f"squares of {SIDE} pixels")


@experiment("pairs2.2", "Known correspondence: flows by layer and by SIFT's radius, nearest features, no flow", "2.2",
            [Need("data", "camvid"), SQUEEZENET], f"{SMALL_PAIRS} pairs instead of {PAIRS}",
            [Need("data", "camvid"), SQUEEZENET])
def warped_pairs(context: Context) -> Result:
    """PCK of points of warped photographs; how many are found within a step where the warp is small; energies."""
    net = Classifier("SqueezeNet v1.1", build("squeezenet-fcn16s"), context.weights_file(squeezenet.WEIGHTS),
                     squeezenet.MEAN, LAYERS, LAYERS[-1], LAYERS[-1], False)
    layers, photos = net.net(), photographs(context)
    photos = [photos[i] for i in np.random.default_rng(context.seed).permutation(len(photos))]
    pairs = WarpedPairs(photos, SIDE, seed=context.seed)
    cases: dict[str, list[Case]] = {}
    for number in bar("pairs")(range(SMALL_PAIRS if context.small else PAIRS)):
        for method, case in score(pairs[number], layers, number).items():
            cases.setdefault(method, []).append(case)
        if number == 0:
            draw(context, pairs[number], layers)
    reports = {method: evaluate(each, CHOICES) for method, each in cases.items()}
    easy = WarpedPairs(photos[::-1], SIDE, SMALL, context.seed)
    within = np.mean([near(easy[i], layers, i) for i in bar("small warps")(range(EASY))], axis=0)
    energies = [energies_of(one, other, layers) for one, other in bar("real pairs")(real_pairs(photos))]
    return Result(tables(reports, within, energies), [("pair.png", PICTURE)],
                  claims_of(reports, within, energies),
                  [f"{CHOICES}; N {reports['no flow'].keypoints['pairs']} points of "
                   f"{reports['no flow'].objects['pairs']} pairs; points that the target does not show do not count.",
                   "Nearest feature: each centre by itself, in the same window; between centres both are interpolated "
                   "by the same spline.",
                   f"Real pairs: {REAL} photographs, each beside another one."],
                  {"net": net.name, "photographs": str(len(photos)), "seed": context.seed,
                   "SIFT at centres of": SIFT_AT},
                  net.hashes())


PICTURE = ("source and target; the target warped by the flow of fire7 and by SIFT flow of radius 20; true and found "
           "displacements as colours (red to the right, green-yellow down)")


def described(image: NDArray[np.uint8], layers: Any) -> dict[str, Grid]:
    """All features of an image by name."""
    grids: dict[str, Grid] = layers.grids(image)
    return grids | {f"SIFT {radius}": sift_grid(image, grids[SIFT_AT], radius) for radius in RADII}


def score(pair: Pair, layers: Any, number: int) -> dict[str, Case]:
    """Each method's predictions of random points of a pair."""
    points = np.random.default_rng(number).uniform(0, SIDE - 1, (POINTS, 2))
    truth = pair.forward(points)
    truth[~pair.inside(truth)] = np.nan
    source, target = described(pair.source, layers), described(pair.target, layers)

    def case(flow: Flow) -> Case:
        return Case("pairs", flow.forward(points), truth, image=(SIDE, SIDE))

    found = {f"{name} flow{note}": case(align(source[name], target[name], beta))
             for beta, note in ((BETA, ""), (STIFF, STIFFLY)) for name in source}
    found |= {f"{name}, nearest feature": case(nearest_feature(source[name], target[name]))
              for name in (*LAYERS[1:], *(f"SIFT {radius}" for radius in RADII))}
    return found | {"no flow": case(identity(source[SIFT_AT]))}


def nearest_feature(source: Grid, target: Grid) -> Flow:
    """Each centre's nearest feature in its window, whatever its neighbours'."""
    energy = between(unit(source.features), unit(target.features), -(-max(source.shape) // 3))
    steps = energy.displacement(independent(energy))
    return Flow(source.rows(), source.columns(), source.stride, steps)


def near(pair: Pair, layers: Any, number: int) -> list[list[float]]:
    """Of random points of a small warp, the percentages that flows find within one step: features x two betas."""
    points = np.random.default_rng(number).uniform(0, SIDE - 1, (POINTS, 2))
    truth = pair.forward(points)
    inside = pair.inside(truth)
    source, target = described(pair.source, layers), described(pair.target, layers)
    shares = []
    for name in source:
        flows = [align(source[name], target[name], beta) for beta in (BETA, STIFF)]
        apart = [abs(flow.forward(points) - truth).max(axis=1)[inside] for flow in flows]
        shares.append([100 * float((each <= source[name].stride).mean()) for each in apart])
    return shares


def real_pairs(photos: Sequence[Any]) -> list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Squares of photographs, each with that of the next."""
    def square(path: Any) -> NDArray[np.uint8]:
        image = Image.fromarray(read_image(path))
        low = min(image.size)
        left, top = (image.width - low) // 2, (image.height - low) // 2
        return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC, (left, top, left + low, top + low)))

    images = [square(path) for path in photos[: REAL + 1]]
    return list(zip(images, images[1:], strict=False))


def energies_of(one: NDArray[np.uint8], other: NDArray[np.uint8], layers: Any) -> dict[str, list[float]]:
    """The energies that three minimisers reach, for a layer and for SIFT."""
    made = {}
    for name, a, b in ((name, one, other) for name in (SIFT_AT, "SIFT 20")):
        features = []
        for image in (a, b):
            grid = layers.grids(image)[SIFT_AT]
            features.append(unit((grid if name == SIFT_AT else sift_grid(image, grid, 20)).features))
        energy = between(features[0], features[1], -(-max(features[0].shape[:2]) // 3))
        made[name] = [energy.total(labels) for labels in (
            belief_propagation(energy, SWEEPS, levels=3), icm(energy), independent(energy))]
    return made


def names_of() -> list[str]:
    """All features, in the order of `described`."""
    return [*LAYERS, *(f"SIFT {radius}" for radius in RADII)]


def tables(
    reports: dict[str, Report], within: NDArray[np.float64], energies: list[dict[str, list[float]]]
) -> list[Table]:
    """The three tables."""
    return [
        Table("PCK (%) on generated pairs", [f"alpha {a:g}" for a in ALPHAS],
              {method: [(None, float(v)) for v in report.mean] for method, report in reports.items()}),
        Table("small warps without noise: points within one step of the grid (%)",
              [f"beta {BETA:g}", f"beta {STIFF:g}"],
              {name: [(None, float(v)) for v in shares] for name, shares in zip(names_of(), within, strict=True)}),
        Table("energy on real pairs, mean", ["belief propagation", "ICM", "independent minimum"],
              {name: [(None, float(v)) for v in np.mean([e[name] for e in energies], axis=0)]
               for name in energies[0]}, 3),
    ]


def claims_of(
    reports: dict[str, Report], within: NDArray[np.float64], energies: list[dict[str, list[float]]]
) -> list[tuple[str, str, bool]]:
    """What section 2.2 leads one to expect."""
    means = {method: report.mean for method, report in reports.items()}
    conv, sift = (max((m for m in means if m.startswith(kind) and m.endswith(" flow")), key=lambda m: means[m][0])
                  for kind in ("fire", "SIFT"))
    stiff = [max(float(means[m][0]) for m in means if m.startswith(kind) and m.endswith(STIFFLY))
             for kind in ("fire", "SIFT")]
    numbers = {m: ", ".join(f"{v:.1f}" for v in means[m]) for m in means}
    flows = [m for m in means if m.endswith(" flow") and m != "no flow"]
    smooth = [(m, m.removesuffix(" flow") + ", nearest feature") for m in flows]
    better = [m for m, alone in smooth if alone in means and means[m][0] >= means[alone][0]]
    compared = [m for m, alone in smooth if alone in means]
    ends = [e[name] for e in energies for name in e]
    lower, above = (sum(sign * (end[0] - min(end[1:])) > 1e-6 for end in ends) for sign in (-1, 1))
    return [
        ("convnet features are at least as capable as SIFT at alignment",
         f"best of each at alpha 0.1, 0.05, 0.025: {conv} {numbers[conv]}; {sift} {numbers[sift]}; with a beta of "
         f"{STIFF:g} {stiff[0]:.1f} and {stiff[1]:.1f} at alpha 0.1; up to {ALIKE:g} points below counts as at least",
         bool(means[conv][0] >= means[sift][0] - ALIKE)),
        ("and better at stricter tolerances", f"{conv} {numbers[conv]}; {sift} {numbers[sift]}",
         bool((means[conv][1:] > means[sift][1:]).all())),
        ("any flow is better than none",
         f"no flow {means['no flow'][0]:.1f} at alpha 0.1; worse: " + (", ".join(
             f"{m} {means[m][0]:.1f}" for m in flows if means[m][0] <= means["no flow"][0]) or "none"),
         all(means[m][0] > means["no flow"][0] for m in flows)),
        ("smoothness helps: flow against the nearest feature", f"better for {len(better)} of {len(compared)} features",
         len(better) == len(compared)),
        ("small warps are found within one step for 95 % of points, whatever the features",
         "by " + ", ".join(f"{name} {shares[0]:.1f} %" for name, shares in zip(names_of(), within, strict=True)),
         bool((within[:, 0] >= 95).all())),
        ("belief propagation ends below ICM and the independent minimum",
         f"on {lower} of {len(ends)} real pairs; above the lower of the two on {above}; where it does not, ICM ends at "
         "the same energy", lower > 0 and not above),
    ]


def draw(context: Context, pair: Pair, layers: Any) -> None:
    """pair.png."""
    source, target = described(pair.source, layers), described(pair.target, layers)
    flows = [align(source[name], target[name]) for name in (SIFT_AT, "SIFT 20")]
    centres = source[SIFT_AT].centres()
    steps = (pair.forward(centres) - centres.reshape(-1, 2)).reshape(centres.shape)[..., ::-1] / flows[0].stride
    true = Flow(flows[0].rows, flows[0].columns, flows[0].stride, steps)
    rows = [[pair.source, *(flow.warp(pair.target, SIDE, SIDE) for flow in (true, *flows))],
            [pair.target, *(flow_colours(flow, SIDE, SIDE) for flow in (true, *flows))]]
    captions = ["source; target", "by the truth", SIFT_AT, "SIFT 20"]
    Image.fromarray(pictures(rows, captions)).save(context.folder / "pair.png")
