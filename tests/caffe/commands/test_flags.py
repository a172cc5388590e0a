"""Flags that the commands share: switches in every form that gflags takes, and the help of each command."""
import argparse

import pytest

from caffe import cli, commands
from caffe.commands import _flags

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("words, value", [
    ([], False), (["-gray"], True), (["--gray"], True), (["-gray=true"], True), (["--gray=1"], True),
    (["-gray=false"], False), (["-gray", "--gray=0"], False), (["-gray", "-nogray"], False)])
def test_switches(monkeypatch, words, value):
    seen = []
    module = argparse.Namespace(
        arguments=lambda parser: (_flags.switch(parser, "gray", "help"), parser.add_argument("path")),
        run=lambda options: seen.append(options) or 0)
    monkeypatch.setattr(commands.importlib, "import_module", lambda *_: module)
    monkeypatch.setitem(commands.COMMANDS, "some", "text")
    assert cli.main(["some", *words, "path"]) == 0
    assert (seen[0].gray, seen[0].path) == (value, "path")


@pytest.mark.parametrize("name", [
    "upgrade_net_proto_text", "upgrade_net_proto_binary", "upgrade_solver_proto_text", "convert_imageset",
    "compute_image_mean", "extract_features", "classify", "detect", "parse_log", "plot_log"])
def test_help_and_missing_arguments(capsys, name):
    with pytest.raises(SystemExit) as end:
        cli.main([name, "-help"])
    assert end.value.code == 0 and commands.COMMANDS[name] in " ".join(capsys.readouterr().out.split())
    assert cli.main([name]) == 1
    assert "the following arguments are required" in capsys.readouterr().err


@pytest.mark.parametrize("flags, words", [(["-gpu"], "GPU"), (["-channel_swap", "2,x"], "whole numbers")])
def test_device_and_numbers_are_checked(tmp_path, capsys, flags, words):
    import torch

    if flags == ["-gpu"] and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    (tmp_path / "net.prototxt").write_text(
        'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 2 dim: 2 } } }')
    start = ["classify", "a.png", "a.npy", "-model_def", str(tmp_path / "net.prototxt"), "-pretrained_model", "x"]
    assert cli.main([*start, *flags]) == 1
    assert words in capsys.readouterr().err
