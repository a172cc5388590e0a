"""The commands of tools/correspond.py on alignment: align, pairs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from correspondence.align import SWEEPS, Flow, align, identity, sift_grid
from correspondence.energy import BETA
from correspondence.grids import FeatureNet, Grid
from correspondence.pck import Case, Choices, by_method, evaluate
from data.dataset import read_image
from data.warped_pairs import SMALL, Change, WarpedPairs
from tools.errors import DataError
from tools.flow_pictures import flow_colours
from tools.session import choose_device, parse_mean

MEAN = (104.0, 117.0, 123.0)


def register(commands: Any) -> None:
    """Add the commands to a parser's subparsers."""
    p = _command(commands, "align", align_two, "warp an image to another one (thesis 2.2)")
    p.add_argument("source", metavar="SOURCE", help="the image to match")
    p.add_argument("target", metavar="TARGET", help="the image that is warped")
    p.add_argument("--out", default=".", metavar="DIR", help="for <features>_warped.png, _flow.png and _flow.npz")
    p = _command(commands, "pairs", score_pairs, "PCK on photographs beside warped ones, of which the truth is known")
    p.add_argument("photographs", metavar="DIR")
    p.add_argument("--count", type=int, default=20, metavar="N", help="pairs (20)")
    p.add_argument("--side", type=int, default=227, metavar="PIXELS", help="of the images (227)")
    p.add_argument("--small-warps", action="store_true", help="small warps in the same light without noise")
    p.add_argument("--seed", type=int, default=2014)


def _command(commands: Any, name: str, run: Any, words: str) -> argparse.ArgumentParser:
    p: argparse.ArgumentParser = commands.add_parser(name, help=words, description=words)
    p.add_argument("--net", metavar="PROTOTXT", help="a deploy net, for convnet flow")
    p.add_argument("--weights", metavar="FILE", help="its caffemodel (default: the values of its fillers)")
    p.add_argument("--layers", nargs="+", default=[], metavar="LAYER", help="names of blobs or layers, a flow for each")
    p.add_argument("--sift", type=float, nargs="+", default=[], metavar="RADIUS",
                   help="SIFT flow by descriptors of these radii, at the centres of the first layer, or at --stride")
    p.add_argument("--stride", type=int, default=8, metavar="PIXELS", help="of SIFT's grid where there is no net (8)")
    p.add_argument("--mean", metavar="B,G,R", help="mean to subtract (104,117,123)")
    p.add_argument("--gpu", type=int, metavar="N", help="compute on this GPU (default: on the CPU)")
    p.add_argument("--beta", type=float, default=BETA, help=f"weight of the deformation ({BETA:g})")
    p.add_argument("--reach", type=int, metavar="STEPS", help="longest displacement (default: a third of the grid)")
    p.add_argument("--levels", type=int, metavar="N", help="grids, each half as fine (default: until 32 x 32 suffice)")
    p.add_argument("--sweeps", type=int, default=SWEEPS, help=f"of belief propagation, at most ({SWEEPS})")
    p.set_defaults(run=run)
    return p


class _Features:
    """The grids of an image that the arguments ask for, by name."""

    def __init__(self, given: argparse.Namespace) -> None:
        if bool(given.net) != bool(given.layers) or not (given.net or given.sift):
            raise DataError("no features to align by", expected="--net with --layers, or --sift",
                            help="for instance --sift 20")
        if given.stride < 1 or any(radius <= 0 for radius in given.sift):
            raise DataError("strides and radii are above 0", found=f"--stride {given.stride}, --sift {given.sift}")
        self.given, self.net = given, None
        if given.net:
            choose_device(given.gpu)
            self.net = FeatureNet(given.net, given.weights, given.layers, parse_mean(given.mean) or MEAN)

    def of(self, image: NDArray[np.uint8]) -> dict[str, Grid]:
        grids = self.net.grids(image) if self.net else {}
        stride = self.given.stride
        places = [range(stride // 2, length, stride) for length in image.shape[:2]]
        plain = Grid(np.zeros((*map(len, places), 1), np.float32), stride // 2, stride, stride)
        like = next(iter(grids.values()), plain)
        return grids | {f"SIFT {radius:g}": sift_grid(image, like, radius) for radius in self.given.sift}

    def flow(self, source: Grid, target: Grid) -> Flow:
        return align(source, target, self.given.beta, self.given.reach, self.given.levels, self.given.sweeps)


def align_two(given: argparse.Namespace) -> None:
    """Write the warped target, the flow's colours and the flow for each kind of features; print the energies."""
    features, source, target = _Features(given), read_image(given.source), read_image(given.target)
    out = Path(given.out)
    out.mkdir(parents=True, exist_ok=True)
    of_source, of_target = features.of(source), features.of(target)
    for name, grid in of_source.items():
        flow = features.flow(grid, of_target[name])
        stem = name.replace("/", "_").replace(" ", "_")
        Image.fromarray(flow.warp(target, *source.shape[:2])).save(out / f"{stem}_warped.png")
        Image.fromarray(flow_colours(flow, *source.shape[:2])).save(out / f"{stem}_flow.png")
        moved = flow.stride * flow.steps[..., ::-1]
        np.savez(out / f"{stem}_flow.npz", x=flow.columns, y=flow.rows, displacement=moved)
        print(f"{name}: {grid.shape[0]} x {grid.shape[1]} centres, stride {grid.stride:g}; energy {flow.energy:.4f} = "
              f"data {flow.data_term:.4f} + deformation {flow.deformation:.4f}; longest displacement "
              f"{grid.stride * np.abs(flow.steps).max():g} pixels")


def score_pairs(given: argparse.Namespace) -> None:
    """Print the PCK of each kind of features, and of no flow, on generated pairs."""
    from tqdm import tqdm

    features = _Features(given)
    pairs = WarpedPairs(given.photographs, given.side, SMALL if given.small_warps else Change(), given.seed)
    cases: dict[str, list[Case]] = {}
    for number in tqdm(range(given.count), desc="pairs", disable=not sys.stderr.isatty()):
        pair = pairs[number]
        points = np.random.default_rng(number).uniform(0, given.side - 1, (200, 2))
        truth = pair.forward(points)
        truth[~pair.inside(truth)] = np.nan
        of_source, of_target = features.of(pair.source), features.of(pair.target)
        flows = {name: features.flow(grid, of_target[name]) for name, grid in of_source.items()}
        for name, flow in {**flows, "no flow": identity(next(iter(of_source.values())))}.items():
            cases.setdefault(name, []).append(
                Case("pairs", flow.forward(points), truth, image=(given.side, given.side)))
    choices = Choices("image", "point", "all", frame=f"squares of {given.side} pixels")
    print(by_method({name: evaluate(each, choices) for name, each in cases.items()}))
