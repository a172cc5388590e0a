"""The module name that the public FCN prototxts ask for: put layers/ on PYTHONPATH and they find it."""

from layers.segdata import SBDDSegDataLayer as SBDDSegDataLayer
from layers.segdata import VOCSegDataLayer as VOCSegDataLayer
