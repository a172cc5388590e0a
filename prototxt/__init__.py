"""Net definitions: one module per family writes the .prototxt files of this folder (`python -m prototxt`)."""

from .measure import Measures as Measures
from .measure import measure as measure
from .registry import DATA as DATA
from .registry import NETS as NETS
from .registry import Parts as Parts
from .registry import Recipe as Recipe
from .registry import build as build
from .registry import data_layer as data_layer
from .registry import feeds as feeds
from .registry import recipe_of as recipe_of
from .registry import solver as solver
from .solvers import RECIPES as RECIPES
from .solvers import Training as Training
from .solvers import recipes_of as recipes_of
from .solvers import training as training
