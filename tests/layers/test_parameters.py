"""param_str: what is read, what is refused, and that nothing is evaluated."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layers.errors import LayerError
from layers.parameters import Reader, read_params

pytestmark = pytest.mark.unit

literals = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=6,
)


@pytest.mark.tiny
@given(st.dictionaries(st.sampled_from(["split", "mean"]), literals))
def test_reads_python_literals_and_json(params):
    import json

    assert read_params(repr(params), "data", ["split", "mean"]) == params
    assert read_params(json.dumps(params), "data", ["split", "mean"]) == params


def test_reads_the_public_fcn_prototxt():
    text = (
        "{'sbdd_dir': '../data/sbdd/dataset', 'seed': 1337, 'split': 'train', "
        "'mean': (104.00699, 116.66877, 122.67892)}"
    )
    params = read_params(text, "data", ["sbdd_dir", "seed", "split", "mean"])
    assert params["mean"] == (104.00699, 116.66877, 122.67892) and params["seed"] == 1337


def test_empty_is_an_empty_dict():
    assert read_params(" ", "data", []) == {}


def test_unknown_key_names_the_nearest():
    with pytest.raises(LayerError, match="(?s)layer 'data'.*unknown key 'splt'.*did you mean 'split'"):
        read_params("{'splt': 'train'}", "data", ["split", "mean"])


def test_missing_key():
    with pytest.raises(LayerError, match="lacks 'split'"):
        read_params("{}", "data", ["split"], ["split"])


@pytest.mark.parametrize(
    "text", ["__import__('os').getcwd()", "dict(a=1)", "{'a': 1", "{'a': open('/')}", "(" * 5000]
)
def test_nothing_is_evaluated(text):
    with pytest.raises(LayerError, match="neither a Python literal nor JSON"):
        read_params(text, "data", ["a"])


@pytest.mark.parametrize("text", ["[1]", "'a'", "3"])
def test_only_a_dict(text):
    with pytest.raises(LayerError, match="not a dict"):
        read_params(text, "data", [])


WRONG = [
    ("text", ("k",), ["", 3, None]),
    ("flag", ("k", False), ["yes", 2, None]),
    ("whole", ("k", 1, 1), [0, 1.5, True, "1"]),
    ("whole_or_none", ("k", 0), [-1, "x"]),
    ("number", ("k", 1.0, 0), [-1, float("nan"), float("inf"), "1", True]),
    ("numbers", ("k", (), 3, "three numbers"), [(1, 2), 3, (1, 2, "3"), (1, 2, float("nan"))]),
    ("size", ("k",), [0, (1, 2, 3), (1, 0), "5", (1.5, 2), True]),
    ("span", ("k",), [(0, 1), (2, 1), (1,), 3]),
]


@pytest.mark.parametrize("method, arguments, value", [(m, a, v) for m, a, values in WRONG for v in values])
def test_wrong_values_name_key_and_value(method, arguments, value):
    with pytest.raises(LayerError, match="'k' has a wrong value") as caught:
        getattr(Reader({"k": value}, "data"), method)(*arguments)
    assert caught.value.found == repr(value)


def test_right_values():
    read = Reader({"n": 4, "s": [3, 5], "f": 1, "r": (0.5, 2)}, "data")
    assert (read.size("n"), read.size("s"), read.size("x")) == ((4, 4), (3, 5), None)
    assert read.flag("f", False) is True and read.flag("x", False) is False
    assert read.span("r") == (0.5, 2.0) and read.whole_or_none("x", 0) is None
