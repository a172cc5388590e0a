"""Finding the weights that a run starts from."""

import pytest

from data.downloads import manifest
from prototxt import NETS
from tools.errors import RunError
from tools.weights import find_weights

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CAFFE_LUNGO_MODELS", raising=False)


def test_none_means_none():
    assert find_weights("none", "x.caffemodel", "fcn32s") is None
    assert find_weights(None, None, "small-fcn32s") is None


def test_a_path_is_taken_as_it_is(tmp_path):
    (tmp_path / "mine.caffemodel").write_text("")
    assert find_weights("mine.caffemodel", "x.caffemodel", "fcn32s").name == "mine.caffemodel"


def test_looked_for_where_models_are(tmp_path, monkeypatch):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "x.caffemodel").write_text("")
    monkeypatch.setenv("CAFFE_LUNGO_MODELS", str(tmp_path / "models"))
    assert find_weights(None, "x.caffemodel", "fcn32s") == tmp_path / "models" / "x.caffemodel"


@pytest.mark.parametrize("name", sorted({entry.weights for entry in NETS.values() if entry.weights}))
def test_missing_classifiers_say_what_downloads_them(name):
    with pytest.raises(RunError) as caught:
        find_weights(None, name, "fcn32s")
    said = str(caught.value)
    assert f"fcn32s starts from {name}" in said and "--weights none" in said
    item = next(item for item in manifest().values() if item.file == name)
    assert f"`python tools/download.py {item.name}`" in said


def test_weights_of_another_run_have_their_own_source():
    with pytest.raises(RunError, match="get it from a run of fcn32s, and give its path"):
        find_weights(None, "fcn32s.caffemodel", "fcn16s", "a run of fcn32s")
