"""`param_str` from strangers: no layer of ours runs what stands in it, and what is no literal is refused."""
import ast
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import caffe
from layers.errors import LayerError
from layers.parameters import read_params

ROOT = Path(__file__).resolve().parents[2]
RUNS_TEXT = {"eval", "exec", "compile", "__import__"}
OURS = sorted(path for folder in ("caffe", "layers", "surgery", "data", "prototxt", "tools")
              for path in (ROOT / folder).rglob("*.py"))
# each would leave the file "ran" if anything evaluated it
OPEN = "open('ran', 'w')"
HOSTILE = [
    OPEN, f"{{'split': {OPEN}}}", f"{{{OPEN}: 1}}", f"dict(split={OPEN})",
    "{'split': __import__('os').system('touch ran')}",
    f"f'{{{OPEN}}}'", f"[{OPEN} for _ in '1']", f"(lambda: {OPEN})()", f"{{**{OPEN}}}", f"print({OPEN})",
    "{[]: 1}", "{{}: 1}", "{'a': 9**9**9**9}", "[" * 100_000, "(" * 100_000, '{"a":' * 100_000, "-" * 100_000 + "1",
    "1" + "+1j" * 50_000, "9" * 5000, "{'split': " + "9" * 5000 + "}", "\0", "{'a': '\0'}", "{'\ud800': 1}",
    "{'a': 1e999}", "NaN", "[]", "3", "'x'", "None", "{'split'}", "{'split':", "'" * 99_999, "\\" * 99_999,
    "{'a': b'\\xff'}", "...",
]


def test_nothing_of_ours_evaluates_text():
    """By the syntax trees: no call of eval, exec, compile or __import__, nothing unpickled."""
    assert len(OURS) > 100
    found = []
    for path in OURS:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in RUNS_TEXT:
                found.append(f"{path}:{node.lineno}: {node.func.id}")
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                if node.value.id in ("pickle", "marshal") and node.attr in ("load", "loads", "Unpickler"):
                    found.append(f"{path}:{node.lineno}: {node.value.id}.{node.attr}")
    assert not found, "\n".join(found)


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text[:25]))
def test_hostile_texts_are_refused_within_a_second(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    begun = time.process_time()
    with pytest.raises(LayerError) as error:
        read_params(text, "data", ["split"], ["split"])
    assert time.process_time() - begun < 1
    assert error.value.help and len(str(error.value)) < 2000
    assert not list(tmp_path.iterdir())


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.sampled_from("{}[]()'\":,0123456789splitTruefnNo .-+*_\\\n\0é")))
def test_any_text_is_a_dict_or_a_layer_error(text):
    try:
        assert isinstance(read_params(text, "data", ["split"]), dict)
    except LayerError as problem:
        assert str(problem)


@pytest.mark.parametrize("module, layer", [
    ("layers.segdata", "SegDataLayer"), ("voc_layers", "VOCSegDataLayer"), ("layers.voc_layers", "VOCSegDataLayer")])
def test_the_data_layers_in_a_net(tmp_path, monkeypatch, module, layer):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.syspath_prepend(str(ROOT / "layers"))
    for text in (OPEN, f"dict(split={OPEN})", "[" * 10_000, "{[]: 1}"):
        Path("net.prototxt").write_text(
            f'layer {{ name: "data" type: "Python" top: "x" top: "y" python_param {{ module: "{module}" '
            f'layer: "{layer}" param_str: "{text}" }} }}')
        with pytest.raises(caffe.CaffeError) as error:
            caffe.Net("net.prototxt", caffe.TRAIN)
        assert "param_str" in str(error.value) and error.value.layer == "data"
        assert not Path("ran").exists()
