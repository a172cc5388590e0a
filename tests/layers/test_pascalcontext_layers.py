"""The data layer of PASCAL-Context with the public FCN code's name, keys and mean."""

import numpy as np
import pytest
from PIL import Image

from data.context import CONTEXT_CLASSES
from layers.errors import DataError
from layers.pascalcontext_layers import PASCALContextSegDataLayer
from tests.data.layouts import write_context

pytestmark = pytest.mark.unit
SPLITS = {"train": ["2008_000002", "2008_000003"], "val": ["2010_000001"]}


@pytest.mark.tiny
def test_picture_and_labels(tmp_path, driver):
    made = write_context(tmp_path / "pascal-context", tmp_path / "pascal/VOC2010", SPLITS, CONTEXT_CLASSES[1:])
    (tmp_path / "pascal/VOC2012/ImageSets/Segmentation").mkdir(parents=True)   # another year beside it
    text = (f"{{'voc_dir': '{tmp_path}/pascal', 'context_dir': '{tmp_path}/pascal-context', "
            "'seed': 1337, 'split': 'val'}")
    data, label = driver(PASCALContextSegDataLayer, text, phase=1).forward()
    image = np.array(Image.open(tmp_path / "pascal/VOC2010/JPEGImages/2010_000001.jpg"), float)
    np.testing.assert_allclose(
        data[0], image.transpose(2, 0, 1)[::-1] - np.array([104.007, 116.669, 122.679])[:, None, None], atol=1e-4)
    np.testing.assert_array_equal(label[0, 0], made["2010_000001"])


def test_missing_annotations_are_named(tmp_path, driver, monkeypatch):
    monkeypatch.setenv("CAFFE_LUNGO_DATA", str(tmp_path))
    with pytest.raises(DataError, match="(?s)'context' is not here.*roozbeh/pascal-context"):
        driver(PASCALContextSegDataLayer, {"voc_dir": str(tmp_path), "split": "val"})
