"""Keypoint annotations in the layout of the Berkeley archive, their check, and the drawn figures."""

import hashlib
import re

import numpy as np
import pytest
from PIL import Image

from data import DataError, figures, open_dataset
from data.keypoints import Keypoints, read_instance
from data.keypoints_check import check_keypoints
from tools.check_data import main

pytestmark = pytest.mark.unit
# of the first 8 pictures: whoever changes the drawing must raise VERSION and record it anew
FIGURES = "af10bfb5dbe7e17b4e1c2ee7a2b9a01928f5123593375865f4ef8ce71eb3d017"

AEROPLANE = """<?xml version="1.0" encoding="utf-8"?>
<annotation>
\t<image>2007_000033</image>
\t<voc_id>1</voc_id>
\t<category>aeroplane</category>
\t<subcategory>Passenger</subcategory>
\t<visible_bounds height="156.00" width="490.00" xmin="9.00" ymin="107.00"/>
\t<keypoints>
\t\t<keypoint name="NoseTip" visible="1" x="14.49" y="165.48" z="0.00"/>
\t\t<keypoint name="Bot_Rudder" visible="1" x="-4.32" y="166.90" z="0.00"/>
\t</keypoints>
</annotation>
"""
PERSON = """<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<annotation id="3">
    <image>2008_000008</image>
    <category>person</category>
    <visible_bounds height="123.00" width="131.00" xmin="158.00" ymin="44.00"/>
    <keypoints>
        <keypoint name="L_Ear" visible="1" x="188.14" y="63.21" z="0.00" zorder="1"/>
        <keypoint name="R_Knee" visible="0" x="224.74" y="148.31" z="78.56" zorder="0"/>
    </keypoints>
    <polylinesegments> <segment name="foreground" x="181 183" y="85 79"/> </polylinesegments>
</annotation>
"""


@pytest.fixture
def berkeley(tmp_path):
    """VOC 2011 and the annotations as they unpack, two pictures, one object each."""
    voc, notes = tmp_path / "voc/TrainVal/VOCdevkit/VOC2011", tmp_path / "keypoints/annotations"
    for split, ids in {"train": ["2007_000033", "2009_000001"], "val": ["2008_000008"]}.items():
        for kind in ("Main", "Segmentation"):
            (voc / "ImageSets" / kind).mkdir(parents=True, exist_ok=True)
            (voc / "ImageSets" / kind / f"{split}.txt").write_text("\n".join(ids))
        for picture in ids:
            (voc / "JPEGImages").mkdir(exist_ok=True)
            Image.fromarray(np.zeros((300, 500, 3), np.uint8)).save(voc / "JPEGImages" / f"{picture}.jpg")
    (voc / "Annotations").mkdir()
    (voc / "Annotations/2007_000033.xml").write_text("<annotation/>")
    for name, text in (("aeroplane/2007_000033_1", AEROPLANE), ("person/2008_000008_0", PERSON)):
        (notes / name).parent.mkdir(parents=True)
        (notes / f"{name}.xml").write_text(text)
    return tmp_path / "keypoints", tmp_path / "voc"


def test_annotations_are_read_in_both_spellings(berkeley):
    found = Keypoints(*berkeley)
    assert found.classes == ("aeroplane", "person") and found.splits() == ("train", "val")
    (plane,), (person,) = found.instances("train"), found.instances("val", "person")
    assert plane.box == (8, 106, 498, 262) and plane.extent == 490
    assert plane.keypoints["Bot_Rudder"] == (pytest.approx(-5.32), pytest.approx(165.9), True)
    assert [name for name, each in person.keypoints.items() if each.visible] == ["L_Ear"]
    assert found.names("val", "person") == ["L_Ear", "R_Knee"] and found.names("val", "aeroplane") == []
    assert found.image("2007_000033").shape == (300, 500, 3)
    with pytest.raises(DataError, match="no labels of pixels"):
        found.label("2007_000033")
    with pytest.raises(DataError, match="no category 'cat'"):
        found.instances("val", "cat")


def test_it_opens_by_name(berkeley, monkeypatch):
    monkeypatch.setenv("CAFFE_LUNGO_KEYPOINTS", str(berkeley[0]))
    with pytest.raises(DataError, match="voc2011"):
        open_dataset("keypoints")
    monkeypatch.setenv("CAFFE_LUNGO_VOC2011", str(berkeley[1]))
    assert len(open_dataset("keypoints").instances("val")) == 1


def test_the_archive_is_prepared(berkeley, tmp_path, monkeypatch):
    import tarfile

    from data.prepare import prepare

    monkeypatch.setenv("CAFFE_LUNGO_VOC2011", str(berkeley[1]))
    with tarfile.open(tmp_path / "notes.tgz", "w:gz") as packed:
        packed.add(berkeley[0] / "annotations", "annotations")
    made = prepare("keypoints", tmp_path / "notes.tgz", tmp_path / "made")
    assert isinstance(made, Keypoints) and len(made.instances("train")) == 1


