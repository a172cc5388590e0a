"""Scoring against a confusion worked out from the fake net's rule."""

import numpy as np
import pytest
from PIL import Image

from tests.tools.fake import FakeNet, FakeSet, SelfFedNet
from tools.errors import RunError
from tools.metrics import Confusion
from tools.scoring import score

pytestmark = pytest.mark.unit


def expected(dataset):
    confusion = Confusion(3)
    for image in dataset.pictures.values():
        prediction = image[:, :, 0].copy()
        prediction[:, 0] = (prediction[:, 0] + 1) % 3
        confusion.add(image[:, :, 0], prediction)
    return confusion


@pytest.mark.tiny
def test_sizes_that_vary():
    dataset, net = FakeSet([(4, 4), (4, 4), (3, 7), (5, 2), (5, 2)]), FakeNet()
    found = score(net, dataset, batch=8, progress=False)
    assert np.array_equal(found.confusion.counts, expected(dataset).counts)
    assert net.batches == [2, 1, 2]
    assert found.loss is None and found.images == 5


def test_one_size_goes_in_batches():
    dataset, net = FakeSet([(4, 6)] * 7), FakeNet()
    found = score(net, dataset, batch=3, progress=False)
    assert net.batches == [3, 3, 1]
    assert np.array_equal(found.confusion.counts, expected(dataset).counts)


def test_predictions_are_palette_pngs(tmp_path):
    dataset = FakeSet([(4, 4), (3, 7)])
    score(FakeNet(), dataset, out_dir=tmp_path, save={"p1"}, progress=False)
    assert [p.name for p in tmp_path.iterdir()] == ["p1.png"]
    with Image.open(tmp_path / "p1.png") as image:
        assert image.mode == "P"
        indices = np.array(image)
    assert np.array_equal(indices[:, 1:], dataset.label("p1")[:, 1:])


def test_mean_reaches_the_net():
    dataset = FakeSet([(4, 4)])
    net = FakeNet()
    score(net, dataset, mean=(0, 0, -1), progress=False)  # red is one higher: all but column 0 wrong
    assert net.blobs["data"].data[0, 2].min() >= 1


def test_net_with_its_own_data_layer():
    dataset = FakeSet([(4, 4), (3, 7)])
    found = score(SelfFedNet(dataset), dataset, progress=False)
    assert found.metrics.mean_iu == 1
    assert found.loss == pytest.approx(1.5)
    assert found.record(dataset)["images"] == 2


def test_batches_of_the_net_must_fit_the_split():
    dataset = FakeSet([(4, 4)] * 3)
    net = SelfFedNet(dataset)
    net.blobs["label"].reshape(2, 1, 4, 4)
    with pytest.raises(RunError, match="found batches of 2, expected a divisor of its 3 images"):
        score(net, dataset, progress=False)


def test_classes_do_not_match():
    dataset = FakeSet([(4, 4)])
    dataset.classes = ("a", "b")
    with pytest.raises(RunError, match="found 3 scores, expected 2 classes of 'fake'"):
        score(FakeNet(), dataset, progress=False)


def test_net_without_scores():
    net = FakeNet()
    del net.blobs["score"]
    with pytest.raises(RunError, match="no blob 'score'"):
        score(net, FakeSet([(4, 4)]), progress=False)


def test_empty_split():
    with pytest.raises(RunError, match="'val' of 'fake' is empty"):
        score(FakeNet(), FakeSet([]), progress=False)


def test_stop_is_asked_between_images():
    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score(FakeNet(), FakeSet([(4, 4)] * 3), progress=False, stop=stop)
