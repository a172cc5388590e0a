"""Layers of type "Python": find the user's class, make it a layer, say where its errors come from."""

from __future__ import annotations

import importlib
import os
import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from ..blob import Blob
from ..errors import CaffeError, PythonLayerError, nearest
from ..layer import Layer, register


@register("Python")
class PythonLayer(Layer):
    """`python_param { module: "m" layer: "C" param_str: "..." }`: an object of class C of module m.

    C subclasses caffe.Layer and sees `self.param_str` and `self.phase`. The module is looked for on
    sys.path, then in the current folder, then beside the prototxt. The environment variable
    CAFFE_PYTHON_LAYERS restricts which modules a net may name: a comma-separated list (submodules
    included), or "none". The commands' flag -python_layers sets it.
    """

    @classmethod
    def create(cls, layer_param: Any, where: str = "") -> Layer:
        spec = layer_param.python_param
        finder = cls(layer_param)
        finder.defined_at = where
        user = finder.find_class(spec.module, spec.layer)
        guarded = type(user.__name__, (Guarded, user), {"__module__": user.__module__, "__doc__": user.__doc__})
        try:
            layer = guarded(layer_param)
        except Exception as e:
            wrap(finder, e, f"{spec.module}.{spec.layer}: __init__")
        if not hasattr(layer, "layer_param"):
            finder.fail(f"class {spec.layer} has its own __init__ that does not call super().__init__(layer_param)",
                        help="do the work in setup instead of __init__")
        layer.defined_at = where
        layer.param_str = spec.param_str
        layer.name = layer_param.name
        layer.share_in_parallel = spec.share_in_parallel
        return layer

    def find_class(self, module_name: str, class_name: str) -> type[Layer]:
        """Import the module and return its class. LayerError when there is none or it is not allowed."""
        if not module_name or not class_name:
            self.fail("needs module and layer", found=f"module '{module_name}', layer '{class_name}'",
                      help='python_param { module: "my_module" layer: "MyLayer" }')
        self._check_allowed(module_name)
        module = self._import(module_name)
        found = getattr(module, class_name, None)
        if found is None:
            classes = [n for n, v in vars(module).items() if isinstance(v, type) and issubclass(v, Layer)]
            near = nearest(class_name, classes) or classes
            self.fail(f"module '{module_name}' has no class '{class_name}'", found=getattr(module, "__file__", None),
                      expected=f"perhaps {' or '.join(near)}" if near else "a subclass of caffe.Layer in it",
                      help="correct python_param's layer")
        if not (isinstance(found, type) and issubclass(found, Layer)):
            self.fail(f"{module_name}.{class_name} is no subclass of caffe.Layer", found=found,
                      help=f"class {class_name}(caffe.Layer): ...")
        return found

    def _check_allowed(self, module_name: str) -> None:
        rule = os.environ.get("CAFFE_PYTHON_LAYERS")
        if rule is None:
            return
        allowed = [] if rule == "none" else [entry.strip() for entry in rule.split(",")]
        if not any(module_name == entry or module_name.startswith(f"{entry}.") for entry in allowed if entry):
            self.fail(f"module '{module_name}' is not allowed", expected=f"CAFFE_PYTHON_LAYERS={rule}",
                      help="this net wants to run Python code; if you trust it, add the module to the environment "
                           "variable CAFFE_PYTHON_LAYERS (or the flag -python_layers)")

    def _import(self, name: str) -> ModuleType:
        """Import from sys.path, else from the current folder, else from the prototxt's folder.

        A folder that had the module stays at the end of sys.path: the layer may import from it later.
        """
        file = re.sub(r":\d+$", "", self.defined_at)
        folders = [os.getcwd()] + ([str(Path(file).resolve().parent)] if file else [])
        for folder in [None, *(f for f in dict.fromkeys(folders) if f not in sys.path)]:
            if folder:
                sys.path.append(folder)
                importlib.invalidate_caches()
            try:
                return importlib.import_module(name)
            except ModuleNotFoundError as e:
                if folder:
                    sys.path.remove(folder)
                if not e.name or not f"{name}.".startswith(f"{e.name}."):
                    # the module is there, one that it needs is not
                    wrap(self, e, f"importing module '{name}'")
            except Exception as e:
                wrap(self, e, f"importing module '{name}'")
        tried = dict.fromkeys([p or os.getcwd() for p in sys.path] + folders)
        self.fail(f"there is no module '{name}'", found="none in " + ", ".join(tried),
                  help="put the module beside the prototxt, into the current folder, or on PYTHONPATH")


def wrap(layer: Layer, error: Exception, what: str, blobs: Sequence[Blob] = ()) -> NoReturn:
    """Raise an exception of the user's code: ours with a note that names the layer, else PythonLayerError."""
    where = f"{layer.defined_at}: " if layer.defined_at else ""
    if isinstance(error, CaffeError):
        if layer.layer_param.name not in str(error):
            error.add_note(f"{where}in layer '{layer.layer_param.name}' ({what})")
        raise error
    last = traceback.extract_tb(error.__traceback__)[-1:]
    at = f" at {last[0].filename}:{last[0].lineno}" if last else ""
    raise PythonLayerError(
        f"{what} raised {type(error).__name__}: {error}{at}", file=layer.defined_at or None,
        layer=layer.layer_param.name, found=", ".join(f"{b.name} {b.shape}" for b in blobs) or None,
        help="correct the code; `__cause__` has the whole traceback, the command shows it with CAFFE_TRACEBACK=1",
    ) from error


class Guarded(Layer):
    """Mixed in before the user's class: errors of its four methods say which layer they come from."""

    name = ""  # an attribute like any other: pycaffe has no such property, so the user's class may set it

    def _step(self, step: str, *args: Any) -> None:
        try:
            getattr(super(), step)(*args)
        except Exception as e:
            spec = self.layer_param.python_param
            wrap(self, e, f"{spec.module}.{spec.layer}: {step}",
                 [b for group in args for b in group if isinstance(b, Blob)])

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        self._step("setup", bottom, top)

    def reshape(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        self._step("reshape", bottom, top)

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        self._step("forward", bottom, top)

    def backward(self, top: Sequence[Blob], propagate_down: Sequence[bool], bottom: Sequence[Blob]) -> None:
        self._step("backward", top, propagate_down, bottom)
