"""The commands of tools/correspond.py on alignment: what they write and print, and what they refuse."""

import argparse

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

import caffe
from caffe import layers as L
from correspondence.errors import DataError
from tools import correspond_align
from tools.flow_pictures import flow_colours, with_keypoints

pytestmark = pytest.mark.unit


def run(*arguments):
    parser = argparse.ArgumentParser()
    correspond_align.register(parser.add_subparsers(required=True))
    given = parser.parse_args([str(argument) for argument in arguments])
    return given.run(given)


@pytest.fixture
def folder(tmp_path):
    smooth = gaussian_filter(np.random.default_rng(0).normal(size=(130, 150, 3)), (2, 2, 0))
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.fromarray(np.clip(128 + 40 * smooth / smooth.std(), 0, 255).astype(np.uint8)).save(photos / "photo.png")
    photo = Image.open(photos / "photo.png")
    photo.crop((20, 20, 100, 100)).save(tmp_path / "source.png")
    photo.crop((12, 20, 92, 100)).save(tmp_path / "target.png")   # what is at x is there at x + 8
    return tmp_path


def test_align_writes_the_warped_image_the_flow_and_its_colours(folder, capsys):
    n = caffe.NetSpec()
    n.data = L.Input(input_param=dict(shape=dict(dim=[1, 3, 32, 32])))
    n.conv = L.Convolution(n.data, num_output=8, kernel_size=5, stride=8, weight_filler=dict(type="gaussian", std=0.1))
    (folder / "net.prototxt").write_text(str(n.to_proto()))
    run("align", folder / "source.png", folder / "target.png", "--net", folder / "net.prototxt", "--layers", "conv",
        "--sift", 12, "--out", folder / "out", "--reach", 2)
    written = {path.name for path in (folder / "out").iterdir()}
    ends = ("warped.png", "flow.png", "flow.npz")
    assert written == {f"{stem}_{end}" for stem in ("conv", "SIFT_12") for end in ends}
    source, warped = (np.asarray(Image.open(path)).astype(float) for path in (
        folder / "source.png", folder / "out" / "SIFT_12_warped.png"))
    assert warped.shape == source.shape and abs(warped - source)[8:-8, 8:-16].mean() < 3
    flow = np.load(folder / "out" / "SIFT_12_flow.npz")
    assert flow["displacement"].shape == (10, 10, 2) == (len(flow["y"]), len(flow["x"]), 2)
    assert (np.median(flow["displacement"], axis=(0, 1)) == [8, 0]).all()
    said = capsys.readouterr().out
    assert "conv: 10 x 10 centres, stride 8" in said and "deformation" in said


def test_pairs_prints_every_choice_and_no_flow(folder, capsys):
    run("pairs", folder / "photos", "--sift", 12, "--count", 2, "--side", 64, "--small-warps")
    said = capsys.readouterr().out.splitlines()
    assert "longer side of the image" in said[0] and "squares of 64 pixels" in said[0]
    found = {line[:7].strip(): float(line.split()[-4]) for line in said[2:]}
    assert found["SIFT 12"] > 90 and "no flow" in found


def test_what_to_align_by_must_be_said(folder):
    images = folder / "source.png", folder / "target.png"
    with pytest.raises(DataError, match="no features"):
        run("align", *images)
    with pytest.raises(DataError, match="no features"):
        run("align", *images, "--layers", "conv", "--sift", 4)
    with pytest.raises(DataError, match="above 0"):
        run("align", *images, "--sift", 0)


def test_colours_say_the_direction_and_none_is_white():
    from correspondence.align import Flow

    def flow(dy, dx):
        return Flow(np.arange(4.0), np.arange(4.0), 1.0, np.zeros((4, 4, 2)) + [dy, dx])

    assert (flow_colours(flow(0, 0), 3, 5) == 255).all()
    assert flow_colours(flow(0, 2), 3, 5)[1, 1].tolist() == [255, 0, 0]
    assert flow_colours(flow(0, -2), 3, 5)[1, 1].tolist() == [0, 255, 255]


def test_keypoints_are_drawn_where_they_are_and_nan_nowhere():
    blank = np.full((40, 40, 3), 200, np.uint8)
    drawn = with_keypoints(blank, [[10, 20], [np.nan, np.nan]])
    assert drawn[20, 10].tolist() == [255, 0, 0] and (drawn[:, 20:] == 200).all() and (blank == 200).all()
