"""open_dataset: names, folders, environment, and what is said when a set is missing."""

import pytest

from data import DataError, open_dataset
from data.sources import DRAWN, SOURCES, folder_of

pytestmark = pytest.mark.unit


@pytest.mark.tiny
@pytest.mark.parametrize("name", sorted(set(SOURCES) - {*DRAWN, "seg11valid"}))
def test_missing_set_names_folder_files_and_command(tmp_path, name, monkeypatch):
    monkeypatch.delenv("CAFFE_LUNGO_CAMVID", raising=False)
    with pytest.raises(DataError) as caught:
        open_dataset(name)
    text = str(caught.value)
    assert str(tmp_path / "named" / name) in text
    assert f"python -m data.prepare {name} --from-local ARCHIVE_OR_DIR" in text
    assert "expected" in text and "help: get " in text


def test_error_belongs_to_the_engines_family():
    import caffe

    assert issubclass(DataError, caffe.CaffeError)


def test_where_a_name_is_looked_for(tmp_path, monkeypatch, make_voc):
    assert folder_of("voc2012") == tmp_path / "named" / "voc2012"
    monkeypatch.setenv("CAFFE_LUNGO_VOC2012", str(tmp_path / "own"))
    make_voc(tmp_path / "own/VOCdevkit/VOC2012", {"val": ["x"]})
    assert open_dataset("voc2012").ids("val") == ["x"]
    make_voc(tmp_path / "elsewhere/voc2012", {"val": ["y"]})
    assert open_dataset("voc2012", root=tmp_path / "elsewhere").ids("val") == ["y"]
    monkeypatch.delenv("CAFFE_LUNGO_VOC2012")
    monkeypatch.delenv("CAFFE_LUNGO_DATA")
    assert folder_of("voc2012").parent.name == "data"


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(DataError, match="(?s)no data set 'shape'.*did you mean 'shapes'"):
        open_dataset("shape")


def test_classes_can_be_given(voc):
    assert open_dataset(voc[0], classes=("a", "b")).classes == ("a", "b")
