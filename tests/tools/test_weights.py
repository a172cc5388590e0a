"""Finding the weights that a run starts from."""

import pytest

from tools.errors import RunError
from tools.weights import SOURCES, find_weights

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


@pytest.mark.parametrize("name", SOURCES)
def test_missing_classifiers_say_where_they_come_from(name):
    with pytest.raises(RunError) as caught:
        find_weights(None, name, "fcn32s")
    assert f"fcn32s starts from {name}" in str(caught.value)
    assert SOURCES[name] in str(caught.value) and "--weights none" in str(caught.value)


def test_every_net_knows_its_source():
    """A classifier that the registry names has an entry here."""
    from prototxt import NETS

    assert {entry.weights for entry in NETS.values()} - {None} <= set(SOURCES)
