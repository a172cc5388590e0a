"""Data sets for segmentation: readers, checks, preparation, and the embedded set `shapes`."""

from data.dataset import Dataset as Dataset
from data.errors import DataError as DataError
from data.palette import colorize as colorize
from data.palette import overlay as overlay
from data.palette import voc_palette as voc_palette
from data.palette import write_indexed_png as write_indexed_png
from data.registry import open_dataset as open_dataset
