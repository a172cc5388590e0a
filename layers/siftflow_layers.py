"""The module name that the public FCN prototxts of SIFT Flow ask for: put layers/ on PYTHONPATH and they find it."""

from data.dataset import Dataset
from data.siftflow import SIFTFlow
from layers.parameters import Reader
from layers.segdata import FcnLayer


class SIFTFlowSegDataLayer(FcnLayer):
    """`siftflow_dir` in place of `data`; the tops are the picture, semantic and geometric labels."""

    own_keys = ("siftflow_dir", "randomize")
    own_tops = ("data", "sem", "geo")
    own_means = {"data": (114.578, 115.294, 108.353)}

    def _open(self, read: Reader) -> Dataset:
        return SIFTFlow(read.text("siftflow_dir"))
