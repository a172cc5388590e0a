"""Experiments of section 2.2: on few objects, with weights of a filler, every step runs and the numbers add up."""

import numpy as np
import pytest
from PIL import Image

from data import figures
from data.dataset import read_image
from prototxt import build, squeezenet
from tools.experiments import alignment, warped
from tools.experiments.registry import Context

pytestmark = [pytest.mark.slow, pytest.mark.unit]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """SqueezeNet with its fillers' values, under the published file's name."""
    import caffe

    folder = tmp_path_factory.mktemp("weights")
    (folder / "net.prototxt").write_text(str(build("squeezenet-fcn16s")))
    caffe.set_random_seed(0)
    net = caffe.Net(str(folder / "net.prototxt"), caffe.TEST)
    draw = np.random.default_rng(0)
    for blobs in net.params.values():   # a deploy net's fillers are zeros
        fan = np.prod(blobs[0].data.shape[1:])
        blobs[0].data[...] = draw.normal(0, np.sqrt(2 / fan), blobs[0].data.shape)
    net.save(str(folder / squeezenet.WEIGHTS))
    return folder / squeezenet.WEIGHTS


@pytest.fixture
def context(tmp_path, weights):
    folder = tmp_path / "data" / "figures"
    figures.write(folder, counts={"train": 12, "val": 4}, size=96)
    (tmp_path / "out").mkdir()
    return Context(tmp_path / "out", True, str(folder), str(weights))


def test_table_2_2_counts_the_visible_keypoints_and_keeps_predictions(context, monkeypatch):
    monkeypatch.setattr(alignment, "SMALL_SIDE", 96)
    result = alignment.table(context)
    dataset = context.dataset("figures")
    for column, category in zip(result.tables[0].columns, dataset.classes, strict=True):
        visible = sum(k.visible for each in dataset.instances("val", category) for k in each.keypoints.values())
        assert column == f"{category} (N {visible})"
    assert set(result.tables[0].rows) == set(alignment.METHODS) and len(result.claims) == 3
    assert {path.name for path in context.folder.iterdir()} == {f"{name}.npz" for name in dataset.classes}
    monkeypatch.setattr(alignment.Aligner, "flows", None)   # what is kept is not computed again
    assert alignment.table(context).tables == result.tables


def test_figure_2_3_has_a_row_for_each_method(context, monkeypatch):
    monkeypatch.setattr(alignment, "SMALL_SIDE", 96)
    monkeypatch.setattr(alignment.Aligner, "neighbours", lambda self, target, pool, count: (pool * 2)[:5])
    result = alignment.warped(context)
    sizes = {read_image(context.folder / name).shape for name, _ in result.pictures}
    assert len(result.pictures) == 4 and len(sizes) == 1


def test_warped_pairs_are_scored_against_no_flow(tmp_path, weights, monkeypatch, noise_photos):
    for name, value in (("SIDE", 96), ("SMALL_PAIRS", 1), ("EASY", 1), ("REAL", 1), ("LAYERS", ("fire5/concat",)),
                        ("SIFT_AT", "fire5/concat"), ("RADII", (20,))):
        monkeypatch.setattr(warped, name, value)
    monkeypatch.setenv("CAFFE_LUNGO_PHOTOS", str(noise_photos))
    result = warped.warped_pairs(Context(tmp_path, True, weights=str(weights)))
    pck, within, energies = result.tables
    assert {"fire5/concat flow", "SIFT 20 flow", "SIFT 20, nearest feature", "no flow"} <= set(pck.rows)
    assert within.rows["SIFT 20"][0][1] > 90
    for bp, icm, independent in ([ours for _, ours in row] for row in energies.rows.values()):
        assert bp <= icm <= independent
    assert (tmp_path / "pair.png").exists()


@pytest.fixture
def noise_photos(tmp_path):
    from scipy.ndimage import gaussian_filter

    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(2):
        smooth = gaussian_filter(np.random.default_rng(number).normal(size=(150, 150, 3)), (2, 2, 0))
        pixels = np.clip(128 + 40 * smooth / smooth.std(), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder
