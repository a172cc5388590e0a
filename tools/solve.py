"""Train a net stage by stage, each from the last, with scores after each: `python tools/solve.py fcn8s`.

Leaves one folder with config, log, curve, plot, snapshots, scores, pictures and a report; docs/training.md.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from prototxt import NETS
from prototxt.solvers import RECIPES
from tools.curve import Curve
from tools.errors import CaffeError, RunError, Stopped, report
from tools.pictures import spread
from tools.plan import Plan, make_plan
from tools.plots import pyplot
from tools.run_folder import RunFolder, free_folder
from tools.run_log import logged_to, say
from tools.score_files import comparison_table
from tools.session import choose_device
from tools.stages import free_memory, run_stage
from tools.stopping import StopRequest, says_how_to_go_on
from tools.summary import summarise


def solve(plan: Plan, folder: RunFolder, resume: bool = False, command: str = "") -> dict[str, dict]:
    """Run a plan in a folder, or the rest of it with `resume`; returns the score record of each stage.

    `command` is what was typed, for the record.  Raises RunError (folder or settings), Stopped after Ctrl-C,
    and what the engine and the data set raise.
    """
    pyplot()  # if it is missing, that should be said now and not after the first stage
    choose_device(plan.gpu)
    changed: list[str] = []
    if resume:
        changed = folder.resume(plan.settings(), plan.made_with())
    else:
        folder.begin(plan.settings(), plan.made_with(), plan.palette(), command)
    with logged_to(folder.log), StopRequest() as stop:
        if changed:
            say("warning: begun with other versions, so the result may differ in its last bits:\n  "
                + "\n  ".join(changed))
        curve = Curve(folder.curve)
        records = folder.read_json(folder.scores("json")) or {}
        pictured = spread(plan.ids("val"), plan.pictured)
        left = [index for index, stage in enumerate(plan.names) if stage not in records]
        for index in left:
            records[plan.names[index]] = run_stage(plan, index, folder, curve, stop, pictured)
            free_memory()
            summarise(plan, folder, curve, records, pictured)
        if not left:
            summarise(plan, folder, curve, records, pictured)
        say("\n" + comparison_table(records) + f"\n\nreport: {folder.report}")
    return records


def choose_folder(out: str | None, net: str, data: str, resume: bool) -> RunFolder:
    """`out`, or runs/<net>-<data>[-k]: a new one, or with `resume` the one of them that was used last."""
    if out is not None:
        return RunFolder(out)
    base = Path("runs") / f"{net}-{Path(data).name}"
    if not resume:
        return RunFolder(free_folder(base))
    candidates = [base, *base.parent.glob(f"{base.name}-*")]
    made = [folder for folder in candidates if (folder / "config.json").exists()]
    if not made:
        raise RunError("there is no run to resume", file=base, help="give its folder with --out")
    return RunFolder(max(made, key=lambda folder: (folder / "config.json").stat().st_mtime))


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="solve.py", description=(__doc__ or "").splitlines()[0])
    p.add_argument("net", metavar="NET", help=f"one of {', '.join(NETS)}")
    p.add_argument("--data", metavar="NAME_OR_DIR", help="data set (default: the net's own)")
    p.add_argument("--weights", metavar="FILE", help="caffemodel to start from (of two nets: FILE,FILE), "
                   "or 'none' for random weights")
    p.add_argument("--recipe", choices=list(RECIPES), help="how to train (default: the net's first)")
    p.add_argument("--stages", metavar="A,B,C", help="only these stages, for instance 16s,8s")
    p.add_argument("--iters", metavar="N[,N...]", help="iterations of every stage, or of each")
    p.add_argument("--gpu", type=int, metavar="N", help="train on this GPU (default: on the CPU)")
    p.add_argument("--seed", type=int, default=1337, help="of fillers, dropout, order of images (1337)")
    p.add_argument("--resume", action="store_true", help="go on with a run that was stopped or killed")
    p.add_argument("--out", metavar="DIR", help="run folder (default: runs/NET-DATA, numbered)")
    p.add_argument("--val-every", type=int, metavar="N",
                   help="also score every N iterations (default: a quarter of a stage; 0: only at its end)")
    p.add_argument("--no-pictures", action="store_true", help="keep no predictions and draw no pictures")
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if arguments is None else arguments)
    given = parser().parse_args(words)
    try:
        plan = make_plan(given.net, given.data, given.recipe, given.stages, given.iters, given.weights,
                         given.seed, given.gpu, given.val_every, not given.no_pictures)
        folder = choose_folder(given.out, plan.net, plan.data, given.resume)
        with says_how_to_go_on(words, folder.root):
            solve(plan, folder, given.resume, shlex.join(words))
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        return stopped.code
    except KeyboardInterrupt:
        print("interrupted; --resume goes on from the last snapshot", file=sys.stderr)
        return 130
    except CaffeError as error:
        report(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
