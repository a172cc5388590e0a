"""Blob: live NumPy views, adoption without a copy, lazy zeros, sharing, release, and the device state machine."""
import gc

import numpy as np
import pytest
import torch

from caffe import state
from caffe.blob import Blob
from caffe.errors import CaffeError, ShapeError

pytestmark = pytest.mark.tiny


def test_data_is_a_live_view():
    blob = Blob((2, 3))
    view = blob.data
    assert view.shape == (2, 3) and view.dtype == np.float32 and not view.any()
    view[1, 2] = 5
    assert blob.tensor()[1, 2] == 5
    blob.put(torch.arange(6.0).view(2, 3))      # a result arrives while somebody holds the view
    np.testing.assert_array_equal(view, np.arange(6).reshape(2, 3))


def test_a_result_is_adopted_when_nobody_looks():
    blob = Blob((4,))
    blob.data[...] = 1
    gc.collect()
    result = torch.ones(4)
    blob.put(result)
    assert blob.tensor().data_ptr() == result.data_ptr()


def test_a_slice_of_the_view_keeps_it_alive():
    blob = Blob((2, 2))
    part = blob.data[1]
    blob.put(torch.full((2, 2), 7.0))
    assert part.tolist() == [7, 7]


def test_diffs_accumulate_and_zero_lazily():
    blob = Blob((3,))
    assert blob.diff_is_zero()
    blob.add_diff(torch.ones(3))
    blob.add_diff(torch.ones(3))
    assert blob.diff.tolist() == [2, 2, 2]
    view = blob.diff
    blob.zero_diff()
    assert view.tolist() == [0, 0, 0] and blob.diff_tensor().sum() == 0


def test_reshape_keeps_content_of_equal_count():
    blob = Blob((2, 3))
    blob.data[...] = np.arange(6).reshape(2, 3)
    blob.reshape(3, 2)
    assert blob.data.ravel().tolist() == list(range(6))
    blob.reshape(7)
    assert not blob.data.any()


def test_legacy_accessors():
    assert (Blob((2, 3)).num, Blob((2, 3)).channels, Blob((2, 3)).height, Blob((2, 3)).width) == (2, 3, 1, 1)
    with pytest.raises(ShapeError, match="5 axes"):
        _ = Blob((1, 1, 1, 1, 1)).num


@pytest.mark.parametrize("shape", [(-1,), (2**16, 2**16), (1,) * 33])
def test_impossible_shapes_are_refused(shape):
    with pytest.raises(ShapeError, match="cannot have this shape"):
        Blob(shape)


def test_shared_memory():
    a, b = Blob((2, 2)), Blob((4,))
    b.share_data(a)
    a.data[...] = 3
    assert b.data.tolist() == [3] * 4
    with pytest.raises(ShapeError, match="cannot share"):
        b.share_diff(Blob((5,)))


def test_released_memory_says_so():
    blob = Blob((4,))
    blob.put(torch.ones(4))
    blob.release()
    with pytest.raises(CaffeError, match="release_blobs = False"):
        _ = blob.data
    blob.put(torch.ones(4))
    assert blob.data.tolist() == [1] * 4


def test_device_array_needs_gpu_mode():
    with pytest.raises(CaffeError, match="set_mode_gpu"):
        _ = Blob((1,)).gpu_data


@pytest.fixture
def other_device(monkeypatch):
    """A second device for the state machine on a machine without CUDA: torch's `meta` keeps shapes only, so the
    copies are checked by which side counts as fresh."""
    here = {"device": torch.device("cpu")}
    monkeypatch.setattr(state, "device", lambda: here["device"])
    return here


def test_which_copy_is_fresh(other_device):
    blob = Blob((3,))
    blob.data[...] = 1
    memory = blob._data
    assert (memory.host_fresh, memory.device_fresh) == (True, False)
    other_device["device"] = torch.device("meta")
    assert blob.tensor().device.type == "meta"
    assert (memory.host_fresh, memory.device_fresh) == (True, True)      # read: in step
    blob.tensor(write=True)
    assert (memory.host_fresh, memory.device_fresh) == (False, True)     # written there
    blob.put(torch.zeros(3))                                             # a host result
    assert (memory.host_fresh, memory.device_fresh) == (True, False)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_data_moves_with_the_mode():
    blob = Blob((3,))
    view = blob.data
    view[...] = [1, 2, 3]
    state.set_mode_gpu()
    try:
        blob.tensor(write=True).mul_(2)
        assert hasattr(blob.gpu_data, "__cuda_array_interface__")
        assert blob.data.tolist() == [2, 4, 6]
        assert view.tolist() == [2, 4, 6]
        view[0] = 9
        assert blob.tensor()[0].item() == 9
    finally:
        state.set_mode_cpu()
