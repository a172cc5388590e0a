"""Tiny copies of NYUDv2, SIFT Flow and PASCAL-Context, laid out and stored as the originals are.

Each writer returns the arrays that it stored, {id: {top: array}}, labels as the readers must give them.
"""

import h5py
import numpy as np
import scipy.io
from PIL import Image

SIFT_FOLDER = "spatial_envelope_256x256_static_8outdoorcategories"


def lists(folder, splits, ending=""):
    folder.mkdir(parents=True, exist_ok=True)
    for split, ids in splits.items():
        (folder / f"{split}.txt").write_text("".join(f"{i}{ending}\n" for i in ids))


def labels_from(raw, void):
    """Labels 0..n-1 and 255 from raw ones 1..n and `void`."""
    return (np.where(raw == void, 256, raw) - 1).astype(np.uint8)


def write_nyud(root, splits, size=(9, 12), classes=40):
    """The folder of the public FCN code."""
    for part in ("data/images", "data/depth", "data/hha", "segmentation"):
        (root / part).mkdir(parents=True)
    lists(root, splits)
    made = {}
    for n in sorted({i for ids in splits.values() for i in ids}):
        draw = np.random.default_rng(int(n))
        color, hha = draw.integers(0, 256, (2, *size, 3), dtype=np.uint8)
        depth = draw.integers(500, 9999, size).astype(np.uint16)
        raw = draw.integers(0, classes + 1, size).astype(np.uint8)
        for part, array in (("images", color), ("depth", depth), ("hha", hha)):
            Image.fromarray(array).save(root / f"data/{part}/img_{n}.png")
        scipy.io.savemat(root / f"segmentation/img_{n}.mat", {"segmentation": raw}, do_compression=True)
        made[n] = {"color": color, "depth": depth, "hha": hha, "label": labels_from(raw, 0)}
    return made


def write_nyud_original(folder, count=3, mapping="classMapping40.mat", splits="splits.mat"):
    """The labeled .mat of version 7.3 with its axes reversed, and the files that go with it; returns the arrays."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (count, 480, 640, 3), dtype=np.uint8)
    # a floor, a wall, and a little noise: something that has a gravity
    rows = np.arange(480)[:, None] * np.ones(640)
    depths = np.stack([np.minimum(3.0 + n, 700 / np.maximum(rows - 250, 1)) for n in range(count)]).astype(np.float32)
    labels = draw.integers(0, 895, (count, 480, 640)).astype(np.uint16)
    with h5py.File(folder / "nyu_depth_v2_labeled.mat", "w", userblock_size=512) as file:
        file["images"] = images.transpose(0, 3, 2, 1)
        file["depths"] = file["rawDepths"] = depths.transpose(0, 2, 1)
        file["labels"] = labels.transpose(0, 2, 1)
        file["accelData"] = np.zeros((4, count), np.float32)
    with open(folder / "nyu_depth_v2_labeled.mat", "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(128))
    forty = draw.integers(1, 41, 894)
    raw = np.concatenate([[0], forty])[labels]
    if mapping == "labels40.mat":
        scipy.io.savemat(folder / mapping, {"labels40": raw.transpose(1, 2, 0).astype(np.uint8)}, do_compression=True)
    else:
        scipy.io.savemat(folder / mapping, {"mapClass": forty[None].astype(np.uint8)})
    numbers = np.arange(1, count + 1)[:, None].astype(float)
    if splits == "splits.mat":
        scipy.io.savemat(folder / splits, {"trainNdxs": numbers[::2], "testNdxs": numbers[1::2]})
    else:
        both = {"trainval": numbers[::2] + 5000, "test": numbers[1::2] + 5000}
        scipy.io.savemat(folder / splits, {**both, "train": numbers[:1] + 5000, "val": numbers[2:] + 5000})
    return images, depths, raw


def write_siftflow(root, splits, windows_list=False, unlabelled=()):
    """`splits`: {"trainval": ids, "test": ids}; with `windows_list` test in TestSet1.txt, as the archive has it."""
    made = {}
    for part in ("Images", "SemanticLabels", "GeoLabels"):
        (root / part / SIFT_FOLDER).mkdir(parents=True)
    if windows_list:
        prefixed = [f"{SIFT_FOLDER}\\{i}" for i in splits["test"]]
        lists(root, {"TestSet1": prefixed}, ".jpg")
    else:
        lists(root, splits)
    for i in [i for ids in splits.values() for i in ids] + list(unlabelled):
        draw = np.random.default_rng(list(i.encode()))
        image = draw.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        sem, geo = draw.integers(0, 34, (8, 8)), draw.integers(0, 4, (8, 8))
        geo = np.where(geo == 0, -1, geo)
        geo[0, 0] = 0
        if i in unlabelled:
            sem, geo = 0 * sem, 0 * geo - 1
        Image.fromarray(image).save(root / "Images" / SIFT_FOLDER / f"{i}.jpg", quality=100, subsampling=0)
        names = {"names": np.array(["awning", "balcony"], object)}
        scipy.io.savemat(root / "SemanticLabels" / SIFT_FOLDER / f"{i}.mat", {"S": sem.astype(np.uint8), **names})
        scipy.io.savemat(root / "GeoLabels" / SIFT_FOLDER / f"{i}.mat", {"S": geo.astype(np.int16)})
        made[i] = {"sem": labels_from(sem, 0), "geo": labels_from(np.where(geo == -1, 0, geo), 0)}
    return made


CONTEXT_NAMES = {1: "accordion", 2: "aeroplane", 19: "bedclothes", 23: "bicycle", 25: "bird", 31: "boat", 80: "cloth",
                 416: "table", 427: "tv monitor"}
"""Some lines of labels.txt; a blank in a name as in many there."""


def write_context(root, voc, splits, classes):
    """Annotations in `root` and pictures in `voc`, a folder VOC2010; `classes`: the 59 of the task. Returns labels."""
    (root / "trainval").mkdir(parents=True)
    (voc / "JPEGImages").mkdir(parents=True)
    lists(voc / "ImageSets" / "Main", splits)
    lists(voc / "ImageSets" / "Segmentation", {})
    in_full = {"diningtable": "table", "bedcloth": "bedclothes", "clothes": "cloth", "tvmonitor": "tv monitor"}
    names = dict(CONTEXT_NAMES)
    free = (n for n in range(100, 400) if n not in names)
    for name in classes:
        if in_full.get(name, name) not in names.values():
            names[next(free)] = name
    task = {in_full.get(name, name): index for index, name in enumerate(classes, start=1)}
    (root / "labels.txt").write_text("".join(f"{n}: {name}\n" for n, name in sorted(names.items())))
    made = {}
    for i in sorted({i for ids in splits.values() for i in ids}):
        draw = np.random.default_rng(list(i.encode()))
        image = draw.integers(0, 256, (7, 9, 3), dtype=np.uint8)
        raw = draw.choice([0, 459, *names], (7, 9))
        raw[0] = [1, 2, 19, 80, 416, 427, 459, 0, 23]
        Image.fromarray(image).save(voc / "JPEGImages" / f"{i}.jpg", quality=100, subsampling=0)
        scipy.io.savemat(root / "trainval" / f"{i}.mat", {"LabelMap": raw.astype(np.uint16)}, do_compression=True)
        made[i] = np.array([[task.get(names.get(int(n), ""), 0) for n in row] for row in raw])
    return made
