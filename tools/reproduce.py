"""Every table and figure of the thesis: `python tools/reproduce.py list | run NAME... | report`.

`run table3.2` computes it, or says what is missing; `--small` computes the same with the data at hand.
docs/reproduce.md.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tools.errors import CaffeError, RunError, Stopped, report
from tools.experiments.page import as_text, write_page
from tools.experiments.registry import NOT_COMPUTED, Context, Experiment, Need, find, folder_for, set_in
from tools.plan import commit, versions
from tools.run_folder import differences, write
from tools.score_files import to_json
from tools.session import choose_device


def listing(context: Context, chosen: Sequence[Experiment]) -> str:
    """Each experiment, what its two variants need, whether that is here, and what of the thesis is no experiment."""
    checked: dict[Need, bool] = {}

    def state(needs: Sequence[Need]) -> str:
        for need in needs:
            if need not in checked:
                checked[need] = not need.lacking(context)
        return ", ".join(f"{need}{'' if checked[need] else ' (missing)'}" for need in needs) or "nothing"

    lines = []
    for entry in chosen:
        lines += [f"{entry.name:17}  {entry.title} ({entry.section})", f"{'needs':>17}  {state(entry.needs)}"]
        if entry.small:
            lines += [f"{'--small':>17}  {entry.small}", f"{'needs':>17}  {state(entry.small_needs)}"]
    reasons: dict[str, list[str]] = {}
    for name, reason in NOT_COMPUTED.items():
        reasons.setdefault(reason, []).append(name)
    lines += ["", "not computed:", *(f"  {', '.join(names)}: {reason}" for reason, names in reasons.items())]
    return "\n".join(lines)


def run(entry: Experiment, context: Context, again: bool = False) -> dict[str, Any]:
    """Run an experiment, or read what it found before; returns its record, which result.json in its folder keeps.

    Raises RunError that names what is missing, and for a result that was made with another seed or --iters.
    """
    kept = context.folder / "result.json"
    asked = {"seed": context.seed, "iters": context.iters}
    if kept.exists() and not again:
        context.say(f"{entry.name}: done before, {kept}")
        record: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
        changed = differences(record.get("asked", asked), asked)
        if changed:
            raise RunError("the result here was made with other settings: " + "; ".join(changed), file=kept,
                           help="choose another --out")
        return record
    missing = entry.missing(context)
    if missing:
        reasons = "".join(f"\n  {need}: {reason}" for need, reason in missing.items())
        raise RunError(f"{entry.name} needs what is not here: {', '.join(map(str, missing))}{reasons}",
                       help=None if context.small or not entry.small else f"with --small: {entry.small}")
    if context.gpu is None and Need("gpu") in entry.wants(context):
        context = replace(context, gpu=0)
    context.folder.mkdir(parents=True, exist_ok=True)
    choose_device(context.gpu)
    begun = time.monotonic()
    result = entry.run(context)
    record = {
        "name": entry.name, "title": entry.title, "section": entry.section,
        "variant": entry.small if context.small and entry.small else "", "asked": asked, **result.record(),
        "made_with": {"date": date.today().isoformat(), "seconds": round(time.monotonic() - begun, 1),
                      "machine": platform.platform(), "device": "CPU" if context.gpu is None else f"GPU {context.gpu}",
                      "commit": commit(), **versions()},
    }
    write(kept, to_json(record))
    return record


def check_given(given: argparse.Namespace, chosen: Sequence[Experiment]) -> None:
    """Raise RunError for --data-dir or --weights that is named as nothing the chosen experiments read."""
    for option, kind, path, called in (
        ("--data-dir", "data", given.data_dir, set_in(given.data_dir or "")),
        ("--weights", "weights", given.weights, Path(given.weights or "").name),
    ):
        wanted = {need.name for entry in chosen for need in (*entry.needs, *entry.small_needs) if need.kind == kind}
        if path and called not in wanted:
            raise RunError(f"{option} has not the name of anything that is read here", file=path,
                           expected=" or ".join(sorted(wanted)) or "nothing", help="rename it, or link to it by a name")


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="reproduce.py", description=(__doc__ or "").splitlines()[0])
    p.add_argument("action", choices=["list", "run", "report"])
    p.add_argument("names", nargs="*", metavar="NAME", help="table3.2, fig1.1, ..., chapter3, all (all)")
    p.add_argument("--small", action="store_true", help="the small variant, with the data at hand")
    p.add_argument("--data-dir", metavar="DIR", help="folder of a data set, named as the set (camvid)")
    p.add_argument("--weights", metavar="FILE", help="a classifier's caffemodel, named as published")
    p.add_argument("--gpu", type=int, metavar="N", help="which GPU (default: 0 where one is needed, else the CPU)")
    p.add_argument("--seed", type=int, default=1337)
    p.add_argument("--iters", type=int, metavar="N", help="of every stage that is trained, to try things out")
    p.add_argument("--again", action="store_true", help="run again what has a result")
    p.add_argument("--out", default="runs/reproduce", metavar="DIR", help="where results and the page go")
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser()
    given = options.parse_intermixed_args(arguments)   # names may follow options
    if given.action == "report" and given.names:
        options.error("report takes no names: it shows every result below --out")
    out, failed = Path(given.out), 0

    def context(name: str) -> Context:
        return Context(folder_for(out, name, given.small), given.small, given.data_dir, given.weights, given.gpu,
                       given.seed, given.iters)

    try:
        chosen = find(given.names or ["all"])
        check_given(given, chosen)
        if given.action == "list":
            print(listing(context("list"), chosen))
            return 0
        chosen = chosen if given.action == "run" else []
        for entry in chosen:
            print(f"\n=== {entry.name}: {entry.title}", flush=True)
            try:
                print(as_text(run(entry, context(entry.name), given.again)), flush=True)
                write_page(out)
            except CaffeError as error:   # the other experiments are still wanted
                report(error)
                failed += 1
        if failed < len(chosen) or given.action == "report":
            print(f"\nreport: {write_page(out)}")
    except (KeyboardInterrupt, Stopped) as stopped:
        print(f"{stopped or 'interrupted'}; the same command goes on", file=sys.stderr)
        return 130
    except CaffeError as error:
        report(error)
        return 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
