"""Input, DummyData, MemoryData, HDF5Data and HDF5Output: what they give, when, and what they refuse."""
import json

import numpy as np
import pytest

import caffe
from caffe.blob import Blob

pytestmark = pytest.mark.unit


def test_input_keeps_a_shape_that_its_user_gave(bench):
    it = bench('type: "Input" top: "a" top: "b" input_param { shape { dim: 2 dim: 3 } }')
    assert [t.shape for t in it.top] == [(2, 3), (2, 3)]
    it.top[0].reshape(5)
    it.forward()
    assert it.top[0].shape == (5,)
    each = bench('type: "Input" top: "a" top: "b" input_param { shape { dim: 2 } shape { } }')
    assert [t.shape for t in each.top] == [(2,), ()]


def test_dummy_data_fills_constants_once_and_others_always(bench):
    it = bench('type: "DummyData" top: "a" top: "b" dummy_data_param { shape { dim: 3 } '
               'data_filler { value: 2 } data_filler { type: "gaussian" } }')
    constant, first = it.forward()
    assert constant.tolist() == [2, 2, 2]
    it.top[0].data[...] = 9
    kept, second = it.forward()
    assert kept.tolist() == [9, 9, 9] and (first != second).all()


def test_dummy_data_old_dimensions(bench):
    it = bench('type: "DummyData" top: "a" top: "b" dummy_data_param { num: 2 num: 5 channels: 3 height: 1 width: 4 }')
    assert [t.shape for t in it.top] == [(2, 3, 1, 4), (5, 3, 1, 4)] and not it.top[1].data.any()


MEMORY = 'type: "MemoryData" top: "d" top: "l" memory_data_param { batch_size: 2 channels: 1 height: 2 width: 3 }'


def test_memory_data_wraps_around(bench):
    it = bench(MEMORY)
    data = np.arange(24, dtype=np.float32).reshape(4, 1, 2, 3)
    it.layer.reset(data, np.arange(4))
    for expected in ([0, 1], [2, 3], [0, 1]):
        d, label = it.forward()
        np.testing.assert_array_equal(d, data[expected])
        assert label.ravel().tolist() == expected and label.shape == (2, 1, 1, 1)


