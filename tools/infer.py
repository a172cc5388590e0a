"""Segment images: a palette PNG of labels and an overlay for each, on request the class scores too.

    python tools/infer.py --run runs/demo photo.jpg --out segmented
    python tools/infer.py --net deploy.prototxt --weights fcn8s.caffemodel folder/ --out segmented
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from PIL import Image
from tqdm import tqdm

from data.dataset import IMAGE_ENDINGS, read_image
from data.palette import overlay, write_indexed_png
from tools import predict
from tools.errors import DataError, RunError, exit_status
from tools.session import add_net_arguments, choose_device, trained_net


def find_images(given: Iterable[str]) -> list[Path]:
    """The image files named, and those directly in the folders named, in order.

    Raises RunError for what does not exist, for a folder without images, and for two images whose results
    would have one name.
    """
    found: list[Path] = []
    for name in given:
        path = Path(name)
        inside = sorted(p for p in path.iterdir() if p.suffix in IMAGE_ENDINGS) if path.is_dir() else [path]
        if not inside or not path.exists():
            raise RunError("no image here", file=path,
                           help=f"give image files, or folders with files {', '.join(IMAGE_ENDINGS[:3])}")
        found += inside
    by_name: dict[str, Path] = {}
    for path in found:
        if path.stem in by_name:
            raise RunError("two images have one name, so one result would overwrite the other", file=path,
                           found=f"also {by_name[path.stem]}", help="segment them into different folders")
        by_name[path.stem] = path
    return found


def infer(net: Any, path: Path, out: Path, feed: predict.Feed, outputs: Sequence[str] = ("score",),
          scores: bool = False, palette: np.ndarray | None = None) -> np.ndarray:
    """Segment one image; returns its labels, H x W.

    Writes out/<name>.png (labels with the palette, n x 3 RGB, VOC's by default), out/<name>-overlay.png, and
    with `scores` out/<name>-scores.npz (array `score`, classes x H x W, float32); of a net with further heads
    their own as out/<name>-<head>.png and so on.  Raises DataError for unreadable images.
    """
    image = read_image(path)
    values = image if feed.top == "hha" else image[:, :, ::-1]   # HHA's channels are read as they are in the file
    found = predict.scores_of(net, [{"data": feed.blob(values)}], outputs)
    first, *_ = every = [predict.labels(score)[0] for score in found]
    for output, score, labels in zip(outputs, found, every, strict=True):
        name = path.stem + ("" if labels is first else output.removeprefix("score").replace("_", "-"))
        write_indexed_png(out / f"{name}.png", labels, palette)
        Image.fromarray(overlay(image, labels, palette)).save(out / f"{name}-overlay.png")
        if scores:
            np.savez_compressed(out / f"{name}-scores.npz", score=score[0])
    return first


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="infer.py", description=(__doc__ or "").splitlines()[0])
    p.add_argument("images", nargs="+", metavar="IMAGE_OR_DIR", help="images of any size, or folders of them")
    add_net_arguments(p)
    p.add_argument("--out", default="segmented", metavar="DIR", help="where results go (segmented)")
    p.add_argument("--scores", action="store_true", help="also write the class scores as .npz")
    return p


def run(given: argparse.Namespace) -> int:
    """Segment as the arguments say; returns how many images could not be read."""
    trained = trained_net(given)
    paths = find_images(given.images)
    choose_device(given.gpu)
    net = trained.load()
    predict.check_net(net, str(trained.net), outputs=trained.outputs)
    out = Path(given.out)
    out.mkdir(parents=True, exist_ok=True)
    unreadable, seen = 0, np.zeros(256, np.int64)
    for path in tqdm(paths, unit="image", disable=None):
        try:
            labels = infer(net, path, out, trained.feeds["data"], trained.outputs, given.scores, trained.palette)
            seen += np.bincount(labels.ravel(), minlength=256)
        except DataError as error:  # the other images are still wanted
            unreadable += 1
            tqdm.write(f"error: {error}", file=sys.stderr)
    names = trained.classes or [f"class {i}" for i in range(256)]
    shares = ", ".join(f"{names[i]} {100 * seen[i] / seen.sum():.1f}%" for i in np.flatnonzero(seen))
    print(f"{len(paths) - unreadable} of {len(paths)} images segmented into {out}: {shares or 'nothing'}")
    return unreadable


def main(arguments: Sequence[str] | None = None) -> int:
    given = parser().parse_args(arguments)
    return exit_status(lambda: 1 if run(given) else 0)


if __name__ == "__main__":
    sys.exit(main())
