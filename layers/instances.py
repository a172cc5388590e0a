"""The data layer of region nets: whole images at their natural size, and a map of their instances (thesis 4.4.4).

    layer {
      name: "data"  type: "Python"  top: "data"  top: "instances"
      python_param {
        module: "layers.instances"  layer: "InstanceDataLayer"
        param_str: "{'data': 'coco', 'split': 'train2014', 'seed': 1337, 'mirror': True}"
      }
    }

`data` is 1 x 3 x height x width, BGR minus the mean; `instances` 1 x 1 x height x width: 0 for background, 255 (void)
for crowd regions, other numbers for instances, the smaller one on top where they overlap.
"""

from __future__ import annotations

from layers.parameters import Reader
from layers.segdata import SegDataLayer


class InstanceDataLayer(SegDataLayer):
    """`SegDataLayer` with the thesis's selection: each training picture is drawn from all, whatever came before.

    The key `replacement` is therefore True by default where the split's name contains "train"; False shuffles.
    """

    def _replacement(self, read: Reader) -> bool:
        return read.flag("replacement", "train" in self.split)
