#!/usr/bin/env python3
"""Turn a folder of depth pictures into HHA pictures (docs/hha.md).

    python tools/hha.py DEPTH_DIR HHA_DIR [--camera FX FY CX CY]

Depth pictures are 16-bit PNG files in millimetres, 0 where unknown; each gives an RGB PNG file of the same name with
disparity, height and angle in its channels. Exit code 0 when all is well, 1 at a file that cannot be read.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if __package__ in (None, ""):  # started as a file: the checkout's root is not yet on the path
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from PIL import Image
from tqdm import tqdm

from data.dataset import read_depth
from data.errors import DataError
from data.hha import NYU_CAMERA, Camera, hha
from tools.errors import exit_status


def convert(depths: Path, to: Path, camera: Camera = NYU_CAMERA) -> int:
    """Write to/NAME.png for each depths/NAME.png; how many.  Raises DataError naming the file that is wrong."""
    paths = sorted(depths.glob("*.png"))
    if not paths:
        raise DataError("no PNG files here", file=depths, help="give the folder of the depth pictures")
    to.mkdir(parents=True, exist_ok=True)
    for path in tqdm(paths, desc="HHA", unit="picture", disable=not sys.stderr.isatty()):
        depth = read_depth(path) / 1000.0
        try:
            picture = hha(depth, camera)
        except DataError as error:
            raise DataError(str(error), file=path) from error
        Image.fromarray(picture).save(to / path.name)
    return len(paths)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="hha.py", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("depths", type=Path, metavar="DEPTH_DIR", help="16-bit PNG files, in millimetres")
    parser.add_argument("to", type=Path, metavar="HHA_DIR", help="where the pictures go; made if absent")
    parser.add_argument("--camera", nargs=4, type=float, metavar=("FX", "FY", "CX", "CY"), default=NYU_CAMERA,
                        help="focal lengths and principal point in pixels (default: NYUv2's Kinect)")
    given = parser.parse_args(arguments)

    def work() -> None:
        print(f"{convert(given.depths, given.to, Camera(*given.camera))} pictures in {given.to}")

    return exit_status(work)


if __name__ == "__main__":
    raise SystemExit(main())
