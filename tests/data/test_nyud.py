"""The readers of NYUDv2: the public FCN code's folder, and the original files of version 7.3."""

import numpy as np
import pytest
import scipy.io
from PIL import Image

from data import DataError, open_dataset
from data.check import check
from data.hha import NYU_CAMERA, hha
from data.nyud import NYUD
from data.nyud_original import convert
from data.prepare import main, prepare
from tests.data.layouts import write_nyud, write_nyud_original

pytestmark = pytest.mark.unit
SPLITS = {"train": ["5003", "5001"], "val": ["5004"], "test": ["5002"]}


@pytest.mark.tiny
@pytest.mark.parametrize("nest", ["nyud", ""])
def test_every_top_is_what_was_stored(tmp_path, nest):
    made = write_nyud(tmp_path / nest, SPLITS)
    nyud = NYUD(tmp_path)
    assert nyud.root == tmp_path / nest and len(nyud.classes) == 40 and nyud.classes[39] == "otherprop"
    for i, tops in made.items():
        np.testing.assert_array_equal(nyud.top(i, "color"), tops["color"][:, :, ::-1])
        np.testing.assert_array_equal(nyud.top(i, "hha"), tops["hha"])
        np.testing.assert_array_equal(nyud.top(i, "label"), tops["label"])
        np.testing.assert_allclose(nyud.top(i, "depth")[:, :, 0], np.log(tops["depth"].astype(float)), rtol=1e-6)


def test_trainval_is_joined_where_it_has_no_list(tmp_path):
    write_nyud(tmp_path, SPLITS)
    nyud = open_dataset(tmp_path)
    assert isinstance(nyud, NYUD) and nyud.splits() == ("trainval", "train", "val", "test")
    assert nyud.ids("trainval") == ["5003", "5001", "5004"]
    (tmp_path / "trainval.txt").write_text("5001\n")
    assert nyud.ids("trainval") == ["5001"]
    (tmp_path / "trainval.txt").unlink()
    (tmp_path / "val.txt").unlink()
    assert nyud.splits() == ("train", "test")
    with pytest.raises(DataError, match="no split 'trainval'.*found train, test"):
        nyud.ids("trainval")


def test_what_is_wrong_is_said(tmp_path):
    with pytest.raises(DataError, match="(?s)'nyud' is not here.*nyu_depth_v2_labeled.mat.*data.prepare nyud"):
        NYUD(tmp_path)
    write_nyud(tmp_path, SPLITS)
    nyud = NYUD(tmp_path)
    depth = np.full((9, 12), 1000, np.uint16)
    depth[2, 3] = 0
    Image.fromarray(depth).save(tmp_path / "data/depth/img_5001.png")
    with pytest.raises(DataError, match="img_5001.png: depth is missing in places .found 1 pixels"):
        nyud.top("5001", "depth")
    Image.fromarray(np.ones((9, 12), np.uint8)).save(tmp_path / "data/depth/img_5001.png")
    with pytest.raises(DataError, match="16-bit gray PNG"):
        nyud.top("5001", "depth")
    whole = (tmp_path / "data/depth/img_5002.png").read_bytes()
    (tmp_path / "data/depth/img_5002.png").write_bytes(whole[:-30])
    with pytest.raises(DataError, match="img_5002.png: the depth cannot be decoded"):
        nyud.top("5002", "depth")
    scipy.io.savemat(tmp_path / "segmentation/img_5001.mat", {"segmentation": np.full((3, 4), 1.5)})
    with pytest.raises(DataError, match="segmentation is not one class index per pixel"):
        nyud.label("5001")


def test_a_set_without_hha_is_told_how_to_make_it(tmp_path):
    write_nyud(tmp_path / "given", SPLITS)
    (tmp_path / "given/data/hha/img_5002.png").unlink()
    with pytest.raises(DataError, match="(?s)hha/img_5002.png: the first image of the split 'test'.*tools/hha.py"):
        prepare("nyud", tmp_path / "given")


