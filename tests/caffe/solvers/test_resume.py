"""Resumed is the same as never stopped, bit by bit: every solver and format, with data that is shuffled and cropped."""
import numpy as np
import pytest
from PIL import Image

import caffe
from caffe import state

lmdb, h5py = pytest.importorskip("lmdb"), pytest.importorskip("h5py")
FORMS = ["BINARYPROTO", "HDF5"]
SOLVERS = {"SGD": "momentum: 0.9", "Nesterov": "momentum: 0.9", "AdaGrad": "", "RMSProp": "rms_decay: 0.9",
           "AdaDelta": "momentum: 0.95 delta: 1e-6", "Adam": "momentum: 0.9 momentum2: 0.999 delta: 1e-8"}
# 7 records, 5 images and 5 rows in batches of 2, two batches an iteration: every round ends somewhere else
NET = """
layer { name: "lmdb" type: "Data" top: "a" top: "la" transform_param { crop_size: 4 mirror: true scale: 0.01 }
  data_param { source: "db" backend: LMDB batch_size: 2 } }
layer { name: "images" type: "ImageData" top: "b" top: "lb" transform_param { crop_size: 4 mirror: true scale: 0.01 }
  image_data_param { source: "list.txt" batch_size: 2 shuffle: true } }
layer { name: "hdf5" type: "HDF5Data" top: "c" hdf5_data_param { source: "rows.txt" batch_size: 2 shuffle: true } }
layer { name: "all" type: "Eltwise" bottom: "a" bottom: "b" bottom: "c" top: "x" }
layer { name: "ip1" type: "InnerProduct" bottom: "x" top: "h"
  inner_product_param { num_output: 8 weight_filler { type: "xavier" } } }
layer { name: "drop" type: "Dropout" bottom: "h" top: "h" }
layer { name: "ip2" type: "InnerProduct" bottom: "h" top: "s"
  inner_product_param { num_output: 7 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "s" bottom: "la" top: "loss" }
layer { name: "other_loss" type: "SoftmaxWithLoss" bottom: "s" bottom: "lb" top: "other_loss" }
"""


@pytest.fixture
def data(tmp_path):
    pixels = np.random.default_rng(2).integers(0, 256, (12, 3, 6, 6), dtype=np.uint8)
    with lmdb.open(str(tmp_path / "db"), map_size=1 << 20, sync=False) as env, env.begin(write=True) as out:
        for i in range(7):
            out.put(b"%d" % i, caffe.io.array_to_datum(pixels[i], i).SerializeToString())
    for i in range(7, 12):
        Image.fromarray(pixels[i].transpose(1, 2, 0)).save(tmp_path / f"{i}.png")
    (tmp_path / "list.txt").write_text("".join(f"{tmp_path}/{i}.png {i - 7}\n" for i in range(7, 12)))
    with h5py.File(tmp_path / "rows.h5", "w") as f:
        f["c"] = pixels[:5, :, 1:5, 1:5].astype(np.float32) / 100
    (tmp_path / "rows.txt").write_text(f"{tmp_path}/rows.h5\n")


def seen(solver, n):
    """What n more iterations read and learn: every batch, then weights and history."""
    batches, forward = [], solver.net.forward_loss

    def forward_loss():
        loss = forward()
        batches.extend(solver.net.blobs[name].data.copy() for name in ("a", "la", "b", "lb", "c", "h"))
        return loss

    solver.net.forward_loss = forward_loss
    solver.step(n)
    return batches + [blob.data.copy() for blob in (*solver.net.learnable_params, *solver.history)]


@pytest.mark.unit
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", SOLVERS)
def test_every_solver_resumes_bit_by_bit(toy, data, kind, form):
    path = toy(f'type: "{kind}" {SOLVERS[kind]} iter_size: 2 snapshot: 3 snapshot_format: {form} weight_decay: 0.001 '
               'lr_policy: "step" stepsize: 4 gamma: 0.5 average_loss: 3',
               net=NET, base='base_lr: 0.01 random_seed: 3 max_iter: 20 snapshot_prefix: "snap"')
    unbroken = caffe.get_solver(path)
    unbroken.step(3)
    expected = seen(unbroken, 6)
    resumed = caffe.get_solver(path)
    state.generator().manual_seed(1234)   # whatever happened before
    resumed.restore("snap_iter_3.solverstate" + (".h5" if form == "HDF5" else ""))
    found = seen(resumed, 6)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)
    assert resumed.smoothed_loss == unbroken.smoothed_loss
    # the test can tell: data and dropout of other iterations differ
    assert any((a != b).any() for a, b in zip(expected[:12], expected[12:24], strict=True))
