"""caffe: Caffe's nets, layers, solvers and files on PyTorch, with pycaffe's API.

Everything below is loaded when it is first used: `import caffe` alone is quick and does not load torch.
"""
from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .errors import CaffeError as CaffeError
from .errors import DataError as DataError
from .errors import DeviceError as DeviceError
from .errors import LayerError as LayerError
from .errors import NetError as NetError
from .errors import ParseError as ParseError
from .errors import PythonLayerError as PythonLayerError
from .errors import ShapeError as ShapeError
from .errors import SnapshotError as SnapshotError
from .errors import SolverError as SolverError
from .errors import WeightsError as WeightsError
from .state import has_nccl as has_nccl
from .state import set_device as set_device
from .state import set_mode_cpu as set_mode_cpu
from .state import set_mode_gpu as set_mode_gpu
from .state import set_multiprocess as set_multiprocess
from .state import set_random_seed as set_random_seed
from .state import set_solver_count as set_solver_count
from .state import set_solver_rank as set_solver_rank
from .state import solver_count as solver_count
from .state import solver_rank as solver_rank

__version__ = "0.1.0"   # of caffe-lungo; the Caffe that it is compatible with is 1.0
TRAIN, TEST = 0, 1

_HOME = {   # public name -> the module it comes from
    "Net": "net", "Blob": "blob", "Layer": "layer", "register": "layer", "layer_type_list": "layer",
    "SGDSolver": "solvers.solver", "NesterovSolver": "solvers.solver", "AdaGradSolver": "solvers.solver",
    "RMSPropSolver": "solvers.solver",
    "AdaDeltaSolver": "solvers.solver", "AdamSolver": "solvers.solver", "get_solver": "solvers.solver",
    "NetSpec": "net_spec", "to_proto": "net_spec",
    "Classifier": "classifier", "Detector": "detector",
    "init_log": "glog", "log": "glog", "NCCL": "parallel", "Timer": "inspect.timing",
}
_MODULES = ("io", "proto", "layers", "params", "net_spec", "coord_map")

if TYPE_CHECKING:
    from . import coord_map as coord_map
    from . import io as io
    from . import layers as layers
    from . import net_spec as net_spec
    from . import params as params
    from . import proto as proto
    from .blob import Blob as Blob
    from .classifier import Classifier as Classifier
    from .detector import Detector as Detector
    from .glog import init_log as init_log
    from .glog import log as log
    from .inspect.timing import Timer as Timer
    from .layer import Layer as Layer
    from .layer import layer_type_list as layer_type_list
    from .layer import register as register
    from .net import Net as Net
    from .net_spec import NetSpec as NetSpec
    from .net_spec import to_proto as to_proto
    from .parallel import NCCL as NCCL
    from .solvers.solver import AdaDeltaSolver as AdaDeltaSolver
    from .solvers.solver import AdaGradSolver as AdaGradSolver
    from .solvers.solver import AdamSolver as AdamSolver
    from .solvers.solver import NesterovSolver as NesterovSolver
    from .solvers.solver import RMSPropSolver as RMSPropSolver
    from .solvers.solver import SGDSolver as SGDSolver
    from .solvers.solver import get_solver as get_solver


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f".{name}", __name__)
    if name in _HOME:
        value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'caffe' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME, *_MODULES})
