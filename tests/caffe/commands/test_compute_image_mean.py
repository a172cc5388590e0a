"""compute_image_mean against NumPy, for pixels, floats and encoded images."""
import re

import numpy as np
import pytest

import caffe
from caffe.data.imageset import compute_image_mean
from caffe.data.lmdb_writer import LmdbWriter
from caffe.proto import caffe_pb2

pytest.importorskip("lmdb")
pytestmark = pytest.mark.unit


@pytest.mark.parametrize("flags", [[], ["-encoded"]])
def test_mean_of_images(command, images, tmp_path, flags):
    expected = images().mean(0)[:, :, ::-1].transpose(2, 0, 1)
    command("convert_imageset", *flags, "img/", "list.txt", "db")
    status, said = command("compute_image_mean", "db", "mean.binaryproto")
    assert status == 0 and "Number of channels: 3" in said
    printed = [float(v) for v in re.findall(r"mean_value channel \[\d\]: (\S+)", said)]
    np.testing.assert_allclose(printed, expected.mean((1, 2)), rtol=1e-5)
    blob = caffe_pb2.BlobProto.FromString((tmp_path / "mean.binaryproto").read_bytes())
    assert (blob.num, blob.channels, blob.height, blob.width) == (1, 3, 8, 10)
    np.testing.assert_allclose(caffe.io.blobproto_to_array(blob)[0], expected, rtol=1e-6)


def test_mean_of_floats(tmp_path):
    values = np.random.default_rng(0).normal(size=(5, 2, 3, 4))
    with LmdbWriter(tmp_path / "db") as out:
        for i, value in enumerate(values):
            out.put(b"%d" % i, caffe.io.array_to_datum(value).SerializeToString())
    np.testing.assert_allclose(compute_image_mean(str(tmp_path / "db")), values.mean(0), rtol=1e-5, atol=1e-6)


def test_without_an_output_nothing_is_written(command, images, tmp_path):
    images()
    command("convert_imageset", "img/", "list.txt", "db")
    before = sorted(tmp_path.iterdir())
    assert command("compute_image_mean", "-backend=lmdb", "db")[0] == 0 and sorted(tmp_path.iterdir()) == before


def test_refusals(command, tmp_path):
    with LmdbWriter(tmp_path / "db") as out:
        for i, width in enumerate((4, 5)):
            out.put(b"%d" % i, caffe.io.array_to_datum(np.zeros((1, 2, width), np.uint8)).SerializeToString())
    with LmdbWriter(tmp_path / "junk") as out:
        out.put(b"0", b"\xff")
    for name, words in (("db", "record 1 has another size"), ("junk", "no Datum"), ("none", "no such database")):
        status, said = command("compute_image_mean", name)
        assert status == 1 and words in said and name in said
