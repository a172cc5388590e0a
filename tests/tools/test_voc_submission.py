"""Archives for VOC's test server: what is written is accepted, and every kind of damage is named."""

import io
import tarfile

import numpy as np
import pytest
from PIL import Image

import caffe
from data import open_dataset
from data.palette import write_indexed_png
from tools.errors import RunError
from tools.voc_submission import check, main, results_folder, write

pytestmark = pytest.mark.unit

INSIDE = "results/VOC2012/Segmentation/comp6_test_cls/"
SIZES = {"2008_000006": (6, 9), "2008_000011": (7, 5)}
# scores of 21 classes: 1x1 convolution of the picture with weights that a test sets
NET = """
name: "tiny"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 4 dim: 4 } } }
layer { name: "score" type: "Convolution" bottom: "data" top: "score" convolution_param {
  num_output: 21 kernel_size: 1 } }
"""


@pytest.fixture
def voc(tmp_path):
    root = tmp_path / "VOC2012"
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    (root / "ImageSets/Segmentation/test.txt").write_text("".join(f"{i}\n" for i in SIZES))
    for i, size in SIZES.items():
        image = np.random.default_rng(len(i)).integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(image).save(root / f"JPEGImages/{i}.jpg")
    return open_dataset(root)


@pytest.fixture
def net(tmp_path):
    (tmp_path / "net.prototxt").write_text(NET)
    made = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST)
    draw = np.random.default_rng(0)
    made.params["score"][0].data[...] = draw.normal(size=(21, 3, 1, 1))
    made.params["score"][1].data[...] = 20 * draw.normal(size=21)
    return made


@pytest.mark.tiny
def test_what_is_written_is_accepted_and_is_the_argmax(voc, net, tmp_path):
    mean = (100.0, 110.0, 120.0)
    assert write(net, mean, voc, "test", tmp_path / "out/mine.tgz") == 2
    assert list(check(tmp_path / "out/mine.tgz", voc, "test")) == []
    weights, bias = (blob.data.astype(float) for blob in net.params["score"])
    with tarfile.open(tmp_path / "out/mine.tgz", "r:gz") as tar:
        assert tar.getnames() == [f"{INSIDE}{i}.png" for i in SIZES]
        for i in SIZES:
            found = Image.open(io.BytesIO(tar.extractfile(f"{INSIDE}{i}.png").read()))
            scores = (voc.image(i)[:, :, ::-1] - np.array(mean)) @ weights[:, :, 0, 0].T + bias
            assert found.mode == "P" and found.getpalette()[3:6] == [128, 0, 0]
            np.testing.assert_array_equal(np.array(found), scores.argmax(axis=2))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.tgz"]


def test_command_line(voc, net, tmp_path, capsys):
    net.save(str(tmp_path / "net.caffemodel"))
    out = str(tmp_path / "mine.tgz")
    common = ["--data", str(voc.root), "--split", "test"]
    assert main(["write", "--net", str(tmp_path / "net.prototxt"), "--weights", str(tmp_path / "net.caffemodel"),
                 "--out", out, *common]) == 0
    assert main(["check", out, *common]) == 0
    assert "all is well" in capsys.readouterr().out
    assert main(["check", out, "--competition", "comp5", *common]) == 1
    seen = capsys.readouterr()
    assert "comp6_test_cls/2008_000006.png: not the result" in seen.err and "4 problems" in seen.out
    assert main(["check", str(tmp_path / "net.prototxt"), *common]) == 1
    assert "not a readable archive" in capsys.readouterr().err


def packed(path, files):
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def png(folder, label):
    write_indexed_png(folder / "label.png", label)
    return (folder / "label.png").read_bytes()


def test_every_kind_of_damage_is_named(voc, tmp_path):
    one, two = (f"{INSIDE}{i}.png" for i in SIZES)
    right = png(tmp_path, np.zeros((6, 9), np.uint8))
    good = png(tmp_path, np.full((7, 5), 20, np.uint8))
    void = np.zeros((6, 9), np.uint8)
    void[0, 0] = 255
    gray, jpeg = io.BytesIO(), io.BytesIO()
    Image.fromarray(np.zeros((6, 9), np.uint8)).save(gray, "PNG")
    Image.fromarray(np.zeros((6, 9, 3), np.uint8)).save(jpeg, "JPEG")
    write_indexed_png(tmp_path / "own.png", np.zeros((6, 9), np.uint8), np.full((21, 3), 7))

    def problems(files):
        return list(check(packed(tmp_path / "x.tgz", files), voc, "test"))

    assert problems({f"./{one}": right, two: good}) == []
    assert problems({one: right}) == [f"{two}: missing"]
    assert problems({one: right, two: good, f"{INSIDE}2010_1.png": good}) == [
        f"{INSIDE}2010_1.png: not the result of a picture of test, or there twice"]
    for content, words in (
        (png(tmp_path, np.zeros((9, 6), np.uint8)), "9x6, the picture is 6x9"),
        (png(tmp_path, void), "value 255; the classes are 0 to 20"),
        (gray.getvalue(), "PNG of mode L, not a palette PNG"),
        (jpeg.getvalue(), "JPEG of mode RGB, not a palette PNG"),
        ((tmp_path / "own.png").read_bytes(), "the palette is not VOC's"),
        (right[:40], "not a readable image"),
    ):
        found = problems({one: content, two: good})
        assert len(found) == 1 and found[0].startswith(one) and words in found[0]


def test_the_year_is_the_data_sets(voc, tmp_path):
    assert str(results_folder(voc, "val", "comp5")) == "results/VOC2012/Segmentation/comp5_val_cls"
    voc.root = tmp_path / "mine"
    voc.name = "voc2011"
    assert results_folder(voc, "test").parts[1] == "VOC2011"
    voc.name = "mine"
    with pytest.raises(RunError, match="of which year"):
        results_folder(voc, "test")
