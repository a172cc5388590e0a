"""Region nets (thesis, chapter 4): `python tools/regions.py train | propose | eval | show`.

    python tools/regions.py train squeezenet-regions-scored --data DIR        a run folder, as of tools/solve.py
    python tools/regions.py propose --run DIR photos/ --out proposals/        COCO results, overlays, planes
    python tools/regions.py eval --run DIR                                    R@50, R@70, ABO, AR; by size, by density
    python tools/regions.py show --run DIR --out pictures/                    best matches, planes, weights

docs/regions.md.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from prototxt.regions import REGION_NETS
from tools.errors import RunError, exit_status
from tools.region_eval import evaluate
from tools.region_run import of_region_run, opened, region_plan, train_regions
from tools.region_show import propose_pictures, show, show_recall
from tools.run_folder import RunFolder, free_folder, write
from tools.score_files import to_json
from tools.session import choose_device
from tools.stopping import says_how_to_go_on


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="regions.py", description=(__doc__ or "").splitlines()[0])
    commands = p.add_subparsers(dest="command", required=True)

    def command(name: str, run: Any, help: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help, description=help)
        sub.set_defaults(run=run)
        sub.add_argument("--gpu", type=int, metavar="N", help="compute on this GPU (default: on the CPU)")
        return sub

    train = command("train", _train, "train a region net")
    train.add_argument("net", metavar="NET", help="one of " + ", ".join(REGION_NETS))
    train.add_argument("--data", metavar="NAME_OR_DIR", help="a folder in COCO's layout (default: the net's set)")
    train.add_argument("--iters", type=int, metavar="N", help="iterations (default: the recipe's)")
    train.add_argument("--weights", metavar="FILE", help="the classifier's caffemodel, or none")
    train.add_argument("--seed", type=int, default=1337)
    train.add_argument("--out", metavar="DIR", help="run folder (default: runs/NET, or the next free name)")
    train.add_argument("--resume", action="store_true", help="go on with the run in --out")

    def of_run(name: str, run: Any, help: str) -> argparse.ArgumentParser:
        sub = command(name, run, help)
        sub.add_argument("--run", dest="root", metavar="DIR", required=True, help="a run folder of train")
        sub.add_argument("--net", metavar="NET", help="another net with these weights, for instance of lower density")
        return sub

    def of_data(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("--data", metavar="NAME_OR_DIR", help="data set (default: the run's)")
        sub.add_argument("--split", help="its split (default: the run's validation split)")
        sub.add_argument("--pictures", type=int, metavar="N", help="the first N only")

    proposer = of_run("propose", _propose, "regions of pictures as COCO results, overlays and pictures of the planes")
    proposer.add_argument("images", nargs="+", metavar="IMAGE", help="picture files or folders of them")
    proposer.add_argument("--out", default="proposals", metavar="DIR")
    proposer.add_argument("--most", type=int, default=100, metavar="N", help="regions for each picture (100)")
    proposer.add_argument("--overlap", type=float, default=0.7, metavar="IU",
                          help="a region that overlaps a better one by more is dropped (0.7)")
    evaluator = of_run("eval", _eval, "recall: of all regions, and of the best by score")
    of_data(evaluator)
    evaluator.add_argument("--overlap", type=float, default=0.7, metavar="IU", help="as for propose")
    evaluator.add_argument("--json", metavar="FILE", help="write all numbers")
    evaluator.add_argument("--out", metavar="DIR", help="draw sizes.png (Figure 4.6) and density.png there")
    shower = of_run("show", _show, "for each object the best region, the planes, sizes, and the weights")
    of_data(shower)
    shower.add_argument("--out", default="regions", metavar="DIR")
    return p


def _train(given: argparse.Namespace) -> None:
    plan = region_plan(given.net, given.data, given.iters, given.weights, given.seed, given.gpu)
    if given.resume and not given.out:
        raise RunError("--resume: which run?", help="give its folder as --out")
    folder = RunFolder(given.out or free_folder(Path("runs") / given.net))
    with says_how_to_go_on(given.words, folder.root):
        record = train_regions(plan, folder, given.resume, shlex.join(given.words))
    print(f"{record['net']}: loss {record['loss']:.4g} after {record['iterations']} iterations, "
          f"{record['train_seconds']:.0f} s; weights {folder.root / record['weights']}")


def _propose(given: argparse.Namespace) -> None:
    choose_device(given.gpu)
    predictor, _ = of_region_run(given.root, given.net)
    count = propose_pictures(predictor, given.images, Path(given.out), given.overlap, given.most)
    print(f"{count} regions in {Path(given.out) / 'results.json'}; "
          f"{1000 * predictor.seconds / predictor.pictures:.0f} ms a picture in the net")


def _eval(given: argparse.Namespace) -> None:
    choose_device(given.gpu)
    predictor, settings = of_region_run(given.root, given.net)
    dataset, ids = opened(settings, given.data, given.split, given.pictures)
    found = evaluate(predictor, dataset, ids, given.overlap)
    print(found.text())
    if given.json:
        write(Path(given.json), to_json(found.record()))
    if given.out:
        for path in show_recall(found, given.out):
            print(path)


def _show(given: argparse.Namespace) -> None:
    choose_device(given.gpu)
    predictor, settings = of_region_run(given.root, given.net)
    dataset, ids = opened(settings, given.data, given.split, given.pictures or 6)
    for path in show(predictor, dataset, ids, Path(given.out)):
        print(path)


def main(arguments: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if arguments is None else arguments)
    given = parser().parse_args(words, argparse.Namespace(words=words))
    return exit_status(lambda: given.run(given))


if __name__ == "__main__":
    sys.exit(main())
