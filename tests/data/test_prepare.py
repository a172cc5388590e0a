"""python -m data.prepare: archives and folders, good and bad."""

import os
import zipfile

import pytest

from data import DataError, open_dataset
from data.prepare import main, prepare

pytestmark = pytest.mark.unit


@pytest.fixture
def devkit(tmp_path, make_voc):
    """A folder VOCdevkit as the archive holds it."""
    make_voc(tmp_path / "raw/VOCdevkit/VOC2012", {"train": ["a"], "val": ["b"]})
    return tmp_path / "raw/VOCdevkit"


def leftovers(tmp_path):
    named = tmp_path / "named"
    return sorted(path.name for path in named.iterdir()) if named.exists() else []


@pytest.mark.tiny
@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2"])
def test_unpacks_a_tar(tmp_path, devkit, make_tar, mode, capsys):
    archive = make_tar(devkit, tmp_path / "voc.tar", mode)
    assert main(["voc2012", "--from-local", str(archive)]) == 0
    assert "train 1, val 1" in capsys.readouterr().out
    assert open_dataset("voc2012").root == tmp_path / "named/voc2012/VOCdevkit/VOC2012"
    assert leftovers(tmp_path) == ["voc2012"]


def test_unpacks_a_zip(tmp_path, devkit):
    with zipfile.ZipFile(tmp_path / "voc.zip", "w") as packed:
        for path in devkit.rglob("*"):
            packed.write(path, path.relative_to(devkit.parent))
    prepare("voc2012", tmp_path / "voc.zip")
    assert open_dataset("voc2012").ids("val") == ["b"]


def test_links_or_copies_a_folder(tmp_path, devkit):
    prepare("voc2012", devkit)
    assert (tmp_path / "named/voc2012").is_symlink()
    prepare("voc2012", devkit, tmp_path / "copied", copy=True)
    assert not (tmp_path / "copied").is_symlink() and (tmp_path / "copied/VOC2012/JPEGImages/a.png").is_file()
    assert leftovers(tmp_path) == ["voc2012"]


def test_prepares_sbd(tmp_path, make_sbd, make_tar):
    make_sbd(tmp_path / "raw/benchmark_RELEASE/dataset", {"train": ["p"], "val": ["q"]})
    archive = make_tar(tmp_path / "raw/benchmark_RELEASE", tmp_path / "benchmark.tgz", "w:gz")
    prepare("sbd", archive)
    assert open_dataset("sbd").ids("train") == ["p"]


def refuse(tmp_path, archive, words, name="voc2012"):
    """The archive is refused with these words, and nothing is left."""
    with pytest.raises(DataError, match=words):
        prepare(name, archive)
    assert leftovers(tmp_path) == []


def test_refuses_a_web_page(tmp_path):
    page = tmp_path / "VOCtrainval_11-May-2012.tar"
    page.write_text("\n  <!DOCTYPE html><html><body>503</body></html>")
    refuse(tmp_path, page, "an HTML page, not an archive")


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_refuses_a_cut_archive(tmp_path, devkit, make_tar, mode):
    archive = make_tar(devkit, tmp_path / "voc.tar", mode)
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) // 3])
    refuse(tmp_path, archive, "damaged or cut short|neither a tar nor a zip")


def test_refuses_what_is_no_archive(tmp_path):
    (tmp_path / "x.tar").write_bytes(os.urandom(2000))
    refuse(tmp_path, tmp_path / "x.tar", "neither a tar nor a zip")
    refuse(tmp_path, tmp_path / "nothing.tar", "no such archive")


@pytest.mark.parametrize("name", ["../../outside.txt", "/etc/outside.txt/../../../../outside.txt"])
def test_never_writes_outside(tmp_path, make_bad_tar, name):
    refuse(tmp_path, make_bad_tar(name, tmp_path / "bad.tar"), "must not be unpacked|does not hold")
    assert not list(tmp_path.rglob("outside.txt"))


def test_refuses_another_data_set(tmp_path, make_sbd, devkit):
    make_sbd(tmp_path / "raw2", {"train": ["p"]})
    refuse(tmp_path, tmp_path / "raw2", "no ImageSets/Segmentation/ in it")
    (devkit / "VOC2012/JPEGImages/b.png").unlink()
    refuse(tmp_path, devkit, "the first image of the split 'val' is missing")


def test_never_overwrites(tmp_path, devkit):
    (tmp_path / "named/voc2012").mkdir(parents=True)
    (tmp_path / "named/voc2012/mine.txt").write_text("precious")
    with pytest.raises(DataError, match="is there already"):
        prepare("voc2012", devkit)
    assert (tmp_path / "named/voc2012/mine.txt").read_text() == "precious"


def test_names_that_are_not_prepared():
    for name, words in {
        "shapes": "data.shapes",
        "seg11valid": "derived from voc2011 and sbd",
        "x": "known",
    }.items():
        with pytest.raises(DataError, match=words):
            prepare(name, ".")


def test_without_a_name_lists_the_sources(capsys):
    assert main([]) == 0
    out = capsys.readouterr().out
    assert "host.robots.ox.ac.uk" in out and "benchmark.tgz" in out and "seg11valid" in out


def test_without_an_archive_says_where_to_get_it(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["voc2012"])
    assert caught.value.code == 1
    assert "VOCtrainval_11-May-2012.tar" in capsys.readouterr().err
