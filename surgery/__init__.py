"""Surgery on nets: weights moved between nets, classifiers made convolutional, bilinear upsampling."""

from .bilinear import interp as interp
from .bilinear import upsample_filt as upsample_filt
from .checks import check_weights as check_weights
from .convolutionalize import Convolutionalized as Convolutionalized
from .convolutionalize import convolutionalize as convolutionalize
from .dilate import dilate as dilate
from .expand_score import expand_score as expand_score
from .files import read_net as read_net
from .files import read_weights as read_weights
from .grow import grow as grow
from .identity import identity as identity
from .shift_and_stitch import Dense as Dense
from .shift_and_stitch import shift_and_stitch as shift_and_stitch
from .transplant import Entry as Entry
from .transplant import Report as Report
from .transplant import transplant as transplant
from .transplant import transplant_weights as transplant_weights