def test_vocs_own_annotations_are_not_taken_for_keypoints(berkeley):
    with pytest.raises(DataError, match="no annotations/<category>"):
        Keypoints(berkeley[1] / "TrainVal/VOCdevkit/VOC2011")


def test_the_check_counts(berkeley):
    report = check_keypoints(Keypoints(*berkeley))
    plane = report.splits["train"]["aeroplane"]
    assert (plane.objects, plane.keypoints, plane.visible, plane.outside) == (1, 2, 2, 1)
    assert report.splits["val"]["person"].visible == 1
    assert sorted(problem.where for problem in report.problems) == ["aeroplane", "person"]   # each in one split only
    assert report.to_dict()["splits"]["val"]["person"]["names"] == ["L_Ear", "R_Knee"]
    assert re.search(r"aeroplane +1 +2 +2 +1 +2", report.table())


@pytest.mark.parametrize(("edit", "kind"), [
    (lambda text: text.replace("<category>person", "<category>horse"), "misplaced annotation"),
    (lambda text: text.replace("2008_000008", "2008_000009"), "misplaced annotation"),
    (lambda text: text.replace('width="131.00"', 'width="0"'), "unreadable annotation"),
    (lambda text: text.replace("R_Knee", "L_Ear"), "unreadable annotation"),
    (lambda text: text.replace('x="188.14"', ""), "unreadable annotation"),
    (lambda text: text.replace('visible="1"', 'visible="yes"'), "unreadable annotation"),
    (lambda text: text[:300], "unreadable annotation"),
    (lambda text: re.sub("<visible.*/>", "", text), "unreadable annotation"),
])
def test_the_check_finds_what_is_wrong_with_an_annotation(berkeley, edit, kind):
    path = berkeley[0] / "annotations/person/2008_000008_0.xml"
    path.write_text(edit(PERSON))
    found = {problem.kind for problem in check_keypoints(Keypoints(*berkeley), ["val"]).problems}
    assert kind in found and found <= {kind, "empty category"}
    if kind == "unreadable annotation":
        with pytest.raises(DataError, match="2008_000008_0.xml"):
            read_instance(path)


def test_the_check_finds_what_is_wrong_with_pictures(berkeley):
    pictures = berkeley[1] / "TrainVal/VOCdevkit/VOC2011/JPEGImages"
    (pictures / "2007_000033.jpg").unlink()
    (pictures / "2008_000008.jpg").write_bytes(b"no picture")
    kinds = {problem.kind for problem in check_keypoints(Keypoints(*berkeley)).problems}
    assert {"missing image", "unreadable image"} <= kinds


@pytest.fixture(scope="module")
def drawn_figures(tmp_path_factory):
    return figures.write(tmp_path_factory.mktemp("drawn") / "figures", counts={"train": 8, "val": 4}, size=160)


def test_the_drawing_has_not_changed():
    found = hashlib.sha256()
    for index in range(8):
        image, _, instance = figures.render(figures.SEED, index, 160)
        found.update(image.tobytes() + figures.annotation(instance).encode())
    assert (figures.VERSION, found.hexdigest()) == (1, FIGURES)


def test_figures_are_a_keypoint_set(drawn_figures, capsys):
    assert main([str(drawn_figures)]) == 0
    assert "no problems found" in capsys.readouterr().out
    found = open_dataset(drawn_figures)
    assert isinstance(found, Keypoints) and found.classes == ("bicycle", "biped", "bird", "quadruped")
    assert [len(found.instances(split)) for split in found.splits()] == [8, 4, 12]


def test_written_annotations_say_what_was_drawn(drawn_figures):
    found = {each.picture: each for each in open_dataset(drawn_figures).instances("trainval")}
    for index in range(12):
        _, category, drawn = figures.render(figures.SEED, index, 160)
        read = found[drawn.picture]
        assert (read.category, read.box) == (category, drawn.box)
        for name, each in drawn.keypoints.items():
            assert read.keypoints[name] == pytest.approx(each, abs=0.006)


def test_poses_sizes_and_visibility_vary():
    drawn = [figures.render(3, index, 96)[2] for index in range(60)]
    for category in figures.FIGURES:
        same = [each for each in drawn if each.category == category]
        assert len({frozenset(each.keypoints) for each in same}) == 1 and len(same[0].keypoints) >= 9
        sizes = [each.extent for each in same]
        assert max(sizes) > 1.4 * min(sizes)
    seen = np.mean([each.visible for one in drawn for each in one.keypoints.values()])
    assert 0.6 < seen < 0.97
    for one in drawn:   # what is seen is in the box, up to the roundness of ends
        for each in one.keypoints.values():
            if each.visible:
                left, top, right, bottom = one.box
                assert left - 1 <= each.x <= right + 1 and top - 1 <= each.y <= bottom + 1
