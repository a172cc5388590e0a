"""The committed prototxt files are what the generators write, and the command that proves it can fail."""

import pytest

from prototxt import NETS, files, recipes_of
from prototxt.__main__ import main


@pytest.mark.tiny
def test_committed_files_are_what_the_generators_write(capsys):
    assert main(["--check"]) == 0, capsys.readouterr().out


@pytest.mark.unit
def test_check_finds_changed_missing_and_foreign_files(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(files, "FOLDER", tmp_path)
    written = files.write()
    assert files.check() == []
    written[0].write_text(written[0].read_text() + "\n")
    written[1].unlink()
    foreign = tmp_path / "fcn8s" / "old.prototxt"
    foreign.touch()
    assert set(files.check()) == {written[0], written[1], foreign}
    assert main(["--check"]) == 1
    captured = capsys.readouterr()
    assert str(foreign) in captured.out and "python -m prototxt" in captured.err


@pytest.mark.unit
def test_every_net_has_its_files_and_every_other_recipe_its_own():
    paths = [path for path, _ in files.files()]
    for name in NETS:
        names = {path.name for path in paths if path.parent.name == name}
        expected = {"train.prototxt", "val.prototxt", "deploy.prototxt", "solver.prototxt"}
        for recipe in recipes_of(name)[1:]:
            expected |= {f"{kind}_{recipe}.prototxt" for kind in ("train", "val", "solver")}
        assert names == expected


@pytest.mark.unit
def test_solvers_name_files_that_are_there():
    for path, content in files.files():
        if path.name.startswith("solver"):
            lines = dict(line.split(": ") for line in content.splitlines() if not line.startswith("#"))
            for key in ("train_net", "test_net"):
                assert (files.FOLDER.parent / lines[key].strip('"')).is_file()


@pytest.mark.unit
def test_quotes_in_param_str_survive_the_text():
    from google.protobuf import text_format

    from caffe.proto import caffe_pb2

    layer = caffe_pb2.LayerParameter()
    layer.python_param.param_str = "{'a': \"it's\", 'b': 'C:\\\\x'}"
    assert text_format.Parse(files.text(layer, "comment"), caffe_pb2.LayerParameter()) == layer


@pytest.mark.unit
def test_the_table_has_a_line_for_each_net(capsys):
    assert main(["--table"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]] == list(NETS)
