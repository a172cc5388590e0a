"""Results for VOC's test server: label PNGs in the folders it asks for, packed, and the check of such an archive.

    python tools/voc_submission.py write --run runs/fcn8s --data voc2012 --split test --out fcn8s.tgz
    python tools/voc_submission.py check fcn8s.tgz --data voc2012 --split test

The archive holds results/VOC2012/Segmentation/comp6_test_cls/<id>.png: palette PNGs of the pictures' sizes, each pixel
a class, none void. comp6 allows other training data than VOC's, ImageNet's too; comp5 (--competition) does not.
"""

from __future__ import annotations

import argparse
import io
import re
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from PIL import Image
from tqdm import tqdm

from data import open_dataset
from data.dataset import image_mode, read_image
from data.palette import voc_palette, write_indexed_png
from tools import predict
from tools.errors import RunError, exit_status
from tools.session import add_net_arguments, choose_device, trained_net

SHOWN = 20   # problems that are listed


def results_folder(dataset: Any, split: str, competition: str = "comp6") -> PurePosixPath:
    """Where the server looks for results on a data set: results/VOC<year>/Segmentation/<competition>_<split>_cls."""
    year = re.search(r"20\d\d", dataset.root.name) or re.search(r"20\d\d", dataset.name)
    if year is None:
        raise RunError("of which year is this data set?", file=dataset.root, expected="a folder VOC2012, or alike",
                       help="the test server knows VOC's data sets only: give --data voc2012")
    return PurePosixPath("results", f"VOC{year.group()}", "Segmentation", f"{competition}_{split}_cls")


def write(net: Any, mean: Sequence[float], dataset: Any, split: str, archive: Path, competition: str = "comp6") -> int:
    """Segment the pictures of a split with a net (see `predict.scores`) and pack the labels; returns how many."""
    inside = results_folder(dataset, split, competition)
    ids = dataset.ids(split)
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=archive.parent) as work:
        packed = Path(work) / archive.name
        with tarfile.open(packed, "w:gz") as tar:
            for picture in tqdm(ids, unit="image", disable=None):
                labels = predict.labels(predict.scores(net, [read_image(dataset.image_path(picture))], mean))[0]
                path = Path(work) / f"{picture}.png"
                write_indexed_png(path, labels)
                tar.add(path, arcname=str(inside / path.name))
                path.unlink()
        problems = list(check(packed, dataset, split, competition))
        if problems:
            raise RunError(f"the results are not what the server takes: {problems[0]}", file=archive,
                           help="is this a net of the data set's classes?")
        packed.replace(archive)
    return len(ids)


def check(archive: Path, dataset: Any, split: str, competition: str = "comp6") -> Iterator[str]:
    """Everything for which the server would refuse the archive, or score it wrongly, one sentence for each.

    Raises RunError when it is no tar file.
    """
    inside = results_folder(dataset, split, competition)
    wanted = {str(inside / f"{picture}.png"): picture for picture in dataset.ids(split)}
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                if member.isdir():
                    continue
                picture = wanted.pop(member.name.removeprefix("./"), None)
                file = tar.extractfile(member) if member.isfile() else None
                if picture is None or file is None:
                    yield f"{member.name}: not the result of a picture of {split}, or there twice"
                else:
                    yield from _check_labels(member.name, file.read(), dataset, picture)
    except (OSError, tarfile.TarError, EOFError) as error:
        raise RunError(f"not a readable archive ({error})", file=archive,
                       help="pack the folder results/ as .tgz") from error
    yield from (f"{name}: missing" for name in wanted)


def _check_labels(name: str, content: bytes, dataset: Any, picture: str) -> Iterator[str]:
    try:
        with Image.open(io.BytesIO(content)) as image:
            form, mode, labels, palette = image.format, image.mode, np.array(image), image.getpalette()
    except (OSError, SyntaxError, ValueError) as error:
        yield f"{name}: not a readable image ({error})"
        return
    if (form, mode) != ("PNG", "P"):
        yield f"{name}: {form} of mode {mode}, not a palette PNG"
        return
    _, size = image_mode(dataset.image_path(picture))
    if labels.shape != size:
        yield "{}: {}x{}, the picture is {}x{} (height x width)".format(name, *labels.shape, *size)
    classes = len(dataset.classes)
    if labels.max() >= classes:
        yield f"{name}: value {labels.max()}; the classes are 0 to {classes - 1}"
    if (palette or [])[: 3 * classes] != voc_palette()[:classes].ravel().tolist():
        yield f"{name}: the palette is not VOC's"


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="voc_submission.py", description=(__doc__ or "").splitlines()[0])
    commands = p.add_subparsers(dest="command", required=True)
    writing = commands.add_parser("write", help="segment a split and pack the labels")
    add_net_arguments(writing)
    writing.add_argument("--out", default="results.tgz", metavar="FILE", help="the archive to write (results.tgz)")
    checking = commands.add_parser("check", help="look through an archive before it is sent")
    checking.add_argument("archive", metavar="FILE", help="a .tgz or .tar with results/ in it")
    for command in (writing, checking):
        command.add_argument("--data", default="voc2012", metavar="NAME_OR_DIR", help="data set (voc2012)")
        command.add_argument("--split", default="test", help="its split (test)")
        command.add_argument("--competition", choices=("comp5", "comp6"), default="comp6",
                             help="comp5: trained on VOC's data alone (comp6)")
    return p


def run(given: argparse.Namespace) -> int:
    """Do as the arguments say; returns how many problems there are."""
    dataset = open_dataset(given.data)
    if given.command == "write":
        trained = trained_net(given)
        choose_device(given.gpu)
        net = trained.load()
        predict.check_net(net, str(trained.net))
        count = write(net, trained.mean, dataset, given.split, Path(given.out), given.competition)
        print(f"{count} results in {given.out}, checked")
        return 0
    problems = list(check(Path(given.archive), dataset, given.split, given.competition))
    print("\n".join(problems[:SHOWN]), file=sys.stderr)
    print(f"{len(problems)} problems" if problems else f"{given.archive}: all is well")
    return len(problems)


def main(arguments: Sequence[str] | None = None) -> int:
    given = parser().parse_args(arguments)
    return exit_status(lambda: 1 if run(given) else 0)


if __name__ == "__main__":
    sys.exit(main())
