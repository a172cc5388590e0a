"""convert_imageset: keys, pixels, encodings, flags, and refusals; read back with lmdb itself."""
import io

import numpy as np
import pytest
from PIL import Image

import caffe
from caffe.proto import caffe_pb2

lmdb = pytest.importorskip("lmdb")
pytestmark = pytest.mark.unit


def read(folder):
    with lmdb.open(str(folder), readonly=True, lock=False) as env, env.begin() as transaction:
        return {key.decode(): caffe_pb2.Datum.FromString(value) for key, value in transaction.cursor()}


def pixels(datum):
    return np.frombuffer(datum.data, np.uint8).reshape(datum.channels, datum.height, datum.width)


def test_pixels_labels_and_keys(command, images):
    arrays = images()
    status, said = command("convert_imageset", "img/", "list.txt", "db")
    assert status == 0 and "A total of 4 images." in said and "Processed 4 files." in said
    records = read("db")
    assert list(records) == [f"{i:08d}_{i}.png" for i in range(4)]
    for i, datum in enumerate(records.values()):
        assert datum.label == 10 * i and not datum.encoded
        np.testing.assert_array_equal(pixels(datum), arrays[i, :, :, ::-1].transpose(2, 0, 1))


def test_the_database_feeds_a_data_layer(command, images, tmp_path):
    arrays = images()
    command("convert_imageset", "img/", "list.txt", "db", "-encoded=true")
    (tmp_path / "net.prototxt").write_text(f"""
layer {{ name: "data" type: "Data" top: "data" top: "label"
  data_param {{ source: "{tmp_path}/db" backend: LMDB batch_size: 4 }} }}""")
    net = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST)
    net.forward()
    np.testing.assert_array_equal(net.blobs["data"].data, arrays[..., ::-1].transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(net.blobs["label"].data, [0, 10, 20, 30])


def test_encoded_keeps_the_file_as_it_is(command, images, tmp_path):
    images(suffix="jpg")
    assert command("convert_imageset", "--encoded", "img/", "list.txt", "db")[0] == 0
    for key, datum in read("db").items():
        assert datum.encoded and datum.data == (tmp_path / "img" / key[9:]).read_bytes()


@pytest.mark.parametrize("flags, kind, mode", [
    (["-encode_type", "png"], "PNG", "RGB"), (["-encoded", "-gray"], "JPEG", "L"),
    (["-encoded", "-resize_height=5", "-resize_width=7"], "JPEG", "RGB")])
def test_encoded_anew_where_the_file_is_not_what_was_asked_for(command, images, flags, kind, mode):
    images(suffix="jpg")
    assert command("convert_imageset", *flags, "img/", "list.txt", "db")[0] == 0
    for datum in read("db").values():
        with Image.open(io.BytesIO(datum.data)) as image:
            assert (image.format, image.mode) == (kind, mode)
            assert image.size == ((7, 5) if len(flags) == 3 else (10, 8))


def test_gray_and_resized(command, images):
    arrays = images()
    command("convert_imageset", "-gray=true", "img/", "list.txt", "gray")
    for datum, array in zip(read("gray").values(), arrays, strict=True):
        expected = array @ [0.299, 0.587, 0.114]
        assert np.abs(pixels(datum)[0] - expected).max() <= 0.51
    command("convert_imageset", "-nogray", "-resize_height=4", "-resize_width", 5, "img/", "list.txt", "small")
    # halving bilinearly at pixel centres is the mean of four
    means = arrays.reshape(4, 4, 2, 5, 2, 3).mean((2, 4))[..., ::-1].transpose(0, 3, 1, 2)
    assert np.abs(np.stack([pixels(d) for d in read("small").values()]) - means).max() <= 1


def test_shuffling_repeats_with_a_seed(command, images):
    images(number=20)
    orders = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        command("convert_imageset", "-shuffle", "-seed", seed, "img/", "list.txt", name)
        orders.append([key[9:] for key in read(name)])
    assert orders[0] == orders[1] != orders[2] and sorted(orders[0]) == sorted(orders[2])
    assert orders[0] != sorted(orders[0])


def test_more_than_one_transaction(tmp_path):
    from caffe.data.lmdb_writer import LmdbWriter

    with LmdbWriter(tmp_path / "db") as out:   # larger than the first map, and more records than a transaction
        for i in range(1100):
            out.put(b"%08d" % i, bytes([i % 256]) * 100_000)
    with lmdb.open(str(tmp_path / "db"), readonly=True, lock=False) as env, env.begin() as transaction:
        assert env.stat()["entries"] == 1100 and transaction.get(b"00001099") == bytes([1099 % 256]) * 100_000


@pytest.mark.parametrize("text, flags, words", [
    ("0.png one\n", [], ["list.txt:1", "does not end in a label"]), ("\n", [], ["lists no images"]),
    ("0.png 1\nodd.png 2\n", ["-check_size"], ["img/odd.png", "3 x 3 x 3", "3 x 8 x 10"]),
    ("no.png 1\n", [], ["none of the images can be read"]),
    ("0.png 1\n", ["-resize_width=3"], ["go together"]), ("0.png 1\n", ["-backend=leveldb"], ["only LMDBs"]),
    ("0.png 1\n", ["-encode_type=xyz"], ["cannot encode", "'xyz'"])])
def test_refusals_leave_nothing_behind(command, images, tmp_path, text, flags, words):
    images()
    Image.new("RGB", (3, 3)).save(tmp_path / "img" / "odd.png")
    (tmp_path / "list.txt").write_text(text)
    before = sorted(tmp_path.iterdir())
    status, said = command("convert_imageset", *flags, "img/", "list.txt", "db")
    assert status == 1 and all(word in said for word in [*words, "help:"])
    assert sorted(tmp_path.iterdir()) == before


def test_an_unreadable_image_is_named_and_left_out(command, images, tmp_path):
    images()
    (tmp_path / "img" / "1.png").write_bytes(b"no image")
    status, said = command("convert_imageset", "img/", "list.txt", "db")
    assert status == 0 and "img/1.png" in said and "1 of 4 images could not be read" in said
    assert list(read("db")) == ["00000000_0.png", "00000002_2.png", "00000003_3.png"]


def test_a_database_that_is_there_is_not_touched(command, images):
    images()
    command("convert_imageset", "img/", "list.txt", "db")
    status, said = command("convert_imageset", "img/", "list.txt", "db")
    assert status == 1 and "db: there is something here already" in said and len(read("db")) == 4