def test_check_reads_every_kind_of_image(tmp_path):
    write_nyud(tmp_path, SPLITS)
    assert not check(NYUD(tmp_path)).problems
    (tmp_path / "data/hha/img_5001.png").unlink()
    Image.fromarray(np.full((4, 5), 900, np.uint16)).save(tmp_path / "data/depth/img_5002.png")
    Image.fromarray(np.zeros((9, 12), np.uint16)).save(tmp_path / "data/depth/img_5004.png")
    problems = {(p.kind, p.where.split("/data/")[-1]): p.message for p in check(NYUD(tmp_path)).problems}
    assert problems == {
        ("missing image", "hha/img_5001.png"): "'5001' has no hha",
        ("size mismatch", "depth/img_5002.png"): "depth is 4x5, another image 9x12 (height x width)",
        ("unreadable image", "depth/img_5004.png"): "depth is missing in places",
    }


@pytest.mark.parametrize("mapping", ["classMapping40.mat", "labels40.mat"])
@pytest.mark.parametrize("splits", ["splits.mat", "nyusplits.mat"])
def test_the_original_files_become_that_folder(tmp_path, mapping, splits, monkeypatch):
    images, depths, raw = write_nyud_original(tmp_path / "original", 3, mapping, splits)
    seen = []
    blank = np.zeros((425, 560, 3), np.uint8)
    monkeypatch.setattr("data.nyud_original.hha", lambda *given: seen.append(given) or blank)
    nyud = prepare("nyud", tmp_path / "original")
    assert nyud.root == tmp_path / "named/nyud" and nyud.ids("trainval") == ["5001", "5003"]
    assert nyud.ids("test") == ["5002"] and ("train" in nyud.splits()) == (splits == "nyusplits.mat")
    frame = slice(45, 470), slice(40, 600)
    for n, (depth, camera, measured) in zip(range(3), seen, strict=True):
        i = str(5001 + n)
        np.testing.assert_array_equal(nyud.image(i), images[n][frame])
        np.testing.assert_allclose(np.exp(nyud.top(i, "depth")[:, :, 0]), 1000 * depths[n][frame], atol=0.51)
        np.testing.assert_array_equal(nyud.label(i), np.where(raw[n] == 0, 255, raw[n] - 1)[frame])
        np.testing.assert_array_equal(depth, depths[n][frame])
        assert measured.all() and camera.fx == NYU_CAMERA.fx
        # a pixel's ray is the same in the frame and in the whole picture
        whole, cut = NYU_CAMERA.rays((480, 640)), camera.rays((425, 560))
        np.testing.assert_allclose(whole[0][:, frame[1]], cut[0])
        np.testing.assert_allclose(whole[1][frame[0]], cut[1])


def test_hha_is_computed(tmp_path, capsys):
    _, depths, _ = write_nyud_original(tmp_path / "original", 1)
    scipy.io.savemat(tmp_path / "original/splits.mat", {"trainNdxs": np.array([[1.0]]), "testNdxs": np.array([[1.0]])})
    assert main(["nyud", "--from-local", str(tmp_path / "original")]) == 0
    assert "trainval 1, test 1" in capsys.readouterr().out
    camera = NYU_CAMERA._replace(cx=NYU_CAMERA.cx - 40, cy=NYU_CAMERA.cy - 45)
    expected = hha(depths[0][45:470, 40:600], camera)
    np.testing.assert_array_equal(open_dataset("nyud").top("5001", "hha"), expected)


def test_original_files_that_are_missing_or_wrong(tmp_path):
    folder = tmp_path / "original"
    write_nyud_original(folder, 2)
    (folder / "classMapping40.mat").unlink()
    with pytest.raises(DataError, match="no classMapping40.mat or labels40.mat here.*\n?.*download.py nyudv2"):
        prepare("nyud", folder)
    scipy.io.savemat(folder / "classMapping40.mat", {"mapClass": np.ones((1, 5))})
    with pytest.raises(DataError, match="frame 1 has class 89[0-9]"):
        convert(folder, tmp_path / "out")
    assert not (tmp_path / "named/nyud").exists()
    scipy.io.savemat(folder / "splits.mat", {"trainNdxs": np.array([[1.0]]), "testNdxs": np.array([[3.0]])})
    with pytest.raises(DataError, match="'test' names frames that are not there"):
        prepare("nyud", folder)
    (folder / "nyu_depth_v2_labeled.mat").write_bytes(b"MATLAB 7.3 MAT-file" + bytes(600))
    with pytest.raises(DataError, match="not a readable MATLAB 7.3 file"):
        prepare("nyud", folder)
    assert list((tmp_path / "named").iterdir()) == []