def test_memory_data_is_safe_from_in_place_layers(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(f'layer {{ name: "m" {MEMORY} }} layer {{ name: "r" type: "ReLU" bottom: "d" top: "d" }}')
    net = caffe.Net(str(path), caffe.TEST)
    data = -np.ones((2, 1, 2, 3), np.float32)
    net.set_input_arrays(data, np.zeros(2, np.float32))
    assert not net.forward()["d"].any() and (data == -1).all()


@pytest.mark.parametrize("data, labels, says", [
    (np.zeros((2, 1, 2, 2)), np.zeros(2), "does not fit"), (np.zeros((3, 1, 2, 3)), np.zeros(3), "multiple of batch"),
    (np.zeros((0, 1, 2, 3)), np.zeros(0), "multiple of batch"), (np.zeros((2, 1, 2, 3)), np.zeros(3), "one label"),
    (np.zeros((2, 6)), np.zeros(2), "does not fit"),
])
def test_memory_data_refuses_arrays_that_do_not_fit(bench, data, labels, says):
    with pytest.raises(caffe.ShapeError, match=says) as e:
        bench(MEMORY).layer.reset(data, labels)
    assert e.value.layer == "it" and e.value.help


def test_memory_data_says_that_it_does_not_transform(bench, caplog):
    bench(MEMORY + " transform_param { scale: 2 }")
    assert "MemoryData does not transform arrays" in caplog.text


def test_memory_data_without_data(bench):
    with pytest.raises(caffe.LayerError, match="no data yet"):
        bench(MEMORY).forward()


# ------------------------------------------------------------------ HDF5
@pytest.fixture
def hdf5(tmp_path, monkeypatch):
    """write(*row counts) -> a folder with as many files, rows numbered throughout, and list.txt."""
    h5py = pytest.importorskip("h5py")
    monkeypatch.chdir(tmp_path)

    def write(*counts):
        first = 0
        for i, n in enumerate(counts):
            with h5py.File(f"{i}.h5", "w") as f:
                f["x"] = np.arange(first, first + n)[:, None] * [1, 10]
                f["y"] = np.arange(first, first + n, dtype=np.int64)
            first += n
        (tmp_path / "list.txt").write_text("\n".join(f"{i}.h5" for i in range(len(counts))))

    return write


def _source(extra="batch_size: 3"):
    return f'type: "HDF5Data" top: "x" top: "y" hdf5_data_param {{ source: "list.txt" {extra} }}'


def test_hdf5_batches_cross_files_and_wrap_around(bench, hdf5):
    hdf5(2, 3)
    it = bench(_source())
    seen = []
    for _ in range(4):
        x, y = it.forward()
        np.testing.assert_array_equal(x, y[:, None] * [1, 10])
        seen += y.tolist()
    assert seen == [0, 1, 2, 3, 4] * 2 + [0, 1]


def test_hdf5_shuffle_shows_each_row_once_a_round(bench, hdf5):
    hdf5(4, 6)
    it = bench(_source("batch_size: 5 shuffle: true"))
    rounds = [np.concatenate([it.forward()[1] for _ in range(2)]) for _ in range(3)]
    assert all(sorted(r) == list(range(10)) for r in rounds)
    assert any((r != np.arange(10)).any() for r in rounds)


@pytest.mark.parametrize("extra", ["batch_size: 3", "batch_size: 3 shuffle: true"])
def test_hdf5_goes_on_from_a_snapshot(bench, hdf5, extra):
    hdf5(4, 3)
    it = bench(_source(extra))
    it.forward()
    saved = json.loads(json.dumps(it.layer.get_state()))
    want = [it.forward()[1].tolist() for _ in range(1)]
    other = bench(_source(extra))
    other.layer.set_state(saved)
    assert [other.forward()[1].tolist() for _ in range(1)] == want


def test_hdf5_solvers_share_the_rows(bench, hdf5, monkeypatch):
    hdf5(6)
    monkeypatch.setattr(caffe.state, "_solver_count", 2)
    monkeypatch.setattr(caffe.state, "_solver_rank", 1)
    assert bench(_source()).forward()[1].tolist() == [1, 3, 5]
    assert bench(_source(), phase=caffe.TEST).forward()[1].tolist() == [0, 1, 2]


@pytest.mark.parametrize("break_it, says", [
    (lambda d: (d / "list.txt").unlink(), "list.txt"), (lambda d: (d / "list.txt").write_text(""), "no file names"),
    (lambda d: (d / "list.txt").write_text("gone.h5"), "gone.h5"),
    (lambda d: (d / "0.h5").write_text("<html>"), "0.h5"),
])
def test_hdf5_that_cannot_be_read(bench, hdf5, tmp_path, break_it, says):
    hdf5(2)
    break_it(tmp_path)
    with pytest.raises(caffe.DataError, match=says) as e:
        bench(_source())
    assert e.value.layer == "it" and e.value.help


def test_hdf5_dataset_is_named_like_the_top(bench, hdf5):
    hdf5(2)
    with pytest.raises(caffe.DataError, match="a dataset 'z'"):
        bench(_source().replace('"y"', '"z"'))


def test_hdf5_output_appends(bench, hdf5, tmp_path):
    import h5py

    x, y = np.arange(6.0).reshape(2, 3), np.arange(2.0)
    it = bench('type: "HDF5Output" hdf5_output_param { file_name: "out.h5" }', x, y)
    it.forward()
    it.forward()
    with h5py.File(tmp_path / "out.h5") as f:
        np.testing.assert_array_equal(f["data"][..., 0, 0], np.concatenate([x, x]))
        assert f["label"].shape == (4, 1, 1, 1)
    it.bottom[0].reshape(2, 4)
    with pytest.raises(caffe.ShapeError, match="changed its shape"):
        it.forward()


def test_hdf5_output_that_cannot_be_written(bench, hdf5):
    with pytest.raises(caffe.DataError, match="cannot write"):
        bench('type: "HDF5Output" hdf5_output_param { file_name: "no/such/folder.h5" }', (2, 3), (2,))


def test_sources_are_blobs_of_their_own():
    assert Blob((2,)).held_by_graph, "in-place layers must not write into what a program filled"
