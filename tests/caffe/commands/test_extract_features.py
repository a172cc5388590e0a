"""extract_features: what is written equals what the net computes, in each form."""
import numpy as np
import pytest

import caffe
from caffe.proto import caffe_pb2

lmdb = pytest.importorskip("lmdb")
pytestmark = pytest.mark.unit

NET = """
layer { name: "data" type: "Data" top: "data" top: "label"
  data_param { source: "db" backend: LMDB batch_size: 2 } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv/1"
  convolution_param { num_output: 2 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "score" type: "InnerProduct" bottom: "conv/1" top: "score"
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
"""


@pytest.fixture
def expected(command, images, tmp_path):
    """{blob: array over 3 batches of 2} of NET, which is saved with its weights; the database has 4 images."""
    images()
    command("convert_imageset", "img/", "list.txt", "db")
    (tmp_path / "net.prototxt").write_text(NET)
    net = caffe.Net("net.prototxt", caffe.TEST)
    net.save("net.caffemodel")
    result = {"conv/1": [], "score": [], "label": []}
    for _ in range(3):
        net.forward()
        for name, arrays in result.items():
            arrays.append(net.blobs[name].data.copy())
    return {name: np.concatenate(arrays) for name, arrays in result.items()}


def test_lmdb(command, expected):
    status, said = command("extract_features", "net.caffemodel", "net.prototxt", "conv/1,score,label", "a,b,c", 3,
                           "lmdb")
    assert status == 0 and "Extracted features of 6 query images for feature blob score" in said
    for folder, (name, array) in zip("abc", expected.items(), strict=True):
        with lmdb.open(folder, readonly=True, lock=False) as env, env.begin() as transaction:
            records = [(key, caffe_pb2.Datum.FromString(value)) for key, value in transaction.cursor()]
        assert [key for key, _ in records] == [b"%010d" % i for i in range(6)]
        shape = (*array.shape[1:], 1, 1, 1)[:3]
        for (_, datum), item in zip(records, array, strict=True):
            assert (datum.channels, datum.height, datum.width) == shape, name
            np.testing.assert_allclose(datum.float_data, item.ravel(), rtol=1e-5, atol=1e-4)


def test_npz_and_h5(command, expected):
    h5py = pytest.importorskip("h5py")
    for form in ("npz", "h5"):
        assert command("extract_features", "net.caffemodel", "net.prototxt", "conv/1,score", f"a.{form},b.{form}",
                       3, form, "CPU")[0] == 0
    with np.load("a.npz") as conv, np.load("b.npz") as score:
        np.testing.assert_allclose(conv["conv/1"], expected["conv/1"], rtol=1e-5, atol=1e-4)
        np.testing.assert_allclose(score["score"], expected["score"], rtol=1e-5, atol=1e-4)
    with h5py.File("a.h5") as conv, h5py.File("b.h5") as score:
        np.testing.assert_allclose(conv["conv/1"][()], expected["conv/1"], rtol=1e-5, atol=1e-4)
        np.testing.assert_allclose(score["score"][()], expected["score"], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("arguments, words", [
    (["scor", "a", 1, "lmdb"], "did you mean score?"), (["score", "a,b", 1, "lmdb"], "each blob needs a dataset"),
    (["score", "a", 0, "lmdb"], "at least 1"), (["score", "a", 1, "sqlite"], "invalid choice"),
    (["score", "no/a", 1, "npz"], "cannot write"), (["score", "a", 1, "lmdb", "GPU", "x"], "the device is a number")])
def test_refusals(command, expected, tmp_path, arguments, words):
    before = sorted(tmp_path.iterdir())
    status, said = command("extract_features", "net.caffemodel", "net.prototxt", *arguments)
    assert status == 1 and words in said and sorted(tmp_path.iterdir()) == before
