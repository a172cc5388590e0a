"""Score a net on a data set: pixel acc., mean acc., mean IU, f.w. IU, IU per class (thesis, section 3.4.1).

    python tools/score.py --run runs/demo
    python tools/score.py --net deploy.prototxt --weights fcn8s.caffemodel --data voc2011 --split val
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from data import open_dataset
from tools.errors import RunError, exit_status
from tools.plan import splits_of
from tools.run_folder import write
from tools.score_files import full_text, to_csv, to_json
from tools.scoring import score as score  # `from tools.score import score`
from tools.session import add_net_arguments, choose_device, trained_net


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="score.py", description=(__doc__ or "").splitlines()[0])
    add_net_arguments(p)
    p.add_argument("--data", metavar="NAME_OR_DIR", help="data set (default with --run: the run's)")
    p.add_argument("--split", help="its split (default: what the run validates on, or val)")
    p.add_argument("--batch", type=int, default=8, metavar="N", help="small images of one size at a time (8)")
    p.add_argument("--present-only", action="store_true",
                   help="leave classes without a pixel in the split out of mean IU, as for SIFT Flow")
    p.add_argument("--json", metavar="FILE", help="write the scores as JSON")
    p.add_argument("--csv", metavar="FILE", help="write the scores as CSV")
    p.add_argument("--save-predictions", metavar="DIR", help="write each prediction as palette PNG")
    return p


def run(given: argparse.Namespace) -> None:
    """Score as the arguments say and print the tables."""
    trained = trained_net(given)
    named = given.data or trained.data
    if named is None:
        raise RunError("which data set?", help="give --data NAME_OR_DIR")
    if given.batch < 1:
        raise RunError("--batch must be at least 1", found=given.batch, help="8 is the default")
    dataset = open_dataset(named)
    choose_device(given.gpu)
    split = given.split or (splits_of(trained.stage, dataset)["val"] if trained.stage else "val")
    found = score(trained.load(), dataset, split, given.save_predictions, feeds=trained.feeds,
                  batch=given.batch, present_only=given.present_only)
    name = trained.weights.stem
    records = {name: found.record(dataset)}
    print(full_text(records, f"{dataset.name} {split}, {found.images} images, {found.seconds:.1f} s"))
    if warning := found.warning(dataset.classes):
        print(f"warning: {warning}", file=sys.stderr)
    if found.loss is not None:
        print(f"loss {found.loss:.6g}")
    for path, text in ((given.json, to_json), (given.csv, to_csv)):
        if path:
            write(Path(path), text(records))


def main(arguments: Sequence[str] | None = None) -> int:
    given = parser().parse_args(arguments)
    return exit_status(lambda: run(given))


if __name__ == "__main__":
    sys.exit(main())
