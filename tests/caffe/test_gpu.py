"""GPU mode: precision and device arrays, and on a CUDA device CuPy, training and resuming bit by bit."""
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import caffe
from caffe import state
from caffe.blob import Blob
from tests.caffe.layers.test_device import solver_of, weights

ROOT = Path(__file__).parent.parent.parent
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.fixture
def gpu():
    caffe.set_device(0)
    caffe.set_mode_gpu()
    yield torch.device("cuda", 0)
    caffe.set_mode_cpu()


@pytest.fixture
def precision_kept():
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, matmul.allow_tf32, cudnn.deterministic
    yield
    cudnn.allow_tf32, matmul.allow_tf32, cudnn.deterministic = before


@pytest.mark.unit
@pytest.mark.parametrize("asked, tf32", [(None, False), ("0", False), ("1", True)])
def test_tf32_only_where_asked_for(asked, tf32, monkeypatch, precision_kept):
    monkeypatch.delenv("CAFFE_TF32", raising=False)
    if asked is not None:
        monkeypatch.setenv("CAFFE_TF32", asked)
    state.set_precision()
    assert (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32) == (tf32, tf32)
    assert torch.backends.cudnn.conv.fp32_precision == ("tf32" if tf32 else "none")
    assert torch.backends.cudnn.deterministic


@pytest.mark.unit
def test_dlpack_on_the_host():
    """The arrays of a blob travel to other libraries without a copy."""
    blob = Blob((2, 3))
    far = torch.from_dlpack(blob.data)
    far[1, 2] = 5
    assert blob.data[1, 2] == 5 and blob.tensor()[1, 2] == 5
    np.from_dlpack(blob.diff_tensor(write=True))
    assert blob.diff.sum() == 0


@pytest.mark.gpu
@needs_cuda
def test_cupy_shares_the_memory_of_a_blob(gpu):
    cupy = pytest.importorskip("cupy")
    blob = Blob((2, 3))
    blob.data[...] = 1
    there = cupy.asarray(blob.gpu_data)
    assert there.data.ptr == blob._gpu_data_ptr
    there *= 3
    cupy.from_dlpack(blob.gpu_diff)[...] = 2
    cupy.cuda.Device(0).synchronize()
    assert (blob.data == 3).all() and (blob.diff == 2).all()


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("kind", ["SGD", "Adam"])
def test_training_resumes_bit_by_bit(kind, tmp_path, gpu):
    solver = solver_of(tmp_path, kind)
    solver.step(4)
    solver.snapshot()
    solver.step(3)
    assert all(b.tensor().device == gpu for b in [*solver.net.learnable_params, *solver.history])
    resumed = solver_of(tmp_path, kind)
    resumed.restore(str(tmp_path / "s_iter_4.solverstate"))
    resumed.step(3)
    for a, b in zip(weights(solver), weights(resumed), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.gpu
@needs_cuda
def test_convolution_is_float32(gpu):
    """TF32 would be wrong by 1e-3."""
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(1, 64, 16, 16)), rng.normal(size=(64, 64, 3, 3))
    there = [torch.from_numpy(a.astype(np.float32)).to(gpu) for a in (x, w)]
    want = torch.nn.functional.conv2d(*(torch.from_numpy(a.astype(np.float32)).double() for a in (x, w)))
    error = (torch.nn.functional.conv2d(*there).double().cpu() - want).abs().max() / want.abs().max()
    assert float(error) < 2e-6


@pytest.mark.gpu
@needs_cuda
def test_timer_waits_for_the_device(gpu):
    timer = caffe.Timer()
    x = torch.ones(4096, 4096, device=gpu)
    timer.start()
    for _ in range(20):
        x = x @ x * 1e-4
    timer.stop()
    assert timer.ms > 20 * 2 * 4096**3 / 1e15 * 1000   # no GPU multiplies float32 at 1000 Tflop/s


@pytest.mark.gpu
@needs_cuda
def test_conformance_on_the_gpu():
    """Everything that BVLC Caffe recorded, replayed in GPU mode."""
    run = ROOT / "tests" / "conformance" / "run.py"
    done = subprocess.run([sys.executable, str(run), str(run.parent), "--gpu", "0"], cwd=ROOT, capture_output=True,
                          text=True, check=False)
    failed = [line for line in done.stdout.splitlines() if not line.startswith("PASS")]
    assert done.returncode == 0, "\n".join(failed)
