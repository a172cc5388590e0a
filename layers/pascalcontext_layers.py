"""The module name that the public FCN prototxts of PASCAL-Context ask for; with layers/ on PYTHONPATH they find it."""

from data.context import PASCALContext
from data.dataset import Dataset
from data.sources import folder_of
from layers.parameters import Reader
from layers.segdata import FcnLayer


class PASCALContextSegDataLayer(FcnLayer):
    """`voc_dir` (VOC2010, or the folder above it) and `context_dir` (the annotations) in place of `data`."""

    own_keys = ("voc_dir", "context_dir", "randomize")
    own_means = {"data": (104.007, 116.669, 122.679)}

    def _open(self, read: Reader) -> Dataset:
        return PASCALContext(read.text("context_dir", str(folder_of("context"))), read.text("voc_dir"))
