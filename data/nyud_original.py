"""From the original files of NYUDv2 to the folder that data/nyud.py reads.

    nyu_depth_v2_labeled.mat                  MATLAB 7.3: images, depths (metres), rawDepths, labels of 1449 frames
    classMapping40.mat, or labels40.mat       `mapClass`: for each of 894 classes one of 40; or the maps themselves
    splits.mat, or nyusplits.mat              795 and 654 frames (`trainNdxs`, `testNdxs`); Gupta's also has train, val

Frames lose the rim that the projection of depth onto colour leaves empty: 425 x 560 of 480 x 640 pixels remain, as in
the data of Gupta et al. Frame n becomes the picture 5000 + n.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data.errors import DataError
from data.hha import NYU_CAMERA, hha
from data.matlab import open_mat73, read_mat

LABELED = "nyu_depth_v2_labeled.mat"
_NEEDED = ((LABELED,), ("classMapping40.mat", "labels40.mat"), ("splits.mat", "nyusplits.mat"))
_SIZE, _WH = (480, 640), (640, 480)   # HDF5 has the axes in reverse order
_ROWS, _COLUMNS = slice(45, 470), slice(40, 600)
_FIRST = 5000
_CAMERA = NYU_CAMERA._replace(cx=NYU_CAMERA.cx - _COLUMNS.start, cy=NYU_CAMERA.cy - _ROWS.start)


def convert(source: Path, out: Path, progress: Callable[[Iterable], Iterable] = iter) -> None:
    """Write the folder `out` from the files in `source`, HHA with them; `progress` wraps the loop over frames.

    DataError says which files are missing, or what is wrong in them.
    """
    found = [next((source / name for name in names if (source / name).is_file()), None) for names in _NEEDED]
    lacking = [" or ".join(names) for names, path in zip(_NEEDED, found, strict=True) if path is None]
    if lacking:
        raise DataError(f"no {', no '.join(lacking)} here", file=source,
                        help="tools/download.py nyudv2 nyudv2-classes nyudv2-splits; put them into one folder")
    labeled, classes, splits = (path for path in found if path)
    for folder in ("data/images", "data/depth", "data/hha", "segmentation"):
        (out / folder).mkdir(parents=True)
    with open_mat73(labeled) as frames:
        count = _check(frames, labeled)
        _write_lists(splits, out, count)
        class_of = _classes(classes, count)
        for n in progress(range(count)):
            _write_frame(frames, n, class_of(n, frames["labels"][n].T), out)


def _check(frames: Any, path: Path) -> int:
    """How many frames there are; DataError unless all arrays are those of the set."""
    count = len(frames["images"]) if "images" in frames else 0
    for name, shape in (("images", (3, *_WH)), ("depths", _WH), ("rawDepths", _WH), ("labels", _WH)):
        there = frames[name].shape if name in frames else None
        if there != (count, *shape):
            raise DataError(f"no '{name}' of all frames", file=path, found=there, expected=f"N x {shape}",
                            help=f"this is not {LABELED}, or it is cut short: download again")
    return count


def _write_lists(path: Path, out: Path, count: int) -> None:
    if path.name == "splits.mat":
        lists = {"trainval": read_mat(path, "trainNdxs") + _FIRST, "test": read_mat(path, "testNdxs") + _FIRST}
    else:
        lists = {split: read_mat(path, split) for split in ("trainval", "train", "val", "test")}
    for split, numbers in lists.items():
        numbers = numbers.ravel().astype(int)
        if not numbers.size or not _FIRST < numbers.min() <= numbers.max() <= _FIRST + count:
            raise DataError(f"the split '{split}' names frames that are not there", file=path,
                            expected=f"frames 1 to {count}", help="this list is of another set")
        (out / f"{split}.txt").write_text("".join(f"{n}\n" for n in numbers))


def _classes(path: Path, count: int) -> Callable[[int, NDArray], NDArray[np.uint8]]:
    """A function of a frame's number and its labels of 894 classes, giving those of 40 (0: void)."""
    if path.name == "labels40.mat":
        maps = read_mat(path, "labels40")
        if maps.shape[:2] == _WH:   # some copies have the axes of HDF5
            maps = maps.swapaxes(0, 1)
        if maps.shape != (*_SIZE, count):
            raise DataError("'labels40' is of other frames", file=path, found=maps.shape, help="download it again")
        return lambda n, labels: maps[:, :, n].astype(np.uint8)
    table = np.concatenate([[0], read_mat(path, "mapClass").ravel()]).astype(np.uint8)

    def mapped(n: int, labels: NDArray) -> NDArray[np.uint8]:
        if labels.max() >= len(table):
            raise DataError(f"frame {n + 1} has class {labels.max()}", file=path, expected=f"0 to {len(table) - 1}",
                            help="the mapping is of another set")
        return table[labels]

    return mapped


def _write_frame(frames: Any, n: int, labels: NDArray[np.uint8], out: Path) -> None:
    import scipy.io

    name = f"img_{_FIRST + 1 + n}"
    colour = frames["images"][n].transpose(2, 1, 0)[_ROWS, _COLUMNS]
    depth = frames["depths"][n].T[_ROWS, _COLUMNS].astype(np.float32)
    Image.fromarray(np.ascontiguousarray(colour)).save(out / f"data/images/{name}.png")
    Image.fromarray(np.rint(1000 * depth).astype(np.uint16)).save(out / f"data/depth/{name}.png")
    measured = frames["rawDepths"][n].T[_ROWS, _COLUMNS] > 0   # elsewhere depth was filled in
    Image.fromarray(hha(depth, _CAMERA, measured)).save(out / f"data/hha/{name}.png")
    scipy.io.savemat(out / f"segmentation/{name}.mat", {"segmentation": labels[_ROWS, _COLUMNS]}, do_compression=True)
