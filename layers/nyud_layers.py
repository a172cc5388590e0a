"""The module name that the public FCN prototxts of NYUDv2 ask for: put layers/ on PYTHONPATH and they find it."""

from data.dataset import Dataset
from data.nyud import NYUD
from layers.parameters import Reader
from layers.segdata import FcnLayer


class NYUDSegDataLayer(FcnLayer):
    """`nyud_dir` in place of `data`; `tops` of color, depth (natural logarithm of millimetres), hha and label."""

    own_keys = ("nyud_dir", "randomize")
    own_means = {"color": (116.190, 97.203, 92.318), "hha": (132.431, 94.076, 118.477), "depth": (7.844,)}

    def _open(self, read: Reader) -> Dataset:
        return NYUD(read.text("nyud_dir"))
